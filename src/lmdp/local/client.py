"""Questions to a warehouse: asked of the run that has it open, else of the file itself."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from lmdp.errors import LmdpError, SettingsError, Unreachable
from lmdp.local.server import ANOTHER_FILE, Question, socket_path
from lmdp.local.warehouse import Answer, Warehouse
from lmdp.spec_loader import load_spec

_PATIENCE_S = 5.0  # beside the question's own time


class Away(Exception):  # noqa: N818 - a state, as in 'nobody is there'
    """No run answers for this home, or it has another file."""


def ask(home: Path, warehouse: Path, question: Question) -> Answer:
    """Answer `question` from a running pipeline, else from the file. Raises LmdpError."""
    try:
        response, body = _request(home, "POST", "/query", msgspec.json.encode(question), question.timeout_seconds)
    except Away:
        with Warehouse.open(warehouse, load_spec(), read_only=True) as opened:
            return opened.query(question.sql, limit_rows=question.limit_rows, timeout_s=question.timeout_seconds)
    return Answer(pa.ipc.open_stream(body).read_all(), response.headers["X-Truncated"] == "true")


def status(home: Path) -> dict[str, Any]:
    """What the running pipeline says of itself. Raises Away."""
    _, body = _request(home, "GET", "/status", b"", 5.0)
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("lmdp", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _request(
    home: Path, method: str, target: str, body: bytes, seconds: float
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = _Connection(socket_path(home), seconds + _PATIENCE_S)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        content = response.read()
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise Away from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the run under {home} does not answer: {error}. Look at its terminal.") from error
    finally:
        connection.close()
    if response.status == ANOTHER_FILE:
        raise Away
    if response.status != 200:
        fault = msgspec.json.decode(content)
        kinds = {2: SettingsError, 3: Unreachable}
        raise kinds.get(fault["exitCode"], LmdpError)(fault["error"])
    return response, content
