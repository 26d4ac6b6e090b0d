"""Queries of an open warehouse file: each on a cursor of its own, alongside the writer."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from lmdp.errors import LmdpError
from lmdp.machine.warehouse import connection
from lmdp.machine.warehouse.connection import DATABASE, SCHEMA
from lmdp.machine.warehouse.sql_guard import check_query, guards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from lmdp.machine.warehouse.connection import EngineLimits

_BATCH_ROWS = 2048
_PAUSE_S = 5.0
_END_TRIES = 50  # of 0.1 s; an interrupt that comes before the query begins is lost


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query, at most as many as allowed, and whether there were more."""

    table: pa.Table
    truncated: bool


def log_bytes(path: Path) -> int:
    """Return the bytes of the log of a file: what was committed and is not in the file yet."""
    with contextlib.suppress(FileNotFoundError):
        return path.with_name(f"{path.name}.wal").stat().st_size
    return 0


class Reader:
    """Cursors on the file at `path`; safe from any thread.

    `connected` returns the writer's connection, `reopen` opens a file again that a failure has shut, and `limits`
    returns the engine's. Without queries DuckDB folds the log in at 16 MB; with them it may have `log_bytes` before
    the next one waits.
    """

    def __init__(
        self,
        path: Path,
        connected: Callable[[], duckdb.DuckDBPyConnection],
        reopen: Callable[[], None],
        limits: Callable[[], EngineLimits],
    ) -> None:
        self._path = path
        self._connected = connected
        self._reopen = reopen
        self._limits = limits
        self._longest_log = limits().log_bytes
        self._hungry = 0
        self._open: set[duckdb.DuckDBPyConnection] = set()
        self._stuck: set[duckdb.DuckDBPyConnection] = set()  # of them, those that no interrupt ends
        self._changed = threading.Condition()
        self.is_closing = False

    def query(self, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0) -> Answer:
        """Answer one SELECT, in a read-only transaction, within these limits; safe from any thread.

        Raises SettingsError for SQL that is no single SELECT or is wrong, LmdpError when the limits did not suffice.
        """
        with self.answering(sql, timeout_s=timeout_s) as (columns, batches):
            table = pa.Table.from_batches(list(_until(batches, limit_rows)), schema=columns)
        return Answer(table.slice(0, limit_rows), truncated=table.num_rows > limit_rows)

    @contextlib.contextmanager
    def answering(
        self, sql: str, *, timeout_s: float, left: threading.Event | None = None
    ) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Query like `query`, a batch of rows after the other, for an answer that is not to be held whole.

        The query is interrupted when `left` is set, because nobody waits for it any more.
        """
        with self.more_memory(), self.cursor(timeout_s) as cursor:
            done, ends = threading.Event(), left or threading.Event()
            watch = threading.Thread(target=self._end_in_time, args=(cursor, done, ends, timeout_s), daemon=True)
            try:
                check_query(cursor, sql)
                for macro in guards(sql):
                    cursor.execute(macro)
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                watch.start()
                relation = cursor.sql(sql)
                reader = relation.to_arrow_reader(_BATCH_ROWS)
                yield _typed(reader.schema, map(str, relation.types)), _batches(reader)
            except duckdb.Error as error:
                raise connection.query_failure(self._path, error, timeout_s) from error
            finally:
                done.set()
                ends.set()

    @contextlib.contextmanager
    def more_memory(self) -> Iterator[None]:
        """Let the engine use more memory until the last of these blocks ends."""
        with self._changed:
            self._hungry += 1
            self._limit_memory(self._limits().query_memory)
        try:
            yield
        finally:
            with self._changed:
                self._hungry -= 1
                if not self._hungry:
                    self._limit_memory(self._limits().memory)

    def _limit_memory(self, memory: str) -> None:
        # It fails for a closed file, and where more is in use than that: the next block's end tries again.
        with contextlib.suppress(duckdb.Error), self._connected().cursor() as cursor:
            connection.limit_memory(cursor, memory)

    def _end_in_time(
        self, cursor: duckdb.DuckDBPyConnection, done: threading.Event, ends: threading.Event, seconds: float
    ) -> None:
        """Interrupt a query after its time; one that does not end by that is not waited for when the file is closed."""
        ends.wait(seconds)
        for _ in range(_END_TRIES):
            if done.is_set():
                return
            with contextlib.suppress(duckdb.ConnectionException):
                cursor.interrupt()
            done.wait(0.1)
        with self._changed:
            self._stuck.add(cursor)
            self._changed.notify_all()

    def end_queries(self) -> None:
        """End those under way: a thread in DuckDB aborts the process's end."""
        with self.closed():
            pass

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """End the queries under way, and let none begin in the block: no file can be closed alongside one."""
        with self._changed:
            self.is_closing = True
            for _ in range(_END_TRIES):
                for cursor in self._open:
                    with contextlib.suppress(duckdb.ConnectionException):  # it has just ended by itself
                        cursor.interrupt()
                if self._changed.wait_for(lambda: self._open <= self._stuck, 0.1):
                    break
        try:
            yield
        finally:
            with self._changed:
                self.is_closing = False
                self._changed.notify_all()

    @contextlib.contextmanager
    def cursor(self, seconds: float = _PAUSE_S) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a connection of its own to the same file; it knows the tables by their short names."""
        try:
            cursor = self._begun(min(seconds, _PAUSE_S))
        except duckdb.ConnectionException as error:
            raise LmdpError(f"the warehouse {self._path} is closed") from error
        except duckdb.Error as error:
            self._reopen()
            raise connection.broken(self._path, error) from error
        try:
            yield cursor
        except LmdpError as error:
            if self.is_closing:
                raise LmdpError(
                    f"the warehouse {self._path} was closed before the answer; run the query again"
                ) from error
            raise
        finally:
            with contextlib.suppress(duckdb.Error):
                cursor.rollback()
            cursor.close()
            with self._changed:
                self._open.discard(cursor)
                self._stuck.discard(cursor)
                self._changed.notify_all()

    def _begun(self, seconds: float) -> duckdb.DuckDBPyConnection:
        """Return a cursor that is noted as open, once a closing of the file and the log's pause are over.

        DuckDB folds the log in only while nobody reads, so queries that never cease would let it grow for ever: when it
        is long, the next one waits for the others to end. A query that lasts longer is not waited for again until the
        log has doubled.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not (self.is_closing or (self._open - self._stuck and self._is_log_long())), seconds
            )
            cursor = self._connected().cursor()
            cursor.execute(f"USE {SCHEMA}")
            if self._is_log_long():
                if not self._open:
                    with contextlib.suppress(duckdb.Error):  # a commit is under way, and folds it in itself
                        cursor.execute(f"CHECKPOINT {DATABASE}")
                self._longest_log = max(self._limits().log_bytes, 2 * log_bytes(self._path))
            self._open.add(cursor)
            return cursor

    def _is_log_long(self) -> bool:
        return log_bytes(self._path) > self._longest_log

    def read(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of our own SQL. Raises LmdpError."""
        with self.reading() as cursor:
            return cursor.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a cursor for our own SQL, which counts millions of lines as well. Raises LmdpError."""
        with self.more_memory(), self.cursor() as cursor:
            try:
                yield cursor
            except duckdb.Error as error:
                raise LmdpError(f"the warehouse {self._path} could not be read: {error}") from error


def _batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Yield what `reader` gives; what ends it early is DuckDB's error again, which Arrow passes on as text alone."""
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:
        text = str(error)
        kinds = {"INTERRUPT": duckdb.InterruptException, "Out of Memory": duckdb.OutOfMemoryException}
        raise next((kind for sign, kind in kinds.items() if text.startswith(sign)), duckdb.Error)(text) from error


def _until(batches: Iterator[pa.RecordBatch], limit_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches until they hold more rows than the limit."""
    seen = 0
    for batch in batches:
        yield batch
        seen += batch.num_rows
        if seen > limit_rows:
            return


def _typed(columns: pa.Schema, types: Iterable[str]) -> pa.Schema:
    """Return the columns with SQL's type of each: JSON is text in Arrow, and a large integer a decimal."""
    return pa.schema(
        [field.with_metadata({"type": kind}) for field, kind in zip(columns, types, strict=True)], columns.metadata
    )
