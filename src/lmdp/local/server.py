"""Answers while `lmdp run` has the warehouse: HTTP on a Unix socket beside it, for this user alone.

    GET  /status   what is running and where it stands: a JSON object
    POST /query    {"sql", "limitRows", "timeoutSeconds"} → the rows as an Arrow IPC stream; `X-Truncated: true` when cut

A fault is answered with `{"error", "exitCode"}`. Try it: curl --unix-socket .lmdp/run.sock http://lmdp/status
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from lmdp.errors import LmdpError, SettingsError, Unreachable
from lmdp.local.warehouse import Warehouse

ARROW = "application/vnd.apache.arrow.stream"
_LONGEST_PATH = 100  # sun_path has 108 bytes on Linux, 104 on macOS
_MAX_REQUEST = 1_000_000


class Question(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A query as it is asked: one SELECT, and its limits."""

    sql: str
    limit_rows: int = 10_000
    timeout_seconds: float = 30.0


def socket_path(home: Path) -> Path:
    """Where the socket of `home` is; elsewhere when that path is longer than the system allows."""
    path = home.absolute() / "run.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    return Path(tempfile.gettempdir()) / f"lmdp-{os.getuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"


@contextlib.contextmanager
def serving(home: Path, warehouse: Warehouse, status: Callable[[], dict[str, Any]]) -> Iterator[Path]:
    """Answer questions in the background until the end of the block.

    A socket that a killed run left behind is replaced: who holds the warehouse may answer for it.
    """
    path = socket_path(home)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        server = _Server(str(path), _Handler)
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
        path.unlink(missing_ok=True)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    warehouse: Warehouse
    status: Callable[[], dict[str, Any]]


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        if self.path != "/status":
            self._fault(404, SettingsError("there is GET /status and POST /query"))
            return
        self._answer(200, "application/json", msgspec.json.encode(self.server.status()))

    def do_POST(self) -> None:
        try:
            question = self._question()
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
