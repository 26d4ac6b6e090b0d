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

from lmdp.errors import LmdpError
from lmdp.local import engine, schema
from lmdp.local.engine import DATABASE, SCHEMA, Limits
from lmdp.local.load import Load, OffsetRange, insert, is_there
from lmdp.local.question import check_question
from lmdp.local.retention import Removed, remove_days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from lmdp.spec_loader import Spec

__all__ = ["Answer", "Load", "OffsetRange", "Warehouse", "WarehouseCounts"]

_BATCH_ROWS = 2048
_REMOVAL_BYTES = 1_000_000
_LONGEST_LOG = 64 * 2**20  # bytes; without questions DuckDB folds it in at 16 MB
_PAUSE_S = 5.0
_END_TRIES = 50  # of 0.1 s; an interrupt that comes before the query begins is lost

_OVERLAPS = """
SELECT coalesce(sum(ROWS), 0) FROM (
  SELECT ROWS, FIRST_OFFSET < max(NEXT_OFFSET) OVER (
    PARTITION BY CLUSTER, TOPIC_ID, TOPIC, PARTITION, LEADER_EPOCH ORDER BY FIRST_OFFSET, NEXT_OFFSET
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) AS AGAIN
  FROM LOADS
  WHERE FIRST_OFFSET < NEXT_OFFSET
) WHERE AGAIN
"""


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

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, spec: Spec | None, limits: Limits) -> None:
        self.path = path
        self.reopened = 0
        """How often a failure had shut the file."""
        self._connection = connection
        self._spec = spec
        self._limits = limits
        self._shut = False
        self._in_doubt = False  # a write has failed, and others' success says nothing of what it left in the file
        self._short = 0  # writes in a row that lacked memory
        self._turn = threading.Lock()
        self._asking: set[duckdb.DuckDBPyConnection] = set()
        self._asked = threading.Condition()
        self._longest_log = _LONGEST_LOG
        self._ending = False
        self._bytes_at_open = self.file_bytes()

    @classmethod
    def open(cls, path: Path, spec: Spec, *, read_only: bool = False, limits: Limits | None = None) -> Warehouse:
        """Open the file, made or migrated where need be; `read_only` changes nothing, and works while nobody writes.

        Raises Unreachable when another process has it (or, to read, when there is none), SettingsError when it cannot
        be a warehouse: no folder, no DuckDB file, newer than this program, other columns than the specification's.
        """
        limits = limits or Limits()
        while True:
            try:
                connection = cls._connected(path, spec, limits, read_only=read_only)
            except LmdpError as error:
                more = limits.more() if engine.lacks_memory(error.__cause__) else None
                if more is None:
                    raise
                limits = more
            else:
                return cls(connection, path, None if read_only else spec, limits)

    @staticmethod
    def _connected(path: Path, spec: Spec, limits: Limits, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        connection = engine.attach(path, read_only=read_only, limits=limits)
        try:
            if read_only:
                schema.check(connection, path)
            else:
                schema.prepare(connection, path, spec)
        except duckdb.Error as error:
            connection.close()
            raise engine.not_prepared(path, error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the questions under way, and let go of the file; the log beside it is folded in. Safe to call twice."""
        with self._turn, self._unasked():
            self._let_go()

    def commit(self, load: Load, also: Callable[[duckdb.DuckDBPyConnection], None] | None = None) -> int:
        """Write all of `load` in one transaction, or nothing of it; returns the bytes of the rows' columns.

        `also` writes what belongs to it, in the same transaction and before it. Raises LmdpError when it could not be
        written (NoRoom for a full disk), or seems so: the same load again is written only if it is not there.
        """
        spec = self._writable()
        with self._writing() as written:
            if self._in_doubt and is_there(self._connection, load):
                return load.size
            if also is not None:
                also(self._connection)
            return insert(self._connection, load, spec, written)

    def offsets(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """The next offset to read, by partition; a partition that is not in it was never read."""
        found = self._read(
            "SELECT PARTITION, NEXT_OFFSET FROM OFFSETS WHERE CLUSTER = ? AND TOPIC_ID = ? AND TOPIC = ?",
            [cluster, topic_id, topic],
        )
        return {int(partition): int(offset) for partition, offset in found}

    def epochs(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """The leader epoch of the last message that was read, by partition; -1 where it is not known."""
        found = self._read(
            "SELECT PARTITION, LEADER_EPOCH FROM OFFSETS WHERE CLUSTER = ? AND TOPIC_ID = ? AND TOPIC = ?",
            [cluster, topic_id, topic],
        )
        return {int(partition): int(epoch) for partition, epoch in found}

    def has_other_offsets(self, topic: str) -> bool:
        """Whether a topic of this name was read into this file, whatever its cluster and id."""
        ((found,),) = self._read("SELECT count(*) FROM OFFSETS WHERE TOPIC = ?", [topic])
        return bool(found)

    def gaps(self) -> int:
        """How many messages were gone before they were read, in this file's whole life; GAPS tells which."""
        ((noted,),) = self._read("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'GAPS'")
        if not noted:  # an older file that is only read
            return 0
        ((lost,),) = self._read("SELECT coalesce(sum(NEXT_OFFSET - FIRST_OFFSET), 0) FROM GAPS")
        return int(lost)

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
        return (self.path.stat().st_size if self.path.exists() else 0) + self.log_bytes()

    def log_bytes(self) -> int:
        """Bytes of the log alone: what was committed and is not in the file yet."""
        log = self.path.with_name(self.path.name + ".wal")
        with contextlib.suppress(FileNotFoundError):
            return log.stat().st_size
        return 0

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
        with self._writing() as written:
            written.append(_REMOVAL_BYTES)
            return remove_days(self._connection, days, now)

    def query(self, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0) -> Answer:
        """Answer one SELECT, in a read-only transaction, within these limits; safe from any thread, beside a commit.

        Raises SettingsError for SQL that is no single SELECT or is wrong, LmdpError when the limits did not suffice.
        """
        with self.answering(sql, timeout_s=timeout_s) as (columns, batches):
            table = pa.Table.from_batches(list(_until(batches, limit_rows)), schema=columns)
        return Answer(table.slice(0, limit_rows), truncated=table.num_rows > limit_rows)

    @contextlib.contextmanager
    def answering(self, sql: str, *, timeout_s: float) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """As `query`, but a batch of rows after the other, for an answer that is not to be held whole."""
        with self._cursor(timeout_s) as cursor:
            alarm = threading.Timer(timeout_s, cursor.interrupt)
            alarm.daemon = True
            try:
                check_question(cursor, sql)
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                alarm.start()
                reader = cursor.sql(sql).to_arrow_reader(_BATCH_ROWS)
                yield reader.schema, _batches(reader)
            except duckdb.Error as error:
                raise engine.question_failure(self.path, error, timeout_s) from error
            finally:
                alarm.cancel()

    def end_questions(self) -> None:
        """End those under way: a thread in DuckDB aborts the process's end."""
        with self._unasked():
            pass

    @contextlib.contextmanager
    def _unasked(self) -> Iterator[None]:
        """The questions under way are ended, and none begins: no file can be closed beside one."""
        with self._asked:
            self._ending = True
            for _ in range(_END_TRIES):
                for cursor in self._asking:
                    with contextlib.suppress(duckdb.ConnectionException):  # it has just ended by itself
                        cursor.interrupt()
                if self._asked.wait_for(lambda: not self._asking, 0.1):
                    break
        try:
            yield
        finally:
            with self._asked:
                self._ending = False
                self._asked.notify_all()

    @contextlib.contextmanager
    def _cursor(self, seconds: float = _PAUSE_S) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own to the same file, in nobody's way; it knows the tables by their short names."""
        try:
            cursor = self._begun(min(seconds, _PAUSE_S))
        except duckdb.ConnectionException as error:
            raise LmdpError(f"the warehouse {self.path} is closed") from error
        except duckdb.Error as error:
            self._shut_by_another()
            raise engine.broken(self.path, error) from error
        try:
            yield cursor
        except LmdpError as error:
            if self._ending:
                raise LmdpError(f"the warehouse {self.path} was closed before the answer; ask again") from error
            raise
        finally:
            with contextlib.suppress(duckdb.Error):
                cursor.rollback()
            cursor.close()
            with self._asked:
                self._asking.discard(cursor)
                self._asked.notify_all()

    def _begun(self, seconds: float) -> duckdb.DuckDBPyConnection:
        """A cursor that is noted as asking, once a closing of the file and the log's pause are over.

        DuckDB folds the log in only while nobody reads, so questions that never cease would let it grow for ever: when
        it is long, the next one waits for the others to end. One that is longer than this waits for is let alone until
        the log has doubled.
        """
        with self._asked:
            self._asked.wait_for(lambda: not (self._ending or (self._asking and self._is_log_long())), seconds)
            cursor = self._connection.cursor()
            cursor.execute(f"USE {SCHEMA}")
            if self._is_log_long():
                if not self._asking:
                    with contextlib.suppress(duckdb.Error):  # a commit is under way, and folds it in itself
                        cursor.execute(f"CHECKPOINT {DATABASE}")
                self._longest_log = max(_LONGEST_LOG, 2 * self.log_bytes())
            self._asking.add(cursor)
            return cursor

    def _is_log_long(self) -> bool:
        return self.log_bytes() > self._longest_log

    def _writable(self) -> Spec:
        if self._spec is None:
            raise LmdpError(f"the warehouse {self.path} is open to read only; nothing was written")
        return self._spec

    @contextlib.contextmanager
    def _writing(self) -> Iterator[list[int]]:
        """A transaction, in turn, and the bytes that it notes; a file that its failure shuts is opened anew at once."""
        with self._turn:
            self._open_again()
            written: list[int] = []
            try:
                with schema.transaction(self._connection):
                    yield written
            except duckdb.Error as error:
                self._failed(error)
                raise engine.write_failure(self.path, error, sum(written)) from error
            self._short = 0

    def _failed(self, error: duckdb.Error) -> None:
        """Open the file again where that is needed to go on: it was shut, or lacked memory twice in a row."""
        self._in_doubt = True
        self._short = self._short + 1 if engine.lacks_memory(error) else 0
        self._shut = engine.is_shut(self._connection)
        if self._short > 1 and (more := self._limits.more()):
            self._limits, self._shut = more, True
        with contextlib.suppress(LmdpError):  # the next write tries again
            self._open_again()

    def _open_again(self) -> None:
        """Open a file anew that a failure has shut: a checkpoint on a full disk does that to it."""
        if not self._shut:
            return
        with self._unasked():
            self._let_go()
            try:
                self._connection = engine.attach(self.path, read_only=False, limits=self._limits)
            except LmdpError as error:
                if engine.lacks_memory(error.__cause__):
                    self._limits = self._limits.more() or self._limits
                raise
            self._connection.execute(f"USE {SCHEMA}")
        self.reopened += 1
        self._shut = False

    def _let_go(self) -> None:
        """Close the file; DuckDB checkpoints then, and should that fail, the log has everything.

        A question that is still being planned cannot be ended: it keeps the file until it ends, and nobody opens it.
        """
        with contextlib.suppress(duckdb.ResourceInUseException):
            self._connection.close()

    def _shut_by_another(self) -> None:
        """A checkpoint outside of a write has failed; the question that finds that has the file opened again."""
        with self._turn, contextlib.suppress(LmdpError):
            self._shut = self._spec is not None and engine.is_shut(self._connection)
            self._open_again()

    def _read(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            try:
                return cursor.execute(sql, list(values)).fetchall()
            except duckdb.Error as error:
                raise LmdpError(f"the warehouse {self.path} could not be read: {error}") from error


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """What `reader` gives; what ends it early is DuckDB's error again, which Arrow hands on as text alone."""
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:
        text = str(error)
        kinds = {"INTERRUPT": duckdb.InterruptException, "Out of Memory": duckdb.OutOfMemoryException}
        raise next((kind for sign, kind in kinds.items() if text.startswith(sign)), duckdb.Error)(text) from error


def _until(batches: Iterator[pa.RecordBatch], limit_rows: int) -> Iterator[pa.RecordBatch]:
    """Batches until they hold more rows than the limit."""
    seen = 0
    for batch in batches:
        yield batch
        seen += batch.num_rows
        if seen > limit_rows:
            return


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
