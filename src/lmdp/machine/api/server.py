"""Answers while `lmdp run` has the warehouse: HTTP on a Unix socket beside it, for this user alone.

    GET  /status   what is running and where it stands: a JSON object
    GET  /snapshot {"status", "live"}: the same, and what changes from second to second, of one moment
    POST /query    {"sql", "limitRows", "timeoutSeconds"} → rows as an Arrow IPC stream, its buffers in LZ4;
                   `X-Truncated: true` when cut
    POST /replay   one transaction of `lmdp replay` → {"bytes"}; 409 when it would be the second time

A fault is answered with `{"error", "exitCode"}`. Try it: curl --unix-socket .lmdp/run.sock http://lmdp/status
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Annotated, Any, Final

import msgspec
import pyarrow as pa

from lmdp.errors import AlreadyReplayedError, LmdpError, RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api.connections import Line, LineServer
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.disk_space import free_bytes
from lmdp.support.program import program

ANOTHER_FILE = 421
CHANGED = 409
ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
MAX_ROWS = 1_000_000
MAX_SECONDS = 3_600
MAX_ANSWER = 512 * 2**20  # bytes, compressed, of a file that nobody sees
_MAX_HELD = 16 * 2**20  # of an answer, where there is no room on disk
_AT_ONCE = 4  # questions; the others wait in a line, so that rows go on coming in
_MOST_GIVEN_UP = 2  # each keeps a processor busy
_GRACE_S = 3.0  # for an interrupted query to end
_LONGEST_PATH = 100  # sun_path has 108 bytes on Linux, 104 on macOS
_MAX_QUESTION = 1_000_000
_BODY_S = 120.0  # for a body to arrive
_READ_S = 300.0  # for an answer to be read
_REPLAY_S = 120.0  # how long one replay waits for another's transaction
_STOP_S = 2.0
_CHUNK = 2**18


class Question(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A query as it is asked: one SELECT, its limits, and which file it is about (None: the one that is open)."""

    sql: str
    limit_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 10_000
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)] = 30.0
    warehouse: str | None = None


Replay = Callable[[Warehouse, IO[bytes]], int]
"""Commits the transaction of a replay in a file to the warehouse, and returns the bytes of its rows' columns.

Raises RunNotFoundError where it is for another warehouse, AlreadyReplayedError where it would be the second time.
"""

LARGEST_REPLAY: Final = 2**30
"""Bytes of one transaction of a replay."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What is asked about: the open warehouse and the pipeline's status; who asks takes turns."""

    warehouse: Warehouse
    status: Callable[[], dict[str, Any]]
    snapshot: Callable[[], dict[str, Any]] = dict
    questions: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_AT_ONCE))
    given_up: set[_Job] = field(default_factory=set)
    """Queries that run on though nobody waits for them."""
    replays: threading.Semaphore = field(default_factory=threading.Semaphore)
    replay: Replay | None = None

    def spool(self) -> IO[bytes]:
        """Make a file without a name beside the warehouse, for what is too large to be held.

        On a full disk it is in memory, so that small answers are still given.
        """
        folder = self.warehouse.path.absolute().parent
        return tempfile.TemporaryFile(dir=folder) if free_bytes(folder) >= MAX_ANSWER else io.BytesIO()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what stands behind the `?`, and its body, which is read only when it is wanted."""

    query: str
    length: int | None
    stream: BufferedIOBase
    line: Line

    def chunks(self, most: int) -> Iterator[bytes]:
        """The body in pieces. Raises SettingsError when it is not told, longer than `most` bytes, or cut."""
        if self.length is None or self.length > most:
            raise SettingsError(f"this takes a body of a known length, and of at most {most:,} bytes")
        left = self.length
        while left:
            piece = self.stream.read(min(left, _CHUNK))
            if not piece:
                raise SettingsError(f"the request ended {left:,} bytes before its end; nothing was changed")
            left -= len(piece)
            yield piece
        self.line.arrived()

    def body(self, most: int) -> bytes:
        """The whole body, as `chunks` gives it."""
        return b"".join(self.chunks(most))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: bytes, or a file that is sent from its start and then closed."""

    kind: str
    body: bytes | IO[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    code: int = 200


def _status(desk: Desk, _asked: Asked) -> Reply:
    return Reply(JSON, msgspec.json.encode(desk.status()))


def _snapshot(desk: Desk, _asked: Asked) -> Reply:
    return Reply(JSON, msgspec.json.encode(desk.snapshot()))


def _query(desk: Desk, asked: Asked) -> Reply:
    try:
        question = msgspec.json.decode(asked.body(_MAX_QUESTION), type=Question)
    except msgspec.MsgspecError as error:
        raise SettingsError(f"a question is {{sql, limitRows, timeoutSeconds}}: {error}") from error
    if not _has(desk, question.warehouse):
        return _another(desk)
    begun = time.monotonic()
    with _turn(desk.questions, question.timeout_seconds, "others are asking, and this question had no turn"):
        left = max(round(question.timeout_seconds - (time.monotonic() - begun), 1), 0.1)
        job = _Job(desk, question, left)
        if not job.done(left + _GRACE_S):
            raise LmdpError(
                f"no answer within {question.timeout_seconds:g} s, and DuckDB cannot interrupt what the query "
                "computes. It runs on with low priority until it or the run ends; rows are written, others can query."
            )
    return Reply(ARROW, job.answer, {"X-Truncated": str(job.truncated).lower()})


class _Job:
    """A query in a thread of its own, so that one that cannot be interrupted keeps no place and no connection."""

    def __init__(self, desk: Desk, question: Question, seconds: float) -> None:
        if len(desk.given_up) >= _MOST_GIVEN_UP:
            raise UnreachableError(
                f"{len(desk.given_up)} queries that cannot be interrupted are still running. Wait for their end, or "
                "restart the run: nothing is lost by that."
            )
        self.answer = desk.spool()
        self.truncated = False
        self._desk = desk
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._has_ended = False
        self._thread = threading.Thread(target=self._work, args=(question, seconds), name="query", daemon=True)
        self._thread.start()

    def done(self, seconds: float) -> bool:
        """Wait for the answer; False when the query was given up. Raises what it did."""
        self._thread.join(seconds)
        with self._lock:
            if not self._has_ended:
                self._desk.given_up.add(self)
                if sys.platform == "linux" and self._thread.native_id:  # where threads have priorities of their own
                    os.setpriority(os.PRIO_PROCESS, self._thread.native_id, 19)
                return False
        error, self._error = self._error, None  # the traceback would keep this object, and what it has open
        if error is not None:
            self.answer.close()
            raise error
        return True

    def _work(self, question: Question, seconds: float) -> None:
        try:
            self.truncated = _write_answer(self._desk.warehouse, question, seconds, self.answer)
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self._error = error
        finally:
            with self._lock:
                self._has_ended = True
                if self in self._desk.given_up:
                    self._desk.given_up.discard(self)
                    self.answer.close()


def _write_answer(warehouse: Warehouse, question: Question, seconds: float, file: IO[bytes]) -> bool:
    """Write the answer as an Arrow stream; True when there were more rows than wanted."""
    left, packed = question.limit_rows, pa.ipc.IpcWriteOptions(compression="lz4")
    most = _MAX_HELD if isinstance(file, io.BytesIO) else MAX_ANSWER
    with (
        warehouse.answering(question.sql, timeout_s=seconds) as (columns, batches),
        pa.ipc.new_stream(file, columns, options=packed) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.slice(0, left))
            if batch.num_rows > left:
                return True
            left -= batch.num_rows
            if file.tell() > most:
                why = "" if most == MAX_ANSWER else ", and the disk has no room for it"
                raise LmdpError(f"the answer has more than {most // 2**20} MiB{why}; ask for less")
    return False


def _replay(desk: Desk, asked: Asked) -> Reply:
    if desk.replay is None:
        raise SettingsError("this run takes no replay. Nothing was changed.")
    folder = desk.warehouse.path.absolute().parent
    with (
        _turn(desk.replays, _REPLAY_S, "another replay is being written"),
        tempfile.TemporaryFile(dir=folder) as file,
    ):
        for piece in asked.chunks(LARGEST_REPLAY):
            file.write(piece)
        try:
            written = desk.replay(desk.warehouse, file)
        except RunNotFoundError:
            return _another(desk)
        return Reply(JSON, msgspec.json.encode({"bytes": written}))


Route = Callable[[Desk, Asked], Reply]

ROUTES: Final[Mapping[tuple[str, str], Route]] = {
    ("GET", "/status"): _status,
    ("GET", "/snapshot"): _snapshot,
    ("POST", "/query"): _query,
    ("POST", "/replay"): _replay,
}


def _has(desk: Desk, warehouse: str | None) -> bool:
    return warehouse in (None, str(desk.warehouse.path.resolve()))


def _another(desk: Desk) -> Reply:
    return _fault(SettingsError(f"{desk.warehouse.path} is the file of this run"), ANOTHER_FILE)


@contextlib.contextmanager
def _turn(turns: threading.Semaphore, seconds: float, why_not: str) -> Iterator[None]:
    if not turns.acquire(timeout=seconds):
        raise UnreachableError(f"{why_not} within {seconds:g} s. Nothing was changed. Ask again later.")
    try:
        yield
    finally:
        turns.release()


def _fault(error: LmdpError, code: int = 400) -> Reply:
    return Reply(JSON, msgspec.json.encode({"error": str(error), "exitCode": error.exit_code}), {}, code)


def socket_path(home: Path) -> Path:
    """Where the socket of `home` is; elsewhere when that path is longer than the system allows."""
    path = home.absolute() / "run.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    return Path(tempfile.gettempdir()) / f"lmdp-{os.getuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"


@contextlib.contextmanager
def serving(
    home: Path,
    warehouse: Warehouse,
    status: Callable[[], dict[str, Any]],
    snapshot: Callable[[], dict[str, Any]] = dict,
    replay: Replay | None = None,
) -> Iterator[Path]:
    """Answer questions in the background until the end of the block.

    A socket that a killed run left behind is replaced. Raises UnreachableError when a run still answers there.
    """
    path = socket_path(home)
    if _answers(path):
        raise UnreachableError(
            f"another run answers on {path}, so this one was not started. Stop that one first "
            f"(`{program()} status` shows it), or give this one a folder of its own with --home."
        )
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        server = _Server(str(path), _Handler)
    except OSError as error:
        raise UnreachableError(f"cannot listen on {path}: {error.strerror}. Is the folder writable?") from error
    finally:
        os.umask(before)
    server.desk = Desk(warehouse, status, snapshot, replay=replay)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="answers", daemon=True)
    thread.start()
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()
        warehouse.end_questions()
        server.wait(_STOP_S)
        path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno == errno.EAGAIN  # somebody listens, and has more callers than it takes
    return True


class _Server(LineServer):
    desk: Desk


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def setup(self) -> None:
        """Find the connection's own time."""
        self.line = self.server.lines[self.request]
        super().setup()

    def do_GET(self) -> None:
        self._go()

    def do_POST(self) -> None:
        self._go()

    def _go(self) -> None:
        path, _, query = self.path.partition("?")
        route = ROUTES.get((self.command, path))
        told = self.headers.get("Content-Length", "")
        length = int(told) if told.isdecimal() and len(told) < 20 else None
        self.line.may(_BODY_S)
        if not length:
            self.line.arrived()
        self._answer(self._reply(route, Asked(query, length, self.rfile, self.line)))

    def _reply(self, route: Route | None, asked: Asked) -> Reply:
        if route is None:
            return _fault(SettingsError(f"there is {', '.join(map(' '.join, ROUTES))}"), 404)
        try:
            return route(self.server.desk, asked)
        except AlreadyReplayedError as changed:
            return _fault(changed, CHANGED)
        except LmdpError as error:
            return _fault(error)
        except OSError as error:  # no room for a spool, say
            return _fault(LmdpError(f"the run could not do that ({error}). Nothing was changed."), 500)

    def _answer(self, reply: Reply) -> None:
        self.line.may(_READ_S)
        with contextlib.closing(io.BytesIO(reply.body) if isinstance(reply.body, bytes) else reply.body) as body:
            size = body.seek(0, os.SEEK_END)
            body.seek(0)
            self.send_response(reply.code)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(size))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.connection.sendfile(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        """Questions are not logged: they can hold names."""
