"""What a question may be, and that reading it stops nobody."""

from __future__ import annotations

import duckdb
import pytest

from lmdp.errors import SettingsError
from lmdp.local import question
from lmdp.local.question import check_question


@pytest.fixture
def cursor() -> duckdb.DuckDBPyConnection:
    """A connection to nothing."""
    return duckdb.connect(":memory:")


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "select 1;",
        "with a as (select 1) select * from a",
        "values (1)",
        "describe metrics",
        "select '" + "(" * 1000 + "' -- " + "(" * 1000 + "\n",
        "select " + "(" * 50 + "1" + ")" * 50,
        "select 1 in (" + "1, " * 20_000 + "1)",
        "--" * 1000 + "\nselect 1",
    ],
    ids=str.__len__,
)
def test_one_select_is_a_question(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Also a long one and a deep one, as programs write them; what stands in text and comments counts for nothing."""
    check_question(cursor, sql)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select 1; select 2", "one SELECT statement"),
        ("drop table t", "one SELECT statement"),
        ("explain analyze select 1", "one SELECT statement"),
        ("call checkpoint()", "one SELECT statement"),
        ("", "one SELECT statement"),
        ("select " + "1, " * 50_000, "100,000 characters at most"),
    ],
    ids=["two", "drop", "explain", "call", "nothing", "long"],
)
def test_what_is_none(cursor: duckdb.DuckDBPyConnection, sql: str, told: str) -> None:
    """Nothing but one SELECT, of a length that can be read."""
    with pytest.raises(SettingsError, match=told):
        check_question(cursor, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select " + "((with x as (" * 20,
        "select e'\\'', ' ', " + "((with x as (" * 20,
        "select " + "(" * 5000,
        "select " + "- " * 4000,
    ],
    ids=str.__len__,
)
def test_what_cannot_be_read_in_time(
    cursor: duckdb.DuckDBPyConnection, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up, where DuckDB itself would hold the whole process for minutes."""
    monkeypatch.setattr(question, "READ_SECONDS", 2)
    with pytest.raises(SettingsError, match="fewer brackets"):
        check_question(cursor, sql)
