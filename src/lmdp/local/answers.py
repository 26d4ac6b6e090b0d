"""Answers as people and programs read them: a table, JSON, CSV or Parquet."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
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
from lmdp.printable import printable


def _not_in_csv(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind)) or _not_in_parquet(kind)


def _not_in_parquet(kind: pa.DataType) -> bool:
    return bool(pa.types.is_union(kind)) or kind == pa.month_day_nano_interval()


def write(table: pa.Table, form: str, output: Path | None) -> None:
    """Write `table` in the form `table`, `json`, `csv` or `parquet`; to standard output where `output` is None."""
    if output is None:
        write_to(table, form, sys.stdout.buffer)
        return
    try:
        with output.open("wb") as file:
            write_to(table, form, file)
    except OSError as error:
        raise Unreachable(f"cannot write {output}: {error.strerror}") from error


def write_to(answer: pa.Table, form: str, file: BinaryIO) -> None:
    """Write `answer` to an open file, in the form `table`, `json`, `csv` or `parquet`."""
    table = answer.rename_columns(_told_apart(answer.column_names))
    if form == "json":
        rows = table.to_pylist()
        file.write(b"[" + b",\n ".join(json_row(row) for row in rows) + b"]\n")
    elif form == "csv":
        pyarrow.csv.write_csv(_as_text(table, _not_in_csv), file)
    elif form == "parquet":
        pyarrow.parquet.write_table(_as_text(table, _not_in_parquet), file)
    else:
        file.write(_drawn(table).encode())
    file.flush()


def _told_apart(names: list[str]) -> list[str]:
    """Names as they are, but for those that were there before: a question may name two columns alike."""
    found: list[str] = []
    for name in names:
        free = (name, *(f"{name}_{n}" for n in range(1, len(names) + 1)))
        found.append(next(one for one in free if one not in found))
    return found


def _as_text(table: pa.Table, odd: Callable[[pa.DataType], bool]) -> pa.Table:
    """The table with JSON text in the columns of types that the form does not know."""
    for at, field in enumerate(table.schema):
        if odd(field.type):
            values = (None if value is None else _text(value) for value in table.column(at).to_pylist())
            table = table.set_column(at, field.name, pa.array(values, pa.string()))
    return table


def _text(value: Any) -> str:
    simple = plain(value)
    return simple if isinstance(simple, str) else msgspec.json.encode(simple).decode()


def json_row(row: dict[str, Any]) -> bytes:
    """One row as a JSON object; sums of integers, which DuckDB gives as decimals, are numbers again."""
    return msgspec.json.encode({name: plain(value) for name, value in row.items()})


def plain(value: Any) -> Any:
    """A value as JSON has it: text for what JSON has no form for, numbers for decimals."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def _drawn(table: pa.Table) -> str:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for field in table.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        drawn.add_column(printable(field.name), justify="right" if number else "left", overflow="fold")
    for row in table.to_pylist():
        drawn.add_row(*("" if value is None else printable(str(value)) for value in row.values()))
    # A pipe is not cut to a screen's width.
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(drawn)
    text = captured.get()
    return text if sys.stdout.isatty() else "".join(line.rstrip() + "\n" for line in text.splitlines())
