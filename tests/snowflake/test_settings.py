"""The settings of the Snowflake side: read once, wholly checked."""

from __future__ import annotations

import pytest

from lmdp.errors import SettingsError
from lmdp.sql.settings import SnowflakeSettings


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
        ({"SNOWFLAKE_DATABASE": "x; DROP"}, "SNOWFLAKE_DATABASE is 'X; DROP'"),
        ({"SNOWFLAKE_IDENTIFIERS": "lower"}, "one of quoted, wrapped, upper"),
        ({"SNOWFLAKE_DATABASE": "TABLE"}, "SNOWFLAKE_DATABASE is TABLE, a word that Snowflake reserves"),
        ({"SNOWFLAKE_SCHEMA": "order"}, "SNOWFLAKE_SCHEMA is ORDER, a word that Snowflake reserves"),
        ({"SNOWFLAKE_READER_ROLE": "Select"}, "SNOWFLAKE_READER_ROLE is SELECT, a word"),
        ({"RETENTION_DAYS": "9" * 30}, "it is 100,000 at most"),
        ({"RETENTION_DAYS": "2"}, "it is 3 or more, or forever"),
        ({"RETENTION_DAYS": "soon"}, "whole number, or forever"),
        ({"SNOWFLAKE_ALLOWED_IPS": "here"}, "'here' is not an IPv4 range"),
        ({"SNOWFLAKE_TARGET_LAG_MINUTES": "0", "SNOWFLAKE_CREDIT_QUOTA": "0"}, "2 settings are wrong"),
    ],
)
def test_a_wrong_setting_is_refused(env: dict[str, str], message: str) -> None:
    """Nothing that would end up in SQL is taken unchecked."""
    with pytest.raises(SettingsError, match=message):
        SnowflakeSettings.from_env(env)


PLAIN = ("LM_METRICS.PIPELINE", "LM_FIREHOSE_WH", "LM_SETUP_ROLE", "LM_FIREHOSE_ROLE", "LM_READER_ROLE",
         "LM_SETUP_SVC", "LM_FIREHOSE_SVC")  # fmt: skip
DEV = ("LM_METRICS_DEV.PIPELINE", "LM_FIREHOSE_DEV_WH", "LM_SETUP_DEV_ROLE", "LM_FIREHOSE_DEV_ROLE",
       "LM_READER_DEV_ROLE", "LM_SETUP_DEV_SVC", "LM_FIREHOSE_DEV_SVC")  # fmt: skip


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, PLAIN),
        ({"LMDP_ENVIRONMENT": "prod"}, PLAIN),
        ({"LMDP_ENVIRONMENT": "dev"}, DEV),
        ({"LMDP_ENVIRONMENT": "dev", "SNOWFLAKE_ENVIRONMENT": "prod"}, PLAIN),
        ({"LMDP_ENVIRONMENT": "dev", "SNOWFLAKE_DATABASE": "METRICS"}, ("METRICS.PIPELINE", *DEV[1:])),
    ],
    ids=["one machine", "prod", "dev", "shared", "one name of their own"],
)
def test_names_follow_the_environment(env: dict[str, str], expected: tuple[str, ...]) -> None:
    """Prod and one machine have the plain names; any other environment has its own, unless sharing is asked for."""
    made = SnowflakeSettings.from_env(env)
    assert (
        made.place, made.warehouse, made.setup_role, made.firehose_role, made.reader_role, made.setup_user,
        made.firehose_user,
    ) == expected  # fmt: skip


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"LMDP_ENVIRONMENT": "dev", "SNOWFLAKE_DATABASE": "lm_metrics"}, "SNOWFLAKE_DATABASE is LM_METRICS, which is"),
        ({"LMDP_ENVIRONMENT": "dev", "SNOWFLAKE_FIREHOSE_USER": "LM_FIREHOSE_SVC"}, "dev has LM_FIREHOSE_DEV_SVC"),
        ({"LMDP_ENVIRONMENT": "Dev-1"}, "the environment is 'Dev-1'"),
        ({"SNOWFLAKE_ENVIRONMENT": "a;b"}, "the environment is 'a;b'"),
    ],
)
def test_prods_names_are_not_taken_by_accident(env: dict[str, str], said: str) -> None:
    """A name of prod's in another environment, as a common `.env` has it, is refused with the setting that shares."""
    with pytest.raises(SettingsError, match=said):
        SnowflakeSettings.from_env(env)
