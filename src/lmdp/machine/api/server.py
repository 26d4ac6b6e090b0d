"""Server of the run's API: HTTP on a Unix socket next to the warehouse, for this user alone.

    GET  /status   the run and the warehouse: a JSON object
    GET  /snapshot {"status", "live"}: the same, and the figures that change every second, all of one moment
    POST /query    {"sql", "limitRows", "timeoutSeconds"} → rows as an Arrow IPC stream, its buffers in LZ4;
                   `X-Truncated: true` when rows were left out
    POST /replay   one object, or one page of the warehouse's rejects, replayed in one transaction, for `lmdp replay`;
                   409 when the rejects are others by now

An error is `{"error", "exitCode"}`. Try it: curl --unix-socket .lmdp/run.sock http://lmdp/status
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import pyarrow as pa

from lmdp.errors import AlreadyReplayedError, LmdpError, RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api.connections import LIMITS, Connection, ConnectionServer, Limits
from lmdp.machine.api.protocol import ALREADY_REPLAYED, LARGEST_REPLAY, WRONG_WAREHOUSE, Query, socket_path
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.disk_space import free_bytes
from lmdp.support.program import program

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
MAX_ANSWER = 512 * 2**20  # bytes, compressed, in a file without a name
_MAX_ANSWER_IN_MEMORY = 16 * 2**20  # while the disk is full
_MAX_ABANDONED = 2  # each keeps a processor busy
_GRACE_S = 3.0  # for an interrupted query to end
_MAX_QUERY = 1_000_000  # bytes of a request's body
_BODY_S = 120.0  # for a request's body to arrive
_REPLAY_S = 120.0  # how long one replay waits for another's transaction
_STOP_S = 2.0


Replay = Callable[[Warehouse, bytes], Sequence[bytes]]
"""Take one step of a replay in the warehouse, given the request's body, and return the parts of the answer's.

Raises RunNotFoundError where it is for another warehouse, AlreadyReplayedError where the rejects are others by now.
"""


@dataclass(frozen=True, slots=True)
class Context:
    """The open warehouse, the run's status, and the slots that limit how many requests use them at once.

    Without a warehouse, `at` names where the rows go.
    """

    warehouse: Warehouse | None
    status: Callable[[], dict[str, Any]]
    snapshot: Callable[[], dict[str, Any]]
    queries: threading.Semaphore
    abandoned: set[_Job] = field(default_factory=set)
    """Queries that cannot be interrupted, and whose clients were answered so."""
    replays: threading.Semaphore = field(default_factory=threading.Semaphore)
    replay: Replay | None = None
    at: str = ""

    def opened(self) -> Warehouse:
        """Return the warehouse. Raises SettingsError for a run that has none."""
        if self.warehouse is None:
            raise SettingsError(f"this run writes to {self.at}, and has no warehouse here. Query it there.")
        return self.warehouse

    def spool(self) -> IO[bytes]:
        """Return a file without a name next to the warehouse, for an answer that may not fit into memory.

        On a full disk it is in memory, so that small answers still arrive.
        """
        folder = self.opened().path.absolute().parent
        return tempfile.TemporaryFile(dir=folder) if free_bytes(folder) >= MAX_ANSWER else io.BytesIO()


@dataclass(frozen=True, slots=True)
class Request:
    """A request: the length of its body, and the stream from which that is read when it is needed."""

    length: int | None
    stream: BufferedIOBase
    connection: Connection

    def body(self, most: int) -> bytes:
        """Return the body. Raises SettingsError when incomplete, of unknown length, or longer than `most`."""
        if self.length is None or self.length > most:
            raise SettingsError(f"the request needs a Content-Length of at most {most:,} bytes")
        body = self.stream.read(self.length)
        if left := self.length - len(body):
            raise SettingsError(f"the request's body is {left:,} bytes short. Nothing was changed.")
        self.connection.mark_received()
        return body


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: bytes, or a file that is sent from its start and then closed."""

    kind: str
    body: bytes | IO[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    code: int = 200


def _status(context: Context, _request: Request) -> Response:
    return Response(JSON, msgspec.json.encode(context.status()))


def _snapshot(context: Context, _request: Request) -> Response:
    return Response(JSON, msgspec.json.encode(context.snapshot()))


def _query(context: Context, request: Request) -> Response:
    try:
        query = msgspec.json.decode(request.body(_MAX_QUERY), type=Query)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"a query is {{sql, limitRows, timeoutSeconds}}: {error}") from error
    if not _has_open(context, query.warehouse):
        return _wrong_warehouse(context)
    begun = time.monotonic()
    with _slot(context.queries, query.timeout_seconds, "other queries are running, and none ended"):
        left = max(round(query.timeout_seconds - (time.monotonic() - begun), 1), 0.1)
        job = _Job(context, query, left)
        if not job.wait(left + _GRACE_S):
            raise LmdpError(
                f"no answer within {query.timeout_seconds:g} s, and DuckDB cannot interrupt what the query "
                "computes. It keeps running with low priority until it or the run ends. Ingestion continues."
            )
    return Response(ARROW, job.answer, {"X-Truncated": str(job.truncated).lower()})


class _Job:
    """A query in a thread of its own, so that one that cannot be interrupted blocks no slot and no connection."""

    def __init__(self, context: Context, query: Query, seconds: float) -> None:
        if len(context.abandoned) >= _MAX_ABANDONED:
            raise UnreachableError(
                f"{len(context.abandoned)} queries that cannot be interrupted still run. Wait until they end, or "
                "restart the run: no data is lost."
            )
        self.answer = context.spool()
        self.truncated = False
        self._context = context
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._has_ended = False
        self._thread = threading.Thread(target=self._work, args=(query, seconds), name="query", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the answer; False when the query was abandoned. Raises the query's error."""
        self._thread.join(seconds)
        with self._lock:
            if not self._has_ended:
                self._context.abandoned.add(self)
                if sys.platform == "linux" and self._thread.native_id:  # elsewhere threads have no own priority
                    os.setpriority(os.PRIO_PROCESS, self._thread.native_id, 19)
                return False
        error, self._error = self._error, None  # the traceback would keep this object, and what it has open
        if error is not None:
            self.answer.close()
            raise error
        return True

    def _work(self, query: Query, seconds: float) -> None:
        try:
            self.truncated = _write_answer(self._context.opened(), query, seconds, self.answer)
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is waited for
            self._error = error
        finally:
            with self._lock:
                self._has_ended = True
                if self in self._context.abandoned:
                    self._context.abandoned.discard(self)
                    self.answer.close()


def _write_answer(warehouse: Warehouse, query: Query, seconds: float, file: IO[bytes]) -> bool:
    """Write the answer as an Arrow stream; True when it had more rows than the limit."""
    left, packed = query.limit_rows, pa.ipc.IpcWriteOptions(compression="lz4")
    most = _MAX_ANSWER_IN_MEMORY if isinstance(file, io.BytesIO) else MAX_ANSWER
    with (
        warehouse.answering(query.sql, timeout_s=seconds) as (columns, batches),
        pa.ipc.new_stream(file, columns, options=packed) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.slice(0, left))
            if batch.num_rows > left:
                return True
            left -= batch.num_rows
            if file.tell() > most:
                why = "" if most == MAX_ANSWER else " and the disk is full"
                raise LmdpError(f"the answer is larger than {most // 2**20} MiB{why}; select fewer rows or columns")
    return False


def _replay(context: Context, request: Request) -> Response:
    if context.replay is None:
        raise SettingsError("this run accepts no replay. Nothing was changed.")
    with _slot(context.replays, _REPLAY_S, "another replay is writing, and did not end"):
        try:
            parts = context.replay(context.opened(), request.body(2 * LARGEST_REPLAY))
        except RunNotFoundError:
            return _wrong_warehouse(context)
    return Response("application/octet-stream", b"".join(parts))


Route = Callable[[Context, Request], Response]

ROUTES: Final[Mapping[tuple[str, str], Route]] = {
    ("GET", "/status"): _status,
    ("GET", "/snapshot"): _snapshot,
    ("POST", "/query"): _query,
    ("POST", "/replay"): _replay,
}


def _has_open(context: Context, warehouse: str | None) -> bool:
    return warehouse is None or (context.warehouse is not None and warehouse == str(context.warehouse.path.resolve()))


def _wrong_warehouse(context: Context) -> Response:
    path = context.warehouse.path if context.warehouse else context.at
    return _error(SettingsError(f"this run has {path} open"), WRONG_WAREHOUSE)


@contextlib.contextmanager
def _slot(slots: threading.Semaphore, seconds: float, why_not: str) -> Iterator[None]:
    if not slots.acquire(timeout=seconds):
        raise UnreachableError(f"{why_not} within {seconds:g} s. Nothing was changed. Try again later.")
    try:
        yield
    finally:
        slots.release()


def _error(error: LmdpError, code: int = 400) -> Response:
    return Response(JSON, msgspec.json.encode({"error": str(error), "exitCode": error.exit_code}), {}, code)


@contextlib.contextmanager
def serving(
    home: Path,
    warehouse: Warehouse | None,
    status: Callable[[], dict[str, Any]],
    snapshot: Callable[[], dict[str, Any]] = dict,
    replay: Replay | None = None,
    limits: Limits = LIMITS,
    at: str = "",
) -> Iterator[Path]:
    """Serve the API in the background until the end of the block; yield the socket's path.

    A socket that a killed run left behind is replaced. Raises UnreachableError when a run still answers there.
    """
    path = socket_path(home)
    if _answers(path):
        raise UnreachableError(
            f"another run answers on {path}, so this one did not start. Stop that one first "
            f"(`{program()} status` shows it), or give this one another folder with --home."
        )
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        server = _Server(str(path), _Handler, limits)
    except OSError as error:
        raise UnreachableError(f"cannot listen on {path}: {error.strerror}. Is the folder writable?") from error
    finally:
        os.umask(before)
    server.context = Context(warehouse, status, snapshot, threading.Semaphore(limits.queries), replay=replay, at=at)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="answers", daemon=True)
    thread.start()
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
        if warehouse is not None:
            warehouse.end_queries()
        server.wait(_STOP_S)
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno == errno.EAGAIN  # a program listens there, and its queue is full
    return True


class _Server(ConnectionServer):
    context: Context


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def setup(self) -> None:
        """Find the connection's deadline."""
        self.bounded = self.server.connections[self.request]
        super().setup()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path, _, _ = self.path.partition("?")
        route = ROUTES.get((self.command, path))
        length = self.headers.get("Content-Length", "")
        body = int(length) if length.isdecimal() and len(length) < 20 else None
        self.bounded.allow(_BODY_S)
        if not body:
            self.bounded.mark_received()
        self._send(self._respond(route, Request(body, self.rfile, self.bounded)))

    def _respond(self, route: Route | None, request: Request) -> Response:
        if route is None:
            return _error(SettingsError(f"unknown path; known are {', '.join(map(' '.join, ROUTES))}"), 404)
        try:
            return route(self.server.context, request)
        except AlreadyReplayedError as error:
            return _error(error, ALREADY_REPLAYED)
        except LmdpError as error:
            return _error(error)
        except OSError as error:  # a full disk, for example
            return _error(LmdpError(f"the request failed: {error}. Nothing was changed."), 500)

    def _send(self, response: Response) -> None:
        self.bounded.allow(self.server.limits.read_seconds)
        with contextlib.closing(
            io.BytesIO(response.body) if isinstance(response.body, bytes) else response.body
        ) as body:
            size = body.seek(0, os.SEEK_END)
            body.seek(0)
            self.send_response(response.code)
            self.send_header("Content-Type", response.kind)
            self.send_header("Content-Length", str(size))
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.connection.sendfile(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        """Log nothing: queries can hold names."""
