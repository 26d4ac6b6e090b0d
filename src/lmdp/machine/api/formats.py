"""Formats of an answer: for a file or a pipe, and on the wire, where it is written batch by batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from lmdp.errors import LmdpError, UnreachableError
from lmdp.machine.api.protocol import ARROW, CSV, JSON
from lmdp.machine.api.tables import TEXTS
from lmdp.machine.api.values import json_text, plain, sql_type, texts, values
from lmdp.support.opening import open_nonblocking


def _not_in_csv(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind)) or _not_in_parquet(kind)


def _not_in_parquet(kind: pa.DataType) -> bool:
    return bool(pa.types.is_union(kind)) or kind == pa.month_day_nano_interval()


def write(table: pa.Table, form: str, output: Path | None) -> None:
    """Write `table` as `json`, `csv`, `parquet` or one of TEXTS; to standard output where `output` is None."""
    if output is None:
        write_to(table, form, sys.stdout.buffer)
        return
    try:
        with open(output, "wb", opener=open_nonblocking) as file:
            write_to(table, form, file)
    except OSError as error:
        raise UnreachableError(f"cannot write {output}: {error.strerror}") from error


def write_to(answer: pa.Table, form: str, file: BinaryIO) -> None:
    """Write `answer` to an open file, as `json`, `csv`, `parquet` or one of TEXTS."""
    table = answer.rename_columns(_unique(answer.column_names))
    if form == "json":
        file.write(b"[" + b",\n ".join(json_row(row) for row in rows(table)) + b"]\n")
    elif form == "csv":
        _write_csv(table, file)
    elif form == "parquet":
        pyarrow.parquet.write_table(_as_text(table, _not_in_parquet), file)
    else:
        file.write(TEXTS[form](table).encode())
    file.flush()


class Limited:
    """Batches of `rows` rows in all; `truncated` when there were more. Raises LmdpError beyond `most` bytes written."""

    def __init__(self, batches: Iterable[pa.RecordBatch], rows: int, written: Callable[[], int], most: int) -> None:
        self._batches, self._left, self._written, self._most = batches, rows, written, most
        self.truncated = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yield the batches."""
        for batch in self._batches:
            if self._written() > self._most:
                raise LmdpError(f"the answer is larger than {self._most // 2**20} MiB; select fewer rows or columns")
            yield batch.slice(0, self._left)
            self.truncated = batch.num_rows > self._left
            if self.truncated:
                return
            self._left -= batch.num_rows


def _arrow_stream(columns: pa.Schema, batches: Limited, file: IO[bytes], _seconds: Callable[[], float]) -> None:
    with pa.ipc.new_stream(file, columns, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _csv_stream(columns: pa.Schema, batches: Limited, file: IO[bytes], _seconds: Callable[[], float]) -> None:
    names = _unique(columns.names)
    _write_csv(pa.table([pa.array([], pa.string())] * len(names), names), file)  # the header
    for batch in batches:
        _write_csv(pa.Table.from_batches([batch]).rename_columns(names), file, header=False)


def _json_stream(columns: pa.Schema, batches: Limited, file: IO[bytes], seconds: Callable[[], float]) -> None:
    """Write `{"columns", "rows", "truncated", "seconds"}`, rows as lists: two columns may have one name."""
    named = [{"name": field.name, "type": str(field.type)} for field in columns]
    file.write(b'{"columns":%b,"rows":[' % msgspec.json.encode(named))
    separator = b""
    for batch in batches:
        if batch.num_rows:
            file.write(separator + msgspec.json.encode(table_rows(pa.Table.from_batches([batch])))[1:-1])
            separator = b",\n"
    end = {"truncated": batches.truncated, "seconds": round(seconds(), 3)}
    file.write(b"]," + msgspec.json.encode(end)[1:])


STREAMS: Final = {ARROW: _arrow_stream, CSV: _csv_stream, JSON: _json_stream}
"""Writers of an answer on the wire: its columns, its batches, the file, and the seconds that it took."""


def table_rows(table: pa.Table) -> list[list[Any]]:
    """Return the rows as lists of JSON values, in the columns' order."""
    columns = [
        values(column) if _is_plain(column) else [plain(value) for value in values(column)] for column in table.columns
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _is_plain(column: pa.ChunkedArray) -> bool:
    """Return whether JSON has the values of a column as they are."""
    kind = column.type
    if pa.types.is_floating(kind):
        return pc.all(pc.is_finite(column)).as_py() is not False
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_boolean(kind))


def _write_csv(table: pa.Table, file: IO[bytes], *, header: bool = True) -> None:
    form = pyarrow.csv.WriteOptions(include_header=header)
    pyarrow.csv.write_csv(_in_range(_as_text(table, _not_in_csv)), file, form)


def _unique(names: list[str]) -> list[str]:
    """Return the names, with a number behind those that repeat: a query may give two columns one name."""
    found: list[str] = []
    for name in names:
        free = (name, *(f"{name}_{n}" for n in range(1, len(names) + 1)))
        found.append(next(one for one in free if one not in found))
    return found


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table whose column names are unique; a value of SQL's type JSON is JSON as it is."""
    columns = [
        [None if text is None else msgspec.Raw(text.encode()) for text in values(column)]
        if sql_type(field) == "JSON"
        else values(column)
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _in_range(table: pa.Table) -> pa.Table:
    """Return the table with DuckDB's text in columns of times that Arrow cannot write."""
    for at, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            try:
                pc.min_max(table.column(at)).as_py()
            except OverflowError:
                table = table.set_column(at, field.name, pa.array(texts(table.column(at)), pa.string()))
            except ValueError:  # nanoseconds, which it can
                continue
    return table


def _as_text(table: pa.Table, odd: Callable[[pa.DataType], bool]) -> pa.Table:
    """Return the table with JSON text in columns of the types that the format does not support."""
    for at, field in enumerate(table.schema):
        if odd(field.type):
            found = (None if value is None else json_text(value) for value in values(table.column(at)))
            table = table.set_column(at, field.name, pa.array(found, pa.string()))
    return table


def json_row(row: dict[str, Any]) -> bytes:
    """Return one row as a JSON object. Sums of integers, decimals in DuckDB, are numbers."""
    return msgspec.json.encode({name: plain(value) for name, value in row.items()})
