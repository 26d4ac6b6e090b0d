"""The views through fakesnow and the real connector: what an independent computation says, and so what DuckDB says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import pytest

import simulated_day as day
import snowflake_double
from lmdp.core.specification import load_spec
from lmdp.snowflake.connection import Access, ask, connected, der
from lmdp.snowflake.keypair import make_pair
from lmdp.snowflake.setup import migrate, setup_statements
from lmdp.sql.dictionary import Recipe, recipes
from lmdp.sql.settings import SnowflakeSettings
from view_questions import QUESTIONS, in_order

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API")  # fakesnow's own

SETTINGS = SnowflakeSettings(database="LM_ANSWERS", retention_days=None)
ROWS = day.simulated_day(30 * day.MINUTE)


@pytest.fixture(scope="module")
def filled() -> Iterator[Any]:
    """The day in the landing table, and then the rest: fakesnow's dynamic tables have the answer of their making."""
    with pytest.MonkeyPatch.context() as patch, snowflake_double.served(patch, SETTINGS.database) as account:
        key = der(make_pair(2048).private.encode())
        access = Access(account.url, "U", "R", "W", key, SETTINGS.database, SETTINGS.schema)
        with connected(access) as connection:
            table = next(one.sql for one in setup_statements(SETTINGS, load_spec()) if one.file == "020_row_events.sql")
            ask(connection, table)
            snowflake_double.insert(connection, SETTINGS, ROWS)
            migrate(connection, SETTINGS, load_spec())
            yield connection


@pytest.mark.parametrize("view", QUESTIONS)
def test_a_view_gives_the_same_answer(filled: Any, view: str) -> None:
    """The same file, on the other engine, to the row."""
    sql, answer = QUESTIONS[view]
    qualified = sql.replace(f"FROM {view}", f"FROM {SETTINGS.place}.{view}")
    found = [tuple(_plain(value) for value in row.values()) for row in ask(filled, qualified)]
    assert in_order(found) == in_order(answer(ROWS))


@pytest.mark.parametrize("recipe", [one for one in recipes() if not one.machine], ids=lambda one: str(one.title))
def test_a_recipe_of_the_cookbook_runs(filled: Any, recipe: Recipe) -> None:
    """As it is, with the schema in use."""
    ask(filled, f"USE SCHEMA {SETTINGS.place}")
    ask(filled, recipe.sql)


def test_a_step_without_a_rate_slows_no_counter() -> None:
    """Ten octets a second in the minute that is known; after the reset nobody knows."""
    (recipe,) = (one for one in recipes() if one.title == "Top counters")
    with duckdb.connect() as engine:
        engine.execute("CREATE MACRO SYSDATE() AS TIMESTAMP '2026-01-01 01:00:00'")
        engine.execute(
            """CREATE TABLE METRIC_RATES AS SELECT * FROM (VALUES
            ('r1', 'eth0', 'ifInOctets', 10.0, 60.0, TIMESTAMP '2026-01-01 00:50:00'),
            ('r1', 'eth0', 'ifInOctets', NULL, 540.0, TIMESTAMP '2026-01-01 00:59:00')
            ) AS V(DEVICE_NAME, INSTANCE_LABEL, METRIC, RATE, SECONDS, TS)"""
        )
        (found,) = engine.execute(recipe.sql).fetchall()
    assert [float(value) for value in found[3:]] == [10.0, 10.0]


def _plain(value: Any) -> Any:
    """Times without a zone."""
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value
