"""Answers in the forms that people and programs read."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest

from lmdp.errors import UnreachableError
from lmdp.machine.api.formats import STREAMS, Limited, json_row, rows, write
from lmdp.machine.api.protocol import ARROW, CSV, JSON

if TYPE_CHECKING:
    from pathlib import Path

EVERY_TYPE = """
SELECT 1::TINYINT AS a, 170141183460469231731687303715884105727 AS b, 1.25::DECIMAL(9, 2) AS c, 'NaN'::DOUBLE AS d,
  TIMESTAMP '2026-11-23 12:00:00.001' AS e, TIMESTAMPTZ '2026-11-23 12:00:00+00' AS f, DATE '2026-11-23' AS g,
  TIME '12:00:00' AS h, INTERVAL '1 month 2 days' AS i, 'x'::BLOB AS j, true AS k, NULL AS l, [1, NULL] AS m,
  {'x': 1.5::DECIMAL(4, 1), 'y': 'z'} AS n, MAP {'p': 1} AS o, '{"q": 1}'::JSON AS p,
  '00000000-0000-0000-0000-000000000001'::UUID AS q, '101'::BIT AS r, 'a'::ENUM('a', 'b') AS s, sum(3) AS t,
  union_value(num := 2) AS u
"""


def answer(sql: str) -> pa.Table:
    """What DuckDB gives."""
    found = duckdb.sql(sql)
    assert found is not None
    return found.to_arrow_table()


def written(sql: str, form: str, folder: Path) -> bytes:
    """The answer in that form, by way of a file."""
    write(answer(sql), form, folder / "out")
    return (folder / "out").read_bytes()


@pytest.mark.parametrize("form", ["table", "line", "markdown", "json", "csv", "parquet"])
@pytest.mark.parametrize("sql", [EVERY_TYPE, f"SELECT * FROM ({EVERY_TYPE}) WHERE false"], ids=["one row", "none"])
def test_every_type_can_be_written_in_every_form(sql: str, form: str, tmp_path: Path) -> None:
    """No type that DuckDB can answer with ends in a traceback."""
    assert written(sql, form, tmp_path) or (form == "line" and sql.endswith("false"))


def test_json_is_what_a_program_expects(tmp_path: Path) -> None:
    """Sums are numbers again, not-a-number is text, times are ISO, nested values stay nested."""
    (row,) = json.loads(written(EVERY_TYPE, "json", tmp_path))
    wanted = {"a": 1, "c": 1.25, "d": "nan", "e": "2026-11-23T12:00:00.001000Z", "k": True, "l": None, "m": [1, None]}
    wanted |= {"f": "2026-11-23T12:00:00Z"}
    wanted |= {"o": {"p": 1}, "b": 2**127 - 1, "n": {"x": 1.5, "y": "z"}, "t": 3, "g": "2026-11-23"}
    assert {name: row[name] for name in wanted} == wanted


BEYOND = """
SELECT TIMESTAMP 'infinity' AS a, DATE '-infinity' AS b, TIMESTAMPTZ 'infinity' AS c, TIMESTAMP '290000-01-01' AS d,
  DATE '0044-03-15 (BC)' AS e, TIMESTAMP_NS '2026-01-01 00:00:00.123456789' AS f, [TIMESTAMP 'infinity', NULL] AS g,
  {'x': DATE 'infinity'} AS h, MAP {DATE '-infinity': 1} AS i, TIMESTAMP_MS 'infinity' AS j, NULL::DATE AS k
"""
BEYOND_TEXTS = {
    "a": "infinity", "b": "-infinity", "c": "infinity", "d": "290000-01-01 00:00:00", "e": "0044-03-15 (BC)",
    "f": "2026-01-01 00:00:00.123456789", "g": "[infinity, NULL]", "h": "{'x': infinity}", "i": "{-infinity=1}",
    "j": "infinity", "k": None,
}  # fmt: skip


def test_times_that_python_has_not_are_text(tmp_path: Path) -> None:
    """Infinity, years beyond 9999 or before 1, and nanoseconds are what DuckDB itself prints."""
    (row,) = json.loads(written(BEYOND, "json", tmp_path))
    assert row == BEYOND_TEXTS
    lines = list(csv.reader(written(BEYOND, "csv", tmp_path).decode().splitlines()))
    found = dict(zip(*lines, strict=True))
    assert {name: found[name] for name in "abcd"} == {name: BEYOND_TEXTS[name] for name in "abcd"}
    table = written(BEYOND, "table", tmp_path).decode()
    assert "infinity" in table
    assert "0044-03-15 (BC)" in table
    assert written(BEYOND, "parquet", tmp_path)


def streamed(sql: str, kind: str, rows: int = 100) -> tuple[bytes, bool]:
    """The answer as the run writes it, in batches of two rows, and whether it was cut."""
    table, file = answer(sql), io.BytesIO()
    batches = Limited(table.to_batches(2), rows, file.tell, 2**20)
    STREAMS[kind](table.schema, batches, file, lambda: 0.25)
    return file.getvalue(), batches.truncated


@pytest.mark.parametrize("sql", [EVERY_TYPE, BEYOND, f"SELECT * FROM ({EVERY_TYPE}) WHERE false"])
def test_every_type_can_be_streamed(sql: str) -> None:
    """JSON and CSV on the wire have the same values as in a file; Arrow reads back."""
    table = answer(sql)
    found = json.loads(streamed(sql, JSON)[0])
    assert [column["name"] for column in found["columns"]] == table.column_names
    assert [dict(zip(table.column_names, row, strict=True)) for row in found["rows"]] == [
        json.loads(json_row(row)) for row in rows(table)
    ]
    assert streamed(sql, CSV)[0].count(b"\n") == 1 + table.num_rows
    assert pa.ipc.open_stream(streamed(sql, ARROW)[0]).read_all().schema == table.schema


@pytest.mark.parametrize(("limit", "values", "truncated"), [(3, [0, 1, 2], True), (5, [0, 1, 2, 3, 4], False)])
def test_a_stream_ends_at_its_limit(limit: int, values: list[int], *, truncated: bool) -> None:
    """Across batches, and it says so."""
    content, cut = streamed("SELECT range AS n, range AS n FROM range(5)", JSON, limit)
    found = json.loads(content)
    assert (found["rows"], found["truncated"], found["seconds"]) == ([[n, n] for n in values], truncated, 0.25)
    assert cut is truncated
    text = streamed("SELECT range AS n, range AS n FROM range(5)", CSV, limit)[0].decode()
    assert text.split() == ['"n","n_1"', *(f"{n},{n}" for n in values)]


def test_no_row_is_an_empty_list(tmp_path: Path) -> None:
    """A program need not know of the case."""
    assert json.loads(written("SELECT 1 AS a WHERE false", "json", tmp_path)) == []


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_columns_of_one_name_are_all_there(form: str, tmp_path: Path) -> None:
    """A question may name two columns alike; neither hides the other."""
    text = written("SELECT 11 AS a, 22 AS a, 33 AS b", form, tmp_path).decode()
    assert [number in text for number in ("11", "22", "33")] == [True, True, True]


def test_a_table_is_not_cut_in_a_pipe(tmp_path: Path) -> None:
    """Long values and many columns stay on their line; square brackets are no markup."""
    columns = ", ".join(f"'{'x' * 60}' AS c{n}" for n in range(20))
    text = written(f"SELECT '[bold]a[/bold]' AS first, {columns}", "table", tmp_path).decode()
    assert len(text.splitlines()) == 2
    assert text.count("x" * 60) == 20
    assert "[bold]a[/bold]" in text


def test_parquet_reads_back(tmp_path: Path) -> None:
    """The file is the answer."""
    write(answer("SELECT range AS n FROM range(1000)"), "parquet", tmp_path / "a.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 1000


def test_standard_output_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the bytes go to standard output."""
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    write(answer("SELECT 1 AS a"), "csv", None)
    out.seek(0)
    assert out.read().split() == ['"a"', "1"]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The folder that is none is named."""
    (tmp_path / "file").touch()
    with pytest.raises(UnreachableError, match=r"cannot write .*file/a\.csv: Not a directory"):
        write(answer("SELECT 1 AS a"), "csv", tmp_path / "file" / "a.csv")
