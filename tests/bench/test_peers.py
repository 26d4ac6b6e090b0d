"""Whoever stands beside lmdp in the benchmark makes the same rows: else its speed says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import workloads
from benchmarks.peers import collector, json_format, plain
from benchmarks.peers.duckdb_sql import Sql
from benchmarks.peers.plain_table import PlainTable
from benchmarks.stages.core import rows_of

from lmdp import encode

CASES = [(name, form) for name in workloads.MAKERS for form in workloads.FORMS]
MESSAGES = {workloads.LARGE: 2, workloads.MIX: 5}


def made(name: str, form: str) -> tuple[list[bytes], list[bytes]]:
    """Messages of one workload in one form, and lmdp's rows of them."""
    messages = [
        value for values in workloads.workload(name, form, 1, MESSAGES.get(name, 60)).rounds for value in values
    ]
    return messages, encode(rows_of(messages))


@pytest.mark.parametrize(("name", "form"), CASES)
def test_json_format_makes_the_same_rows(name: str, form: str) -> None:
    """Protobuf's objects become the same rows, fields in the same order, from every form of every workload."""
    messages, ours = made(name, form)
    assert told([row for value in messages for row in json_format.flatten(json_format.parse(value))]) == read(ours)


@pytest.mark.parametrize(("name", "form"), [case for case in CASES if "protobuf" not in case[1]])
def test_the_plain_version_makes_the_same_rows(name: str, form: str) -> None:
    """What one writes first makes the same rows, fields in the same order."""
    messages, ours = made(name, form)
    assert told([row for value in messages for row in plain.flatten(plain.loads(value))]) == read(ours)


@pytest.mark.parametrize("name", [workloads.SMALL, workloads.LARGE])
def test_sql_makes_the_same_rows(name: str, tmp_path: Path) -> None:
    """The query makes the same row events of LogicMonitor's messages, in some order."""
    messages, ours = made(name, "JSON")
    sql = Sql(tmp_path)
    file = sql.file(messages)
    assert sql.to_json(file) == sql.to_table(file) == len(ours)
    written = Path(f"{file}.rows").read_text(encoding="utf-8").splitlines()
    theirs = [{key: value for key, value in json.loads(row).items() if value is not None} for row in written]
    assert in_order(theirs) == in_order([json.loads(row) for row in ours])


def test_the_plain_table_takes_every_row(tmp_path: Path) -> None:
    """The plain consumer's insert answers with as many rows as lmdp makes."""
    messages, ours = made(workloads.MIX, "JSON")
    assert PlainTable(tmp_path / "rows.duckdb").insert(messages) == len(ours)


def test_no_message_comes_twice() -> None:
    """A round's messages are not those of another one, nor are a round's own alike."""
    for name in workloads.MAKERS:
        messages = [value for values in workloads.workload(name, "JSON", 2, 10).rounds for value in values]
        assert len(set(messages)) == len(messages) == 30


def test_datapoints_in_the_collectors_file_are_counted(tmp_path: Path) -> None:
    """A time across two chunks that are read counts once; a start time is none."""
    point = b'{"startTimeUnixNano":"1","timeUnixNano":"2"}'
    file = tmp_path / "out.otlp"
    edge = collector.CHUNK - 30
    file.write_bytes(b" " * edge + point + b"\n" + point)
    assert collector.count(file) == 2


def told(rows: list[dict[str, Any]]) -> list[list[tuple[str, Any]]]:
    """What the plain rows are once they are written and read."""
    return read([plain.dumps(row) for row in rows])


def read(rows: list[bytes]) -> list[list[tuple[str, Any]]]:
    """Rows as their fields: a number has many spellings, 1e+19 and 1e19 among them."""
    return [list(json.loads(row).items()) for row in rows]


def in_order(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as text, sorted."""
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
