"""Answers as text: for a terminal of a given width, line by line, and as Markdown."""

from __future__ import annotations

import re

import duckdb
import pyarrow as pa
import pytest
from rich.cells import cell_len

from lmdp.machine.api.tables import boxed, by_line, markdown, shown

WIDE = ", ".join(f"'{'x' * 30}' AS c{n}" for n in range(20))


def answer(sql: str) -> pa.Table:
    """What DuckDB gives, with its types, as a run sends them."""
    found = duckdb.sql(sql)
    assert found is not None
    table = found.to_arrow_table()
    fields = [field.with_metadata({"type": str(kind)}) for field, kind in zip(table.schema, found.types, strict=True)]
    return table.cast(pa.schema(fields))


def test_a_table_has_types_and_its_size() -> None:
    """Numbers are at the right, types below the names, rows, columns and time below the table."""
    sql = "SELECT * FROM (VALUES ('a', 1::UBIGINT, NULL), ('b', 18446744073709551615, 2.5::DOUBLE)) t(name, n, x)"
    assert boxed(answer(sql), 80, seconds=0.123, colours=False) == (
        "┌─────────┬──────────────────────┬────────┐\n"
        "│ name    │                    n │      x │\n"
        "│ varchar │              ubigint │ double │\n"
        "├─────────┼──────────────────────┼────────┤\n"
        "│ a       │                    1 │   NULL │\n"
        "│ b       │ 18446744073709551615 │    2.5 │\n"
        "└─────────┴──────────────────────┴────────┘\n"
        "2 rows \u00d7 3 columns, 0.12 s\n"
    )


def test_colours_can_be_left_out() -> None:
    """NULL and types are dim; without colours no escape is printed."""
    table = answer("SELECT NULL::INTEGER AS n")
    assert "\x1b[2m   NULL\x1b[0m" in boxed(table, 80, seconds=0, colours=True)
    assert "\x1b" not in boxed(table, 80, seconds=0, colours=False)


@pytest.mark.parametrize("width", [20, 40, 80, 81, 132, 400, 1000])
@pytest.mark.parametrize(
    "sql", [f"SELECT {WIDE}", "SELECT '日本語日本語日本語' AS a, 'b\nc' AS b"], ids=["many", "CJK"]
)
def test_no_line_is_wider_than_the_terminal(sql: str, width: int) -> None:
    """Columns of text are shortened, then those in the middle are left out; all lines are equally wide."""
    *lines, size = boxed(answer(sql), width, seconds=0, colours=False).splitlines()
    assert {cell_len(line) for line in lines} == {cell_len(lines[0])}
    assert cell_len(lines[0]) <= width
    assert ("shown; --format line shows all" in size) == ("│ … │" in lines[1])


def test_the_width_is_used() -> None:
    """Nothing is shortened that fits, and what does not fit fills the width."""
    table = answer(f"SELECT '{'x' * 100}' AS long, '{'y' * 10}' AS short")
    assert cell_len(boxed(table, 60, seconds=0, colours=False).splitlines()[0]) == 60
    assert "y" * 10 in boxed(table, 60, seconds=0, colours=False)
    assert "x" * 100 in boxed(table, 200, seconds=0, colours=False)


def test_numbers_and_times_are_never_cut() -> None:
    """A number without its last digits would be another number."""
    table = answer("SELECT 123456789012345 AS n, TIMESTAMP '2026-11-23 12:00:00' AS ts, repeat('x', 99) AS text")
    text = boxed(table, 56, seconds=0, colours=False)
    assert "123456789012345" in text
    assert "2026-11-23 12:00:00" in text
    assert re.search("x…", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (0.1, "0.1"),
        (1.8446744073709548e19, "18446744073709548000.0"),
        (1e16, "10000000000000000.0"),
        (1e-7, "0.0000001"),
        (1.5e300, "1.5e+300"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**64 - 1, "18446744073709551615"),
        (True, "true"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (b"a\x00", "\\x61\\x00"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
    ],
)
def test_a_value_is_one_line(value: object, text: str) -> None:
    """Numbers have no exponent where a reader needs none; nothing of a value reaches the terminal as a command."""
    assert shown(value) == text


def test_lines_and_markdown() -> None:
    """A line a value, an empty one between rows; in Markdown a bar is escaped and NULL is empty."""
    table = answer("SELECT * FROM (VALUES ('a|b', 1), (NULL, 22)) t(name, n)")
    assert by_line(table) == "name = a|b\n   n = 1\n\nname = NULL\n   n = 22\n"
    assert markdown(table) == "| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n|  | 22 |\n"
    assert by_line(answer("SELECT 1 AS a WHERE false")) == ""
