"""What a dynamic table may say, so that a refresh costs what changed: every SQL file, parsed."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest
import sqlglot
from sqlglot import exp

from lmdp.core.specification import load_spec
from lmdp.cost.formula import evaluate, names
from lmdp.sql.render import statements
from lmdp.sql.settings import SnowflakeSettings
from snowflake_dynamic import parsed

TIMES = {"HOUR_TS", "DAY_TS", "MONTH_TS", "TS", "TS_UNIX_MS"}
"""A window has one of these among its partition's columns: it ends with the hour, the day or the month."""

NOT_INCREMENTAL = (
    exp.Except, exp.Intersect, exp.Limit, exp.Fetch, exp.TableSample, exp.Subquery, exp.Exists, exp.AnyValue, exp.Rand,
    exp.Lateral, exp.Pivot, exp.Cube, exp.Rollup, exp.GroupingSets,
)  # fmt: skip
"""What forces a full refresh, or is refused. Subqueries are in FROM alone, as CTEs here.
https://docs.snowflake.com/en/user-guide/dynamic-tables/supported-queries"""

ONLY_IN_FILTERS = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime)
SESSION = {
    "CURRENT_ROLE",
    "CURRENT_USER",
    "CURRENT_ACCOUNT",
    "CURRENT_REGION",
    "CURRENT_WAREHOUSE",
    "SEQ4",
    "UUID_STRING",
}


CREATED = {
    tree.find(exp.Table).name: (sql.sql, tree)  # type: ignore[union-attr]  # each statement creates one
    for sql in statements(load_spec(), SnowflakeSettings())
    if isinstance((tree := parsed(sql.sql)).expression, exp.Query)
}
DYNAMIC = {name: tree for name, (sql, tree) in CREATED.items() if "DYNAMIC TABLE" in sql}


def unbounded(tree: exp.Expr) -> list[str]:
    """The windows whose partition has no bounded stretch of time."""
    windows = tree.find_all(exp.Window)
    return [one.sql() for one in windows if not TIMES & {part.name for part in one.args.get("partition_by") or ()}]


def blocking(tree: exp.Expr) -> list[str]:
    """The operators that need all their rows first: windows of the same form are one."""
    windows = {
        (tuple(part.sql() for part in one.args["partition_by"]), one.args["order"].sql())
        for one in tree.find_all(exp.Window)
    }
    groups = [one.sql() for one in tree.find_all(exp.Group)]
    distinct = [one.sql() for one in tree.find_all(exp.Distinct)]
    unions = [one.sql() for one in tree.find_all(exp.Union) if one.args.get("distinct")]
    return [*map(str, windows), *groups, *distinct, *unions]


def not_incremental(tree: exp.Expr) -> list[str]:
    """What Snowflake documents as forcing a full refresh."""
    found = [one.sql() for one in tree.find_all(*NOT_INCREMENTAL)]
    found += [one.sql() for one in tree.find_all(exp.Anonymous) if one.name.upper() in SESSION]
    found += [
        one.sql()
        for one in tree.find_all(*ONLY_IN_FILTERS)
        if not one.find_ancestor(exp.Where, exp.Having, exp.Qualify)
    ]
    found += [
        one.sql() for one in tree.find_all(exp.Join)
        if one.side and not all(isinstance(part, exp.EQ) for part in one.args["on"].flatten())
    ]  # fmt: skip
    return found


@pytest.mark.parametrize("name", CREATED)
def test_every_window_ends(name: str) -> None:
    """Snowflake computes a window again for each partition with a changed row; a series or a device changes always."""
    assert unbounded(CREATED[name][1].expression) == []


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_dynamic_table_has_one_blocking_operator(name: str) -> None:
    """https://docs.snowflake.com/en/user-guide/dynamic-tables/refresh-optimization, Limit blocking operators."""
    assert len(blocking(DYNAMIC[name].expression)) <= 1


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_dynamic_table_can_be_refreshed_with_what_changed(name: str) -> None:
    """And is so: the mode is named, since AUTO decides once and says nothing."""
    assert not_incremental(DYNAMIC[name].expression) == []
    sql = CREATED[name][0]
    assert "REFRESH_MODE = INCREMENTAL" in sql
    assert "INITIALIZE = ON_SCHEDULE" in sql  # outside of the setup function's time


@pytest.mark.parametrize(
    ("rule", "sql"),
    [
        (unbounded, "SELECT LAG(V) OVER (PARTITION BY SERIES ORDER BY TS) FROM T"),
        (unbounded, "SELECT A FROM T QUALIFY ROW_NUMBER() OVER (ORDER BY TS) = 1"),
        (not_incremental, "SELECT A FROM T LIMIT 5"),
        (not_incremental, "SELECT A, CURRENT_TIMESTAMP() FROM T"),
        (not_incremental, "SELECT A FROM T EXCEPT SELECT A FROM U"),
        (not_incremental, "SELECT A FROM T LEFT JOIN U ON T.A > U.B"),
        (not_incremental, "SELECT A FROM T WHERE EXISTS (SELECT 1 FROM U)"),
    ],
)
def test_the_rules_find_what_they_are_for(rule: object, sql: str) -> None:
    """Each rule refuses the construct that it is for."""
    assert callable(rule)
    assert len(rule(sqlglot.parse_one(sql, read="snowflake"))) >= 1


def test_two_blocking_operators_are_two() -> None:
    """A window above an aggregate, say."""
    sql = "WITH A AS (SELECT K, SUM(V) AS V FROM T GROUP BY K) SELECT K, LAG(V) OVER (PARTITION BY K ORDER BY V) FROM A"
    assert len(blocking(sqlglot.parse_one(sql, read="snowflake"))) == 2


@pytest.mark.parametrize("name", DYNAMIC)
def test_what_can_be_computed_again_is_transient(name: str) -> None:
    """Fail-safe is paid for what exists nowhere else alone."""
    kept = name in {"METRIC_HOURLY", "METRIC_DAILY", "METRIC_RATES_HOURLY"}
    assert ("TRANSIENT" in CREATED[name][0]) != kept
    assert ("FROZEN WHERE" in CREATED[name][0]) == kept


def test_the_sheet_of_refreshes_has_each_table() -> None:
    """Every dynamic table has its line in refreshes.toml, with formulas of the names that are explained there."""
    sheet = tomllib.loads(resources.files("lmdp.sql").joinpath("refreshes.toml").read_text("utf-8"))
    assert set(sheet["now"]) == set(DYNAMIC)
    known = dict.fromkeys(sheet["names"], 1.0)
    for table in (*sheet["now"].values(), *sheet["before"].values()):
        for formula in (table["reads"], table["changes"]):
            assert names(formula) <= known.keys()
            assert evaluate(formula, known) >= 0
    for name, table in sheet["now"].items():
        assert (table["kind"] == "transient") == ("TRANSIENT" in CREATED[name][0])
