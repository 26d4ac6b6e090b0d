"""One machine's warehouse: a DuckDB file with one writer, and questions beside it.

Rows, rejects and offsets are written in one transaction, so that a restart goes on where the last one ended and nothing
is there twice. `LOADS` has a line for each partition and transaction, which makes that checkable.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa

from lmdp.errors import LmdpError, SettingsError
from lmdp.local import engine, schema
from lmdp.local.columns import reject_columns, row_columns
from lmdp.local.engine import SCHEMA, Limits
from lmdp.local.retention import Removed, remove_days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from lmdp.spec_loader import Spec

_BATCH_ROWS = 2048
_END_TRIES = 50  # of 0.1 s; an interrupt that comes before the query begins is lost

_OVERLAPS = """
SELECT coalesce(sum(ROWS), 0) FROM (
  SELECT ROWS, FIRST_OFFSET < max(NEXT_OFFSET) OVER (
    PARTITION BY CLUSTER, TOPIC_ID, TOPIC, PARTITION ORDER BY FIRST_OFFSET, NEXT_OFFSET
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) AS AGAIN
  FROM LOADS
  WHERE FIRST_OFFSET < NEXT_OFFSET
) WHERE AGAIN
"""


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The messages `first` up to, not including, `next` of a partition, and what they became."""

    cluster: str
    topic_id: str
    topic: str
    partition: int
    first: int
    next: int
    rows: int
    rejects: int


@dataclass(frozen=True, slots=True)
class Load:
    """One transaction: row tuples in the specification's order, reject envelopes, and where they came from."""

    rows: Sequence[tuple[Any, ...]]
    rejects: Sequence[dict[str, Any]]
    ranges: Sequence[OffsetRange]
    at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gave: at most the rows allowed, and whether there were more."""

    table: pa.Table
    truncated: bool


@dataclass(frozen=True, slots=True)
class WarehouseCounts:
    """What the file holds: rows and rejects, the time span of the rows (None without any), bytes on disk."""

    rows: int
    rejects: int
    oldest: datetime | None
    newest: datetime | None
    file_bytes: int


class Warehouse:
    """An open warehouse file. Writing calls take turns; `query` runs beside them, each on a cursor of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, spec: Spec | None) -> None:
        self.path = path
        self._connection = connection
        self._spec = spec
        self._turn = threading.Lock()
        self._asking: set[duckdb.DuckDBPyConnection] = set()
        self._asked = threading.Condition()
        self._ending = False
        self._bytes_at_open = self.file_bytes()

    @classmethod
    def open(cls, path: Path, spec: Spec, *, read_only: bool = False, limits: Limits | None = None) -> Warehouse:
        """Open the file, made or migrated where need be; `read_only` changes nothing, and works while nobody writes.

        Raises Unreachable when another process has it (or, to read, when there is none), SettingsError when it cannot
        be a warehouse: no folder, no DuckDB file, newer than this program, other columns than the specification's.
        """
        connection = engine.attach(path, read_only=read_only, limits=limits or Limits())
        try:
            if read_only:
                schema.check(connection, path)
            else:
                schema.prepare(connection, path, spec)
        except duckdb.Error as error:
            connection.close()
            raise SettingsError(f"the tables of {path} could not be made: {error}\nNothing was changed.") from error
        except BaseException:
            connection.close()
            raise
        return cls(connection, path, None if read_only else spec)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the questions under way, and let go of the file; the log beside it is folded in. Safe to call twice."""
        self.end_questions()
        with self._turn:
            # DuckDB checkpoints when the last connection to a file closes; should that fail, the log has everything.
            self._connection.close()

    def commit(self, load: Load, also: Callable[[duckdb.DuckDBPyConnection], None] | None = None) -> int:
        """Write all of `load` in one transaction, or nothing of it; returns the bytes of the rows' columns.

        `also` writes what belongs to it, in the same transaction and before it. Raises LmdpError when it could not be
        written (a full disk, say).
        """
        spec = self._writable()
        rows = row_columns(load.rows, spec.fields)
        rejects = reject_columns(load.rejects)
        at = load.at.astimezone(UTC).replace(tzinfo=None)
        with self._turn:
            try:
                with schema.transaction(self._connection):
                    if also is not None:
                        also(self._connection)
                    self._insert("ROW_EVENTS", rows)
                    self._insert("REJECTS", rejects)
                    self._note(load.ranges, at)
            except duckdb.Error as error:
                raise engine.write_failure(self.path, error) from error
        return int(rows.nbytes)

    def offsets(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """The next offset to read, by partition; a partition that is not in it was never read."""
        found = self._read(
            "SELECT PARTITION, NEXT_OFFSET FROM OFFSETS WHERE CLUSTER = ? AND TOPIC_ID = ? AND TOPIC = ?",
            [cluster, topic_id, topic],
        )
        return {int(partition): int(offset) for partition, offset in found}

    def has_other_offsets(self, topic: str) -> bool:
        """Whether a topic of this name was read into this file, whatever its cluster and id."""
        ((found,),) = self._read("SELECT count(*) FROM OFFSETS WHERE TOPIC = ?", [topic])
        return bool(found)

    def rejects_by_reason(self) -> dict[str, int]:
        """How many rejects each error code has, the most first."""
        found = self._read("SELECT ERROR_CODE, count(*) FROM REJECTS GROUP BY 1 ORDER BY 2 DESC, 1")
        return {str(code): int(count) for code, count in found}

    def duplicates(self) -> int:
        """Rows of offset ranges that overlap, and rows in the table beyond those that LOADS tells of; 0 is right."""
        ((overlapping,),) = self._read(_OVERLAPS)
        ((surplus,),) = self._read(
            "SELECT (SELECT count(*) FROM ROW_EVENTS)"
            " + (SELECT coalesce(sum(ROWS), 0) FROM REMOVALS)"
            " - (SELECT coalesce(sum(ROWS), 0) FROM LOADS)"
        )
        return int(overlapping) + int(surplus)

    def counts(self) -> WarehouseCounts:
        """What the file holds now."""
        ((rows, oldest, newest),) = self._read('SELECT count(*), min("ts"), max("ts") FROM ROW_EVENTS')
        ((rejects,),) = self._read("SELECT count(*) FROM REJECTS")
        return WarehouseCounts(int(rows), int(rejects), _utc(oldest), _utc(newest), self.file_bytes())

    def file_bytes(self) -> int:
        """Bytes on disk: the file and the log beside it."""
        both = (self.path, self.path.with_name(self.path.name + ".wal"))
        return sum(part.stat().st_size for part in both if part.exists())

    def grown_bytes(self) -> int:
        """How much the file has grown since it was opened; negative when it shrank."""
        return self.file_bytes() - self._bytes_at_open

    def keep(self, days: int | None, now: datetime) -> Removed:
        """Remove rows (by their own time) and rejects (by arrival) older than `days` whole UTC days; None keeps all.

        A row that arrives older than that stays until the next call. Raises SettingsError for less than a day.
        """
        self._writable()
        if days is None:
            return Removed()
        with self._turn:
            try:
                with schema.transaction(self._connection):
                    return remove_days(self._connection, days, now)
            except duckdb.Error as error:
                raise engine.write_failure(self.path, error) from error

    def query(self, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0) -> Answer:
        """Answer one SELECT, in a read-only transaction, within these limits; safe from any thread, beside a commit.

        Raises SettingsError for SQL that is no single SELECT or is wrong, LmdpError when the limits did not suffice.
        """
        cursor = self._cursor()
        alarm = threading.Timer(timeout_s, cursor.interrupt)
        alarm.daemon = True
        try:
            with self._noted(cursor):
                _one_select(cursor, sql)
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                alarm.start()
                return _bounded(cursor, sql, limit_rows)
        except duckdb.Error as error:
            if self._ending:
                raise LmdpError(f"the warehouse {self.path} was closed before the answer; ask again") from error
            raise engine.question_failure(error, timeout_s) from error
        finally:
            alarm.cancel()
            cursor.close()

    def end_questions(self) -> None:
        """End those under way: no file can be closed beside one, and a thread in DuckDB aborts the process's end."""
        with self._asked:
            self._ending = True
            for _ in range(_END_TRIES):
                for cursor in self._asking:
                    cursor.interrupt()
                if self._asked.wait_for(lambda: not self._asking, 0.1):
                    break
            self._ending = False

    @contextlib.contextmanager
    def _noted(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Let `close` know of a question while it runs."""
        with self._asked:
            self._asking.add(cursor)
        try:
            yield
        finally:
            with self._asked:
                self._asking.discard(cursor)
                self._asked.notify_all()

    def _writable(self) -> Spec:
        if self._spec is None:
            raise LmdpError(f"the warehouse {self.path} is open to read only; nothing was written")
        return self._spec

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same file; it knows the tables by their short names."""
        try:
            cursor = self._connection.cursor()
            cursor.execute(f"USE {SCHEMA}")
        except duckdb.ConnectionException as error:
            raise LmdpError(f"the warehouse {self.path} is closed") from error
        except duckdb.Error as error:
            raise engine.broken(self.path, error) from error
        return cursor

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        cursor = self._cursor()
        try:
            return cursor.execute(sql, list(values)).fetchall()
        except duckdb.Error as error:
            raise LmdpError(f"the warehouse {self.path} could not be read: {error}") from error
        finally:
            cursor.close()

    def _insert(self, table: str, columns: pa.Table) -> None:
        if not columns.num_rows:
            return
        names = ", ".join(f'"{name}"' for name in columns.column_names)
        self._connection.register("incoming", columns)
        try:
            self._connection.execute(
                f"INSERT INTO {table} ({names}) SELECT {names} FROM incoming"  # noqa: S608 - our own names
            )
        finally:
            self._connection.unregister("incoming")

    def _note(self, ranges: Sequence[OffsetRange], at: datetime) -> None:
        for part in ranges:
            key = [part.cluster, part.topic_id, part.topic, part.partition]
            self._connection.execute("INSERT OR REPLACE INTO OFFSETS VALUES (?, ?, ?, ?, ?)", [*key, part.next])
            self._connection.execute(
                "INSERT INTO LOADS VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [*key, part.first, part.next, part.rows, part.rejects, at],
            )


def _one_select(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    parsed = cursor.extract_statements(sql)
    if len(parsed) != 1 or parsed[0].type != duckdb.StatementType.SELECT:
        raise SettingsError("a question is one SELECT statement; nothing was run")


def _bounded(cursor: duckdb.DuckDBPyConnection, sql: str, limit_rows: int) -> Answer:
    """Read no more than `limit_rows`, as a stream, so that a large answer is never held whole."""
    reader = cursor.sql(sql).to_arrow_reader(_BATCH_ROWS)
    batches = list(_until(reader, limit_rows))
    table = pa.Table.from_batches(batches, schema=reader.schema)
    return Answer(table.slice(0, limit_rows), truncated=table.num_rows > limit_rows)


def _until(batches: pa.RecordBatchReader, limit_rows: int) -> Iterator[pa.RecordBatch]:
    """Batches until they hold more rows than the limit."""
    seen = 0
    for batch in batches:
        yield batch
        seen += batch.num_rows
        if seen > limit_rows:
            return


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
