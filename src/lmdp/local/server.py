"""Answers while `lmdp run` has the warehouse: HTTP on a Unix socket beside it, for this user alone.

    GET  /status   what is running and where it stands: a JSON object
    POST /query    {"sql", "limitRows", "timeoutSeconds"} → rows as an Arrow IPC stream; `X-Truncated: true` when cut

A fault is answered with `{"error", "exitCode"}`. Try it: curl --unix-socket .lmdp/run.sock http://lmdp/status
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from lmdp.errors import LmdpError, SettingsError, Unreachable
from lmdp.local.warehouse import Warehouse

ANOTHER_FILE = 421
ARROW = "application/vnd.apache.arrow.stream"
_LONGEST_PATH = 100  # sun_path has 108 bytes on Linux, 104 on macOS
_MAX_REQUEST = 1_000_000
_STOP_S = 2.0
MAX_ROWS = 1_000_000  # an answer is held in memory, by the process that also consumes
MAX_SECONDS = 3_600


class Question(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A query as it is asked: one SELECT, its limits, and which file it is about (None: the one that is open)."""

    sql: str
    limit_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 10_000
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)] = 30.0
    warehouse: str | None = None


def socket_path(home: Path) -> Path:
    """Where the socket of `home` is; elsewhere when that path is longer than the system allows."""
    path = home.absolute() / "run.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    return Path(tempfile.gettempdir()) / f"lmdp-{os.getuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"


@contextlib.contextmanager
def serving(home: Path, warehouse: Warehouse, status: Callable[[], dict[str, Any]]) -> Iterator[Path]:
    """Answer questions in the background until the end of the block.

    A socket that a killed run left behind is replaced. Raises Unreachable when a run still answers there.
    """
    path = socket_path(home)
    if _answers(path):
        raise Unreachable(
            f"another `lmdp run` answers on {path}, so this one was not started. Stop that one first "
            "(`lmdp status` shows it), or give this one a folder of its own with --home."
        )
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        server = _Server(str(path))
    except OSError as error:
        raise Unreachable(f"cannot listen on {path}: {error.strerror}. Is the folder writable?") from error
    finally:
        os.umask(before)
    server.warehouse, server.status = warehouse, status
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
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(str(path))
        return True
    return False


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    warehouse: Warehouse
    status: Callable[[], dict[str, Any]]

    def __init__(self, path: str) -> None:
        super().__init__(path, _Handler)
        self._answering: set[threading.Thread] = set()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one client, so that the end can wait for it."""
        self._answering.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._answering.discard(threading.current_thread())

    def wait(self, seconds: float) -> None:
        """Wait for the answers under way, `seconds` at most."""
        ends = time.monotonic() + seconds
        for thread in list(self._answering):
            thread.join(max(0.0, ends - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: who asked went away before the answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 60  # seconds for a request to arrive

    def do_GET(self) -> None:
        if self.path != "/status":
            self._fault(404, SettingsError("there is GET /status and POST /query"))
            return
        try:
            self._answer(200, "application/json", msgspec.json.encode(self.server.status()))
        except LmdpError as error:
            self._fault(400, error)

    def do_POST(self) -> None:
        try:
            question = self._question()
            if question.warehouse not in (None, str(self.server.warehouse.path.resolve())):
                self._fault(ANOTHER_FILE, SettingsError(f"{self.server.warehouse.path} is the file of this run"))
                return
            answer = self.server.warehouse.query(
                question.sql, limit_rows=question.limit_rows, timeout_s=question.timeout_seconds
            )
        except LmdpError as error:
            self._fault(400, error)
            return
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, answer.table.schema) as writer:
            writer.write_table(answer.table)
        self._answer(200, ARROW, sink.getvalue().to_pybytes(), truncated=answer.truncated)

    def _question(self) -> Question:
        length = self.headers.get("Content-Length", "")
        if self.path != "/query" or not length.isdecimal() or int(length) > _MAX_REQUEST:
            raise SettingsError(f"a question is a POST to /query of at most {_MAX_REQUEST:,} bytes")
        try:
            return msgspec.json.decode(self.rfile.read(int(length)), type=Question)
        except msgspec.MsgspecError as error:
            raise SettingsError(f"a question is {{sql, limitRows, timeoutSeconds}}: {error}") from error

    def _fault(self, code: int, error: LmdpError) -> None:
        body = msgspec.json.encode({"error": str(error), "exitCode": error.exit_code})
        self._answer(code, "application/json", body)

    def _answer(self, code: int, kind: str, body: bytes, *, truncated: bool = False) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Truncated", str(truncated).lower())
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        """Questions are not logged: they can hold names."""
