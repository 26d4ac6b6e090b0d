"""Answers as people and programs read them: a table, JSON, CSV or Parquet."""

from __future__ import annotations

import base64
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console
from rich.table import Table

from lmdp.errors import Unreachable


def write(table: pa.Table, form: str, output: Path | None) -> None:
    """Write `table` in the form `table`, `json`, `csv` or `parquet`; to standard output where `output` is None."""
    if output is None:
        _write(table, form, sys.stdout.buffer)
        return
    try:
        with output.open("wb") as file:
            _write(table, form, file)
    except OSError as error:
        raise Unreachable(f"cannot write {output}: {error.strerror}") from error


def _write(table: pa.Table, form: str, file: BinaryIO) -> None:
    if form == "json":
        rows = table.to_pylist()
        file.write(b"[" + b",\n ".join(json_row(row) for row in rows) + b"]\n")
    elif form == "csv":
        pyarrow.csv.write_csv(table, file)
    elif form == "parquet":
        pyarrow.parquet.write_table(table, file)
    else:
        file.write(_drawn(table).encode())
    file.flush()


def json_row(row: dict[str, Any]) -> bytes:
    """One row as a JSON object; sums of integers, which DuckDB gives as decimals, are numbers again."""
    return msgspec.json.encode({name: _plain(value) for name, value in row.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _drawn(table: pa.Table) -> str:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for field in table.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        drawn.add_column(field.name, justify="right" if number else "left", overflow="fold")
    for row in table.to_pylist():
        drawn.add_row(*("" if value is None else str(value) for value in row.values()))
    # A pipe is not cut to a screen's width.
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(drawn)
    text = captured.get()
    return text if sys.stdout.isatty() else "".join(line.rstrip() + "\n" for line in text.splitlines())
