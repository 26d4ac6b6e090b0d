"""Routes of a run, on its Unix socket.

    GET  /status   the run and the warehouse: a JSON object
    GET  /snapshot {"status", "live"}: the same, and the figures that change every second, all of one moment
    POST /query    {"sql", "limitRows", "timeoutSeconds"} → rows as an Arrow IPC stream, its buffers in LZ4, or as JSON
                   or CSV where `Accept` has that; `X-Truncated: true` when rows were left out
    POST /replay   one object, or one page of the warehouse's rejects, replayed in one transaction, for `lmdp replay`;
                   409 when the rejects are others by now
    GET  /messages ?partition=0&before=120&limit=20: the newest messages of a partition, or those before an offset, and
                   what becomes of each datapoint: a JSON object

An error is `{"error", "exitCode", "next"}`. Try it: curl --unix-socket .lmdp/run.sock http://lmdp/status
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, Final, Generic, NamedTuple, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from lmdp.errors import ApiError, LmdpError, RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api.formats import STREAMS, Limited
from lmdp.machine.api.http import HANDLERS, json_response, number, read_body, unless_left
from lmdp.machine.api.protocol import ARROW, LARGEST_REPLAY, MAX_QUERY, WRONG_WAREHOUSE, Query
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.disk_space import free_bytes
from lmdp.support.program import program

MAX_ANSWER: Final = 512 * 2**20  # bytes, in a file without a name
_MAX_ANSWER_IN_MEMORY: Final = 16 * 2**20  # while the disk is full
_MAX_ABANDONED: Final = 2  # each keeps a processor busy
_GRACE_S: Final = 3.0  # for an interrupted query to end
_REPLAY_S: Final = 120.0  # how long one replay waits for another's transaction
_CHUNK: Final = 256 * 1024
_MESSAGES: Final = 20
_MESSAGES_S: Final = 30.0

_T = TypeVar("_T")
_Json = dict[str, Any]

Replay = Callable[[Warehouse, bytes], Sequence[bytes]]
"""Take one step of a replay in the warehouse, given the request's body, and return the parts of the answer's.

Raises RunNotFoundError where it is for another warehouse, AlreadyReplayedError where the rejects are others by now.
"""

Messages = Callable[[int, int | None, int], _Json]
"""Return the newest messages of a partition, or those before an offset, so many at most. Raises LmdpError."""


class Ends(NamedTuple):
    """The ends of the path: how messages are read, and the name of a sink that is no warehouse here."""

    messages: Messages | None = None
    sink: str = ""


NO_ENDS: Final = Ends()


@dataclass(frozen=True, slots=True)
class Context:
    """The open warehouse, the run's status, and the slots that limit how many requests use them at once."""

    warehouse: Warehouse | None
    status: Callable[[], _Json]
    snapshot: Callable[[], _Json]
    queries: asyncio.Semaphore
    replay: Replay | None = None
    ends: Ends = NO_ENDS
    replays: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    abandoned: set[_Job] = field(default_factory=set)
    """Queries that cannot be interrupted, and whose clients were answered so."""
    ending: threading.Event = field(default_factory=threading.Event)
    """Set when the run ends: no query begins any more."""

    def opened(self, wanted: str | None = None) -> Warehouse:
        """Return the warehouse. Raises SettingsError where there is none, ApiError where another is `wanted`."""
        found = self.warehouse
        if wanted is not None and (found is None or wanted != str(found.path.resolve())):
            raise self.wrong_warehouse()
        if found is None:
            raise SettingsError(f"this run writes to {self.ends.sink}, and has no warehouse here. Query it there.")
        return found

    def wrong_warehouse(self) -> ApiError:
        """Return the error by which a client knows that its warehouse is another."""
        opened = self.warehouse.path if self.warehouse else self.ends.sink
        return ApiError(WRONG_WAREHOUSE, f"this run has {opened} open", f"{program()} status")


def application(context: Context) -> Starlette:
    """Return the application of a run."""
    routes = [
        Route("/messages", partial(_messages, context), methods=["GET"]),
        Route("/status", partial(_state, context.status), methods=["GET"]),
        Route("/snapshot", partial(_state, context.snapshot), methods=["GET"]),
        Route("/query", partial(_query, context), methods=["POST"]),
        Route("/replay", partial(_replay, context), methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers=dict(HANDLERS))


class _Work(Generic[_T]):
    """A call in a thread of its own. One that does not end keeps neither the other requests nor the process."""

    def __init__(self, name: str, call: Callable[[], _T]) -> None:
        self._call = call
        self._found: tuple[_T] | None = None
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.thread = threading.Thread(target=self._go, name=name, daemon=True)
        self.thread.start()

    async def result(self) -> _T:
        """Wait for its end, and return its result or raise its error."""
        await self.ended.wait()
        error, self._error = self._error, None  # the traceback would keep this object, and what it has open
        if error is not None:
            raise error
        assert self._found is not None
        return self._found[0]

    def _go(self) -> None:
        try:
            self._found = (self._call(),)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            self._error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.ended.set)


async def _state(read: Callable[[], _Json], _request: Request) -> Response:
    return json_response(await _Work("status", read).result())


class _Answer(NamedTuple):
    file: IO[bytes]
    truncated: bool


async def _query(context: Context, request: Request) -> Response:
    query = Query.parse(await read_body(request, MAX_QUERY, f"{program()} query - < query.sql"))
    warehouse = context.opened(query.warehouse)
    accepted = request.headers.get("accept", "")
    form = next((kind for kind in STREAMS if kind in accepted), ARROW)
    job = _Job(context, warehouse, query, form)
    answering = asyncio.create_task(job.answer())
    try:
        answer = await unless_left(request, asyncio.shield(answering))
    except (ClientDisconnect, asyncio.CancelledError):
        job.left.set()
        answering.add_done_callback(_discard)
        raise
    return _send(answer, form)


def _send(answer: _Answer, form: str) -> Response:
    """Return a response that sends a file from its start, piece by piece, and then closes it."""
    file = answer.file
    size = file.seek(0, os.SEEK_END)
    file.seek(0)

    async def pieces() -> AsyncIterator[bytes]:
        with file:
            while piece := file.read(_CHUNK):
                yield piece

    headers = {"Content-Length": str(size), "X-Truncated": str(answer.truncated).lower()}
    return StreamingResponse(pieces(), media_type=form, headers=headers)


def _discard(answering: asyncio.Task[_Answer]) -> None:
    """Close an answer that nobody waits for."""
    if not answering.cancelled() and answering.exception() is None:
        answering.result().file.close()


class _Job:
    """A query that waits for its slot, and is abandoned where DuckDB cannot interrupt it."""

    def __init__(self, context: Context, warehouse: Warehouse, query: Query, form: str) -> None:
        self._context, self._warehouse, self._query, self._form = context, warehouse, query, form
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._has_ended = False
        self.left = threading.Event()
        """Set when the client has left."""

    async def answer(self) -> _Answer:
        """Return the answer. Raises LmdpError."""
        query, context = self._query, self._context
        async with _slot(context.queries, query.timeout_seconds, "other queries are running, and none ended"):
            if len(context.abandoned) >= _MAX_ABANDONED:
                raise UnreachableError(
                    f"{len(context.abandoned)} queries that cannot be interrupted still run. Wait until they end, or "
                    "restart the run: no data is lost."
                )
            if self.left.is_set() or context.ending.is_set():
                raise UnreachableError("the run ends, so it answers no more queries")
            seconds = max(round(query.timeout_seconds - (time.monotonic() - self._begun), 1), 0.1)
            file = self._spool()
            work = _Work("query", lambda: self._write(file, seconds))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds + _GRACE_S):
                    return _Answer(file, await work.result())
            if self._abandon(work.thread):
                raise LmdpError(
                    f"no answer within {query.timeout_seconds:g} s, and DuckDB cannot interrupt what the query "
                    "computes. It keeps running with low priority until it or the run ends. Ingestion continues."
                )
            return _Answer(file, await work.result())

    def _spool(self) -> IO[bytes]:
        """Return a file without a name next to the warehouse, so that an answer waits for its reader outside DuckDB.

        On a full disk it is in memory, so that small answers still arrive.
        """
        folder = self._warehouse.path.absolute().parent
        return tempfile.TemporaryFile(dir=folder) if free_bytes(folder) >= MAX_ANSWER else io.BytesIO()

    def _write(self, file: IO[bytes], seconds: float) -> bool:
        """Write the answer; True when it had more rows than the limit."""
        query, in_memory = self._query, isinstance(file, io.BytesIO)
        succeeded = False
        try:
            with self._warehouse.answering(query.sql, timeout_s=seconds, left=self.left) as (columns, batches):
                rows = Limited(batches, query.limit_rows, file.tell, _MAX_ANSWER_IN_MEMORY if in_memory else MAX_ANSWER)
                STREAMS[self._form](columns, rows, file, lambda: time.monotonic() - self._begun)
            succeeded = True
        finally:
            with self._lock:
                self._has_ended = True
                if not succeeded or self in self._context.abandoned:
                    file.close()
                self._context.abandoned.discard(self)
        return rows.truncated

    def _abandon(self, thread: threading.Thread) -> bool:
        """Leave the query to its thread; False where it has just ended."""
        with self._lock:
            if self._has_ended:
                return False
            self._context.abandoned.add(self)
        if sys.platform == "linux" and thread.native_id:  # elsewhere threads have no own priority
            with contextlib.suppress(OSError):  # it has just ended
                os.setpriority(os.PRIO_PROCESS, thread.native_id, 19)
        return True


async def _replay(context: Context, request: Request) -> Response:
    replay = context.replay
    if replay is None:
        raise SettingsError("this run accepts no replay. Nothing was changed.")
    warehouse = context.opened()
    async with _slot(context.replays, _REPLAY_S, "another replay is writing, and did not end"):
        body = await read_body(request, 2 * LARGEST_REPLAY)
        try:
            parts = await _Work("replay", lambda: replay(warehouse, body)).result()
        except RunNotFoundError as error:
            raise context.wrong_warehouse() from error
    return Response(b"".join(parts), media_type="application/octet-stream")


async def _messages(context: Context, request: Request) -> Response:
    """Read messages for one request at a time: each is a client of the broker, and takes time from the consumer."""
    read = context.ends.messages
    if read is None:
        raise SettingsError("this run shows no messages")
    given = request.query_params
    partition = number(given, "partition", 0)
    before = number(given, "before", -1)
    limit = number(given, "limit", _MESSAGES)
    async with _slot(context.readers, _MESSAGES_S, "other requests read messages, and none ended"):
        return json_response(
            await _Work("messages", lambda: read(partition, None if before < 0 else before, limit)).result()
        )


@contextlib.asynccontextmanager
async def _slot(slots: asyncio.Semaphore, seconds: float, why_not: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            await slots.acquire()
    except TimeoutError:
        raise UnreachableError(f"{why_not} within {seconds:g} s. Nothing was changed. Try again later.") from None
    try:
        yield
    finally:
        slots.release()
