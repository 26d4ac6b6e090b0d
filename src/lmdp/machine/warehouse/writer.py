"""One transaction's rows, rejects and offsets, and how they are put into the tables."""

from __future__ import annotations

from datetime import UTC
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa

from lmdp.machine.warehouse.arrow import reject_columns, row_pieces
from lmdp.machine.warehouse.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import duckdb

    from lmdp.core.specification import Spec
    from lmdp.machine.offsets import OffsetRange
    from lmdp.machine.sink import Load
    from lmdp.machine.warehouse.totals import RowAgeBounds


# Lines of LOADS that adjoin are merged, also between two attempts: the range and the time of the merged one cover it.
_SAME = """
SELECT 1 FROM {table}
WHERE CLUSTER = ? AND TOPIC_ID = ? AND TOPIC = ? AND PARTITION = ?
  AND FIRST_OFFSET <= ? AND NEXT_OFFSET >= ? AND {at} >= ?
"""


def is_there(connection: duckdb.DuckDBPyConnection, load: Load, since: datetime) -> bool:
    """Return whether `load`, tried since then, is in the file: a commit can fail in the checkpoint that follows it."""
    found = [(_SAME.format(table="LOADS", at="LOADED_AT"), part) for part in load.ranges if part.first < part.next]
    found += [(_SAME.format(table="GAPS", at="FOUND_AT"), part) for part in load.gaps]
    for same, part in found[:1]:  # all of a load is one transaction
        return bool(connection.execute(same, [*_key(part), part.first, part.next, _utc(since)]).fetchone())
    return False


def insert(
    connection: duckdb.DuckDBPyConnection, load: Load, spec: Spec, written: list[int], limits: RowAgeBounds
) -> tuple[int, Totals]:
    """Write `load` within the caller's transaction, noting bytes in `written`.

    Returns the bytes of the rows' columns, and what the load adds to the totals.
    """
    added = Totals(ranges=list(load.ranges), gaps=sum(part.next - part.first for part in load.gaps))
    ms = next(field.name for field in spec.fields if field.computed == "time ms")
    columns = [pa.concat_tables(load.columns)] if load.columns else []
    for rows in chain(columns, row_pieces(load.rows, spec.fields, load.size)):
        written.append(rows.nbytes)
        added.note_rows(rows.column(ms), limits)
        _insert(connection, "ROW_EVENTS", rows)
    bytes_out = sum(written)
    rejects = reject_columns(load.rejects)
    written.append(rejects.nbytes)
    if rejects.num_rows:
        added.rejects.update(rejects.column("ERROR_CODE").to_pylist())
    _insert(connection, "REJECTS", rejects)
    at = _utc(load.at)
    _note(connection, load.ranges, at)
    _note_gaps(connection, load.gaps, at)
    return bytes_out, added


def _insert(connection: duckdb.DuckDBPyConnection, table: str, columns: pa.Table) -> None:
    if not columns.num_rows:
        return
    names = ", ".join(f'"{name}"' for name in columns.column_names)
    connection.register("incoming", columns)
    try:
        connection.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM incoming"  # noqa: S608 - our own names
        )
    finally:
        connection.unregister("incoming")


def _note(connection: duckdb.DuckDBPyConnection, ranges: Sequence[OffsetRange], at: datetime) -> None:
    for part in {_key(part): part for part in ranges}.values():  # the last of each partition
        connection.execute(
            "INSERT OR REPLACE INTO OFFSETS VALUES (?, ?, ?, ?, ?, ?)", [*_key(part), part.next, part.epoch]
        )
    for part in ranges:
        if part.first < part.next:
            connection.execute(
                "INSERT INTO LOADS VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, TRUE)",
                [*_key(part), part.first, part.next, part.rows, part.rejects, at, part.epoch],
            )


def _note_gaps(connection: duckdb.DuckDBPyConnection, gaps: Sequence[OffsetRange], at: datetime) -> None:
    for part in gaps:
        connection.execute("INSERT INTO GAPS VALUES (?, ?, ?, ?, ?, ?, ?)", [*_key(part), part.first, part.next, at])


def _key(part: OffsetRange) -> tuple[str, str, str, int]:
    return part.cluster, part.topic_id, part.topic, part.partition


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)
