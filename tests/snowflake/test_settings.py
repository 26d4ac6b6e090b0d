"""The settings of the Snowflake side: read once, wholly checked."""

from __future__ import annotations

import pytest

from lmdp.errors import SettingsError
from lmdp.snowflake.settings import SnowflakeSettings


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, SnowflakeSettings()),
        ({"SNOWFLAKE_DATABASE": "ops", "RETENTION_DAYS": "90"}, SnowflakeSettings(database="OPS", retention_days=90)),
        ({"RETENTION_DAYS": "forever"}, SnowflakeSettings(retention_days=None)),
        ({"SNOWFLAKE_IDENTIFIERS": "upper"}, SnowflakeSettings(identifiers="upper")),
        ({"SNOWFLAKE_ALLOWED_IPS": "192.0.2.0/24, 198.51.100.7"},
         SnowflakeSettings(allowed_ips=("192.0.2.0/24", "198.51.100.7"))),
    ],
)  # fmt: skip
def test_settings_come_from_the_environment(env: dict[str, str], expected: SnowflakeSettings) -> None:
    """Names are as Snowflake stores them; what is not set has its default."""
    assert SnowflakeSettings.from_env(env) == expected


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"SNOWFLAKE_DATABASE": "x; DROP"}, "database is 'X; DROP'"),
        ({"SNOWFLAKE_IDENTIFIERS": "lower"}, "one of quoted, wrapped, upper"),
        ({"RETENTION_DAYS": "2"}, "it is 3 or more, or forever"),
        ({"RETENTION_DAYS": "soon"}, "whole number, or forever"),
        ({"SNOWFLAKE_ALLOWED_IPS": "here"}, "'here' is no IPv4 range"),
        ({"SNOWFLAKE_TARGET_LAG_MINUTES": "0", "SNOWFLAKE_CREDIT_QUOTA": "0"}, "2 settings are wrong"),
    ],
)
def test_a_wrong_setting_is_refused(env: dict[str, str], message: str) -> None:
    """Nothing that would end up in SQL is taken unchecked."""
    with pytest.raises(SettingsError, match=message):
        SnowflakeSettings.from_env(env)
