"""An account for each test: fakesnow's server behind the real connector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lmdp.snowflake.connection import Access, connected, der
from lmdp.snowflake.keypair import make_pair
from lmdp.sql.settings import SnowflakeSettings
from snowflake_double import Account, served

KEY = der(make_pair(2048).private.encode())


@pytest.fixture
def settings() -> SnowflakeSettings:
    """Settings with the same names in each test, so that the double translates each statement once."""
    return SnowflakeSettings(database="LM_TEST", retention_days=None)


@pytest.fixture
def account(settings: SnowflakeSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account with the schema that an administrator makes."""
    with served(monkeypatch, settings.database) as found:
        yield found


@pytest.fixture
def connection(account: Account, settings: SnowflakeSettings) -> Iterator[Any]:
    """The real connector, signed in with a key pair."""
    access = Access(
        account.url, "LM_SETUP_SVC", "LM_SETUP_ROLE", "LM_FIREHOSE_WH", KEY, settings.database, settings.schema
    )
    with connected(access) as opened:
        yield opened
