"""One machine's warehouse: a DuckDB file with one writer, and questions beside it.

Rows, rejects and offsets are written in one transaction, so that a restart goes on where the last one ended and nothing
is there twice. `LOADS` has a line for each partition and transaction, which makes that checkable.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa

from lmdp.errors import LmdpError
from lmdp.machine.warehouse import connection, schema
from lmdp.machine.warehouse.connection import DATABASE, SCHEMA, Limits
from lmdp.machine.warehouse.file_identity import Believed, FileIdentity
from lmdp.machine.warehouse.retention import Removed, Step, steps
from lmdp.machine.warehouse.sql_guard import check_question, guards
from lmdp.machine.warehouse.totals import Tally, Totals, by_reason, moment_of
from lmdp.machine.warehouse.writer import insert, is_there

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from lmdp.core.specification import Spec
    from lmdp.machine.sink import Load

    Also = Callable[[duckdb.DuckDBPyConnection], Counter[str]]

_BATCH_ROWS = 2048
_REMOVAL_BYTES = 1_000_000
_LONGEST_LOG = 64 * 2**20  # bytes; without questions DuckDB folds it in at 16 MB
_PAUSE_S = 5.0
_END_TRIES = 50  # of 0.1 s; an interrupt that comes before the query begins is lost

_BELIEVED = f"""
SELECT total_blocks, block_size, wal_size <> '0 bytes' FROM pragma_database_size() WHERE database_name = '{DATABASE}'
"""  # noqa: S608 - our own name


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


@dataclass(slots=True)
class _Write:
    """Notes of a transaction: bytes that it wrote, those of the rows' columns, and what it adds to the totals."""

    bytes: list[int] = field(default_factory=list)
    size: int = 0
    added: Totals = field(default_factory=Totals)


class Warehouse:
    """An open warehouse file. Writing calls take turns; `query` runs beside them, each on a cursor of its own."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        spec: Spec | None,
        limits: Limits,
        keep_days: int | None = None,
    ) -> None:
        self.path = path
        self.keep_days = keep_days
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
        self._stuck: set[duckdb.DuckDBPyConnection] = set()  # of them, those that no interrupt ends
        self._asked = threading.Condition()
        self._longest_log = _LONGEST_LOG
        self._ending = False
        self._removing: duckdb.DuckDBPyConnection | None = None
        self._bytes_at_open = self.file_bytes()
        self.tally = Tally(self._reading, self._turn_unless_ending, keep_days)
        self._identity = FileIdentity(path, self._believed) if spec else None

    @property
    def name(self) -> str:
        """The file's whole path."""
        return str(self.path.resolve())

    @classmethod
    def open(
        cls,
        path: Path,
        spec: Spec,
        *,
        read_only: bool = False,
        limits: Limits | None = None,
        keep_days: int | None = None,
    ) -> Warehouse:
        """Open the file, made or migrated where need be; `read_only` changes nothing, and works while nobody writes.

        `keep_days` is how long rows are kept, for the count of those that have expired; None keeps all.
        Raises UnreachableError when another process has it (or, to read, when there is none), SettingsError when it
        cannot be a warehouse: no folder, no DuckDB file, newer than this program, or other columns than the
        specification's.
        """
        limits = limits or Limits()
        while True:
            try:
                opened = cls._connected(path, spec, limits, read_only=read_only)
            except LmdpError as error:
                more = limits.more() if connection.lacks_memory(error.__cause__) else None
                if more is None:
                    raise
                limits = more
            else:
                return cls(opened, path, None if read_only else spec, limits, keep_days)

    @staticmethod
    def _connected(path: Path, spec: Spec, limits: Limits, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        opened = connection.attach(path, read_only=read_only, limits=limits)
        try:
            if read_only:
                schema.check(opened, path)
            else:
                schema.prepare(opened, path, spec)
        except duckdb.Error as error:
            opened.close()
            raise connection.not_prepared(path, error) from error
        except BaseException:
            opened.close()
            raise
        return opened

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

    def commit(self, load: Load, also: Also | None = None, then: Callable[[int], None] = lambda _: None) -> int:
        """Write all of `load` in one transaction, or nothing of it; returns the bytes of the rows' columns.

        `also` writes what belongs to it, in the same transaction and before it, and returns the rejects that it
        removed, by code. `then` gets the bytes in the moment in which the totals take up the load. Raises LmdpError
        when it could not be written (DiskFullError for a full disk), or seems so: the same load again is written
        only if it is not there; WarehouseReplacedError when the file is no longer at its path.
        """
        spec = self._writable()
        with self._writing(then) as write:
            if self._in_doubt and is_there(self._connection, load):
                write.size, write.added = load.size, Totals(is_exact=False)
            else:
                gone = also(self._connection) if also is not None else Counter[str]()
                write.size, write.added = insert(self._connection, load, spec, write.bytes, self.tally.limits())
                write.added.rejects.subtract(gone)
        return write.size

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
        return self.tally.exact().gaps

    def rejects_by_reason(self) -> dict[str, int]:
        """How many rejects each error code has, the most first."""
        return by_reason(self.tally.exact())

    def duplicates(self) -> int:
        """Rows that are there more than once, counted by SQL; 0 is right."""
        return self.tally.count().duplicates

    def counts(self) -> WarehouseCounts:
        """What the file holds now."""
        totals = self.tally.exact()
        times = moment_of(totals.oldest), moment_of(totals.newest)
        return WarehouseCounts(totals.rows, totals.rejects.total(), *times, self.file_bytes())

    def file_bytes(self) -> int:
        """Bytes on disk: the file and the log beside it."""
        return (self.path.stat().st_size if self.path.exists() else 0) + self.log_bytes()

    def log_bytes(self) -> int:
        """Bytes of the log alone: what was committed and is not in the file yet."""
        log = self.path.with_name(self.path.name + ".wal")
        with contextlib.suppress(FileNotFoundError):
            return log.stat().st_size
        return 0

    def check_file(self) -> None:
        """Compare the open file with the one at its path. Raises WarehouseReplacedError."""
        if self._identity is not None:
            self._identity.check_file()

    def grown_bytes(self) -> int:
        """How much the file has grown since it was opened; negative when it shrank."""
        return self.file_bytes() - self._bytes_at_open

    def keep(self, days: int | None, now: datetime) -> Removed:
        """Remove everything that `removals` does; returns what left."""
        return sum(self.removals(days, now), Removed())

    def removals(self, days: int | None, now: datetime) -> Iterator[Removed]:
        """Remove rows (by their own time) and rejects (by arrival) older than `days` whole UTC days; None keeps all.

        Each step is a transaction of bounded size, and rows are written meanwhile. Between two steps the caller may
        stop; the next call resumes. A row that arrives older than that stays until then. Not to be called twice at a
        time. Raises SettingsError for less than a day.
        """
        self._writable()
        for step in steps(self._read, days, now):
            yield self._beside(step)

    def _beside(self, step: Step) -> Removed:
        """Run a transaction of its own beside the loads, which wait for its commit alone."""
        assert self._identity is not None
        try:
            with self._cursor() as cursor, self._removing_on(cursor):
                cursor.begin()
                removed = step(cursor)
                with self._turn_unless_ending():
                    self._identity.check_sizes()
                    cursor.commit()
                    self._identity.check()
                    self._identity.note()
                    is_exact = not (removed.rows or removed.rejects)
                    self.tally.note(Totals(rows=-removed.rows, removed=removed.rows, is_exact=is_exact))
        except duckdb.Error as error:
            with self._turn:
                self._failed(error)
                self._identity.note()
            raise connection.write_failure(self.path, error, _REMOVAL_BYTES) from error
        return removed

    @contextlib.contextmanager
    def _removing_on(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        with self._asked:
            self._removing = cursor
        try:
            yield
        finally:
            with self._asked:
                self._removing = None
                self._asked.notify_all()

    def end_removal(self) -> None:
        """Interrupt the step of a removal that is under way; nothing of it is written then."""
        with self._asked:
            for _ in range(_END_TRIES):
                if self._removing is not None:
                    self._removing.interrupt()
                if self._asked.wait_for(lambda: self._removing is None, 0.1):
                    return

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
            done = threading.Event()
            alarm = threading.Timer(timeout_s, self._end_in_time, (cursor, done))
            alarm.daemon = True
            try:
                check_question(cursor, sql)
                for macro in guards(sql):
                    cursor.execute(macro)
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                alarm.start()
                reader = cursor.sql(sql).to_arrow_reader(_BATCH_ROWS)
                yield reader.schema, _batches(reader)
            except duckdb.Error as error:
                raise connection.question_failure(self.path, error, timeout_s) from error
            finally:
                alarm.cancel()
                done.set()

    def _end_in_time(self, cursor: duckdb.DuckDBPyConnection, done: threading.Event) -> None:
        """Interrupt a query; one that does not end by that is not waited for when the file is closed."""
        for _ in range(_END_TRIES):
            with contextlib.suppress(duckdb.ConnectionException):
                cursor.interrupt()
            if done.wait(0.1):
                return
        with self._asked:
            self._stuck.add(cursor)
            self._asked.notify_all()

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
                if self._asked.wait_for(lambda: self._asking <= self._stuck, 0.1):
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
            raise connection.broken(self.path, error) from error
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
                self._stuck.discard(cursor)
                self._asked.notify_all()

    def _begun(self, seconds: float) -> duckdb.DuckDBPyConnection:
        """A cursor that is noted as asking, once a closing of the file and the log's pause are over.

        DuckDB folds the log in only while nobody reads, so questions that never cease would let it grow for ever: when
        it is long, the next one waits for the others to end. One that is longer than this waits for is let alone until
        the log has doubled.
        """
        with self._asked:
            self._asked.wait_for(
                lambda: not (self._ending or (self._asking - self._stuck and self._is_log_long())), seconds
            )
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

    @contextlib.contextmanager
    def _turn_unless_ending(self) -> Iterator[None]:
        """Take the turn of the writing calls while a cursor is open, which a call that closes the file waits for.

        Raises LmdpError once the file is being closed.
        """
        while not self._turn.acquire(timeout=0.1):
            if self._ending:
                raise LmdpError(f"the warehouse {self.path} is being closed")
        try:
            yield
        finally:
            self._turn.release()

    def _writable(self) -> Spec:
        if self._spec is None:
            raise LmdpError(f"the warehouse {self.path} is open to read only; nothing was written")
        return self._spec

    @contextlib.contextmanager
    def _writing(self, then: Callable[[int], None]) -> Iterator[_Write]:
        """A transaction, in turn, with its notes; a file that its failure shuts is opened again at once.

        What this returns from is in the file at the path: offsets may be acknowledged then. Raises
        WarehouseReplacedError.
        """
        assert self._identity is not None
        with self._turn:
            self._identity.check_file()
            self._open_again()
            write = _Write()
            try:
                self._identity.check_sizes()
                with schema.transaction(self._connection):
                    yield write
                self._identity.check()
            except duckdb.Error as error:
                self._failed(error)
                self._identity.note()
                raise connection.write_failure(self.path, error, sum(write.bytes)) from error
            self._identity.note()
            self._short = 0
            self.tally.note(write.added, lambda: then(write.size))

    def _believed(self) -> Believed:
        found = self._connection.execute(_BELIEVED).fetchone()
        assert found is not None
        return Believed(int(found[0]), int(found[1]), bool(found[2]))

    def _failed(self, error: duckdb.Error) -> None:
        """Open the file again where that is needed to go on: it was shut, or lacked memory twice in a row."""
        self._in_doubt = True
        self._short = self._short + 1 if connection.lacks_memory(error) else 0
        self._shut = connection.is_shut(self._connection)
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
                self._connection = connection.attach(self.path, read_only=False, limits=self._limits)
            except LmdpError as error:
                if connection.lacks_memory(error.__cause__):
                    self._limits = self._limits.more() or self._limits
                raise
            self._connection.execute(f"USE {SCHEMA}")
        assert self._identity is not None
        self._identity.note()  # the checkpoint at closing truncates the file below the block count in its header
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
            self._shut = self._spec is not None and connection.is_shut(self._connection)
            self._open_again()

    def _read(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
        with self._reading() as cursor:
            return cursor.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor for our own SQL. Raises LmdpError."""
        with self._cursor() as cursor:
            try:
                yield cursor
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
