"""What a question may be, and that reading it stops nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from lmdp.errors import SettingsError
from lmdp.machine.warehouse import sql_guard
from lmdp.machine.warehouse.sql_guard import check_query
from new_warehouse import open_warehouse

if TYPE_CHECKING:
    from pathlib import Path


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
    check_query(cursor, sql)


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
        check_query(cursor, sql)


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
    monkeypatch.setattr(sql_guard, "READ_SECONDS", 2)
    with pytest.raises(SettingsError, match="fewer brackets"):
        check_query(cursor, sql)


@pytest.mark.parametrize("name", ["levenshtein", "editdist3", "damerau_levenshtein"])
def test_what_takes_the_product_of_two_lengths_is_bounded(tmp_path: Path, name: str) -> None:
    """Short texts are compared as ever, also in columns; long ones, and a name that evades the check, are refused."""
    with open_warehouse(tmp_path / "w.duckdb") as opened:
        sql = f"select {name}('kitten', 'sitting') as a, sum({name}(range::varchar, 'x'))::int as b from range(3)"
        assert opened.query(sql).table.to_pylist() == [{"a": 3, "b": 3}]
        for text in (
            f"{name}(repeat('a', 1000000), repeat('b', 1000000))",
            f"\"{name.upper()}\"(repeat('a', 10001), 'b')",
        ):
            with pytest.raises(SettingsError, match="lengths multiply to 10000 at most"):
                opened.query(f"select {text}")
        for called in (f"system.main.{name}", f"main.{name}", f'"main" . "{name}"'):
            with pytest.raises(SettingsError, match="without a schema before it"):
                opened.query(f"select {called}('a', 'b')")
