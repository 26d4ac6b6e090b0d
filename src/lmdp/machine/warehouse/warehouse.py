"""One machine's warehouse: a DuckDB file with one writer, and queries alongside it.

Rows, rejects and offsets are written in one transaction, so that a restart continues where the last one ended, and
nothing is there twice. `LOADS` has a line for each partition and transaction, which makes that checkable.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import duckdb

from lmdp.errors import LmdpError
from lmdp.machine.warehouse import connection, schema
from lmdp.machine.warehouse.connection import DATABASE, SCHEMA, EngineLimits
from lmdp.machine.warehouse.file_identity import DatabaseSize, FileIdentity
from lmdp.machine.warehouse.reader import Reader, log_bytes
from lmdp.machine.warehouse.retention import Removed, Step, steps
from lmdp.machine.warehouse.totals import RunningTotals, Totals
from lmdp.machine.warehouse.writer import insert, is_there

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from lmdp.core.specification import Spec
    from lmdp.machine.sink import Load

    Also = Callable[[duckdb.DuckDBPyConnection], Counter[str]]

_REMOVAL_BYTES = 1_000_000
_END_TRIES = 50  # of 0.1 s; an interrupt that comes before the query begins is lost

_BELIEVED = f"""
SELECT total_blocks, block_size, wal_size <> '0 bytes' FROM pragma_database_size() WHERE database_name = '{DATABASE}'
"""  # noqa: S608 - our own name


@dataclass(slots=True)
class _Write:
    """Notes of a transaction: bytes that it wrote, those of the rows' columns, and what it adds to the totals."""

    bytes: list[int] = field(default_factory=list)
    size: int = 0
    added: Totals = field(default_factory=Totals)


class Warehouse:
    """An open warehouse file. Writing calls wait for each other; queries run alongside, on cursors of their own."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        path: Path,
        spec: Spec | None,
        limits: EngineLimits,
        keep_days: int | None = None,
    ) -> None:
        self.path = path
        self.keep_days = keep_days
        self.reopened = 0
        """Number of times that a failure had shut the file."""
        self._connection = connection
        self._spec = spec
        self._limits = limits
        self._shut = False
        self._in_doubt: dict[int, datetime] = {}  # the number of a load that failed, and the time of its first attempt
        self._short = 0  # writes in a row that lacked memory
        self._lock = threading.Lock()
        self._removing: duckdb.DuckDBPyConnection | None = None
        self._removed = threading.Condition()
        self._bytes_at_open = self.file_bytes()
        self._reader = Reader(path, lambda: self._connection, self._reopen_if_shut, lambda: self._limits)
        self.query, self.answering, self.end_queries = (
            self._reader.query,
            self._reader.answering,
            self._reader.end_queries,
        )
        self.tally = RunningTotals(self._reader.reading, self._locked_unless_closing, keep_days)
        self._identity = FileIdentity(path, self._database_size) if spec else None

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
        limits: EngineLimits | None = None,
        keep_days: int | None = None,
    ) -> Warehouse:
        """Open the file, made or migrated where need be; `read_only` changes nothing, and works while nobody writes.

        `keep_days` is how long rows are kept, for the count of those that have expired; None keeps all.
        Raises UnreachableError when another process has it (or, to read, when there is none), SettingsError when it
        cannot be a warehouse: no folder, no DuckDB file, newer than this program, or other columns than the
        specification's.
        """
        limits = limits or EngineLimits()
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
    def _connected(path: Path, spec: Spec, limits: EngineLimits, *, read_only: bool) -> duckdb.DuckDBPyConnection:
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
        """End the queries under way, and close the file; the log is folded in. Safe to call twice."""
        with self._lock, self._reader.closed():
            self._close()

    def commit(self, load: Load, also: Also | None = None, then: Callable[[int], None] = lambda _: None) -> int:
        """Write all of `load` in one transaction, or nothing of it; returns the bytes of the rows' columns.

        `also` writes what belongs to it, in the same transaction and before it, and returns the rejects that it
        removed, by code. `then` gets the bytes in the moment in which the totals take up the load. Raises LmdpError
        when it could not be written (DiskFullError for a full disk), or seems so: the same load again is written
        only if it is not there; WarehouseReplacedError when the file is no longer at its path.
        """
        spec = self._writable()
        with self._writing(then) as write:
            since = self._in_doubt.get(load.number)
            self._in_doubt[load.number] = load.at if since is None else min(since, load.at)
            if since is not None and is_there(self._connection, load, since):
                write.size, write.added = load.size, Totals(is_exact=False)
            else:
                gone = also(self._connection) if also is not None else Counter[str]()
                write.size, write.added = insert(self._connection, load, spec, write.bytes, self.tally.limits())
                write.added.rejects.subtract(gone)
        self._in_doubt.pop(load.number, None)
        return write.size

    def durable(self, taken: Mapping[int, int]) -> Mapping[int, int]:
        """Return `taken`: what was committed is durable."""
        return taken

    def offsets(self, cluster: str, topic_id: str, topic: str, _partitions: Collection[int] = ()) -> dict[int, int]:
        """Return the next offset to read, by partition; a partition that is not in it was never read."""
        found = self._reader.read(
            "SELECT PARTITION, NEXT_OFFSET FROM OFFSETS WHERE CLUSTER = ? AND TOPIC_ID = ? AND TOPIC = ?",
            [cluster, topic_id, topic],
        )
        return {int(partition): int(offset) for partition, offset in found}

    def release(self, partitions: Collection[int] | None) -> None:
        """Do nothing: no other process writes to this file."""

    def epochs(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """Return the leader epoch of the last message that was read, by partition; -1 where it is not known."""
        found = self._reader.read(
            "SELECT PARTITION, LEADER_EPOCH FROM OFFSETS WHERE CLUSTER = ? AND TOPIC_ID = ? AND TOPIC = ?",
            [cluster, topic_id, topic],
        )
        return {int(partition): int(epoch) for partition, epoch in found}

    def has_other_offsets(self, topic: str) -> bool:
        """Return whether a topic of this name was read into this file, whatever its cluster and id."""
        ((found,),) = self._reader.read("SELECT count(*) FROM OFFSETS WHERE TOPIC = ?", [topic])
        return bool(found)

    def duplicates(self) -> int:
        """Return the rows that are there more than once, counted by SQL; 0 is right."""
        return self.tally.count().duplicates

    def file_bytes(self) -> int:
        """Return the bytes on disk: the file and its log."""
        return (self.path.stat().st_size if self.path.exists() else 0) + log_bytes(self.path)

    def check_file(self) -> None:
        """Compare the open file with the one at its path. Raises WarehouseReplacedError."""
        if self._identity is not None:
            self._identity.check_file()

    def grown_bytes(self) -> int:
        """Return how much the file has grown since it was opened; negative when it shrank."""
        return self.file_bytes() - self._bytes_at_open

    def removals(self, days: int | None, now: datetime) -> Iterator[Removed]:
        """Remove rows (by their own time) and rejects (by arrival) older than `days` whole UTC days; None keeps all.

        Each step is a transaction of bounded size, and rows are written meanwhile. Between two steps the caller may
        stop; the next call resumes. A row that arrives older than that stays until then. Not to be called twice at a
        time. Raises SettingsError for less than a day.
        """
        self._writable()
        for step in steps(self._reader.read, days, now):
            yield self._beside(step)

    def _beside(self, step: Step) -> Removed:
        """Run a transaction of its own alongside the loads, which wait for its commit alone."""
        assert self._identity is not None
        try:
            with self._reader.more_memory(), self._reader.cursor() as cursor, self._removing_on(cursor):
                cursor.begin()
                removed = step(cursor)
                with self._locked_unless_closing():
                    self._identity.check_sizes()
                    cursor.commit()
                    self._identity.check()
                    self._identity.note()
                    is_exact = not (removed.rows or removed.rejects)
                    self.tally.note(Totals(rows=-removed.rows, removed=removed.rows, is_exact=is_exact))
        except duckdb.Error as error:
            with self._lock:
                self._failed(error)
                self._identity.note()
            raise connection.write_failure(self.path, error, _REMOVAL_BYTES) from error
        return removed

    @contextlib.contextmanager
    def _removing_on(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        with self._removed:
            self._removing = cursor
        try:
            yield
        finally:
            with self._removed:
                self._removing = None
                self._removed.notify_all()

    def end_removal(self) -> None:
        """Interrupt the step of a removal that is under way; nothing of it is written then."""
        with self._removed:
            for _ in range(_END_TRIES):
                if self._removing is not None:
                    self._removing.interrupt()
                if self._removed.wait_for(lambda: self._removing is None, 0.1):
                    return

    @contextlib.contextmanager
    def _locked_unless_closing(self) -> Iterator[None]:
        """Take the writing calls' lock while a cursor is open, which a call that closes the file waits for.

        Raises LmdpError once the file is being closed.
        """
        while not self._lock.acquire(timeout=0.1):
            if self._reader.is_closing:
                raise LmdpError(f"the warehouse {self.path} is being closed")
        try:
            yield
        finally:
            self._lock.release()

    def _writable(self) -> Spec:
        if self._spec is None:
            raise LmdpError(f"the warehouse {self.path} is open to read only; nothing was written")
        return self._spec

    @contextlib.contextmanager
    def _writing(self, then: Callable[[int], None]) -> Iterator[_Write]:
        """Open a transaction with its notes; a file that its failure shuts is opened again at once.

        What this returns from is in the file at the path: offsets may be acknowledged then. Raises
        WarehouseReplacedError.
        """
        assert self._identity is not None
        with self._lock:
            self._identity.check_file()
            self._reopen()
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

    def _database_size(self) -> DatabaseSize:
        found = self._connection.execute(_BELIEVED).fetchone()
        assert found is not None
        return DatabaseSize(int(found[0]), int(found[1]), bool(found[2]))

    def _failed(self, error: duckdb.Error) -> None:
        """Open the file again where that is needed to continue: it was shut, or lacked memory twice in a row."""
        self._short = self._short + 1 if connection.lacks_memory(error) else 0
        self._shut = connection.is_shut(self._connection)
        if self._short > 1 and (more := self._limits.more()):
            self._limits, self._shut = more, True
        with contextlib.suppress(LmdpError):  # the next write tries again
            self._reopen()

    def _reopen(self) -> None:
        """Open a file again that a failure has shut: a checkpoint on a full disk does that to it."""
        if not self._shut:
            return
        with self._reader.closed():
            self._close()
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

    def _close(self) -> None:
        """Close the file; DuckDB checkpoints then, and should that fail, the log has everything.

        A query that is still being planned cannot be ended: it keeps the file until it ends, and nobody opens it.
        """
        with contextlib.suppress(duckdb.ResourceInUseException):
            self._connection.close()

    def _reopen_if_shut(self) -> None:
        """Open the file again after a checkpoint outside of a write has failed; a query finds that."""
        with self._lock, contextlib.suppress(LmdpError):
            self._shut = self._spec is not None and connection.is_shut(self._connection)
            self._reopen()
