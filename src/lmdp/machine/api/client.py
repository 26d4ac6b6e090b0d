"""Questions to a warehouse: asked of the run that has it open, else of the file itself."""

from __future__ import annotations

import http.client
import os
import socket
import struct
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from lmdp.core.specification import load_spec
from lmdp.errors import AlreadyReplayedError, LmdpError, RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api.server import ANOTHER_FILE, CHANGED, Question, socket_path
from lmdp.machine.warehouse.warehouse import Answer, Warehouse

_PATIENCE_S = 5.0  # beside the question's own time
_REPLAY_S = 600.0  # for a transaction, behind those of the consumer and of another replay


def ask(home: Path, warehouse: Path, question: Question) -> Answer:
    """Answer `question` from a running pipeline, else from the file. Raises LmdpError."""
    try:
        return ask_run(home, question)
    except RunNotFoundError:
        with Warehouse.open(warehouse, load_spec(), read_only=True) as opened:
            return opened.query(question.sql, limit_rows=question.limit_rows, timeout_s=question.timeout_seconds)


def ask_run(home: Path, question: Question) -> Answer:
    """Answer `question` from the running pipeline alone. Raises RunNotFoundError, LmdpError."""
    response, body = _request(home, "POST", "/query", msgspec.json.encode(question), question.timeout_seconds)
    return Answer(pa.ipc.open_stream(body).read_all(), response.headers["X-Truncated"] == "true")


def status(home: Path) -> dict[str, Any]:
    """What the running pipeline says of itself. Raises RunNotFoundError."""
    return _told(home, "/status")


def snapshot(home: Path) -> dict[str, Any]:
    """The running pipeline's `status`, and under `live` what changes from second to second. Raises RunNotFoundError."""
    return _told(home, "/snapshot")


def live(home: Path) -> dict[str, Any]:
    """What changes from second to second in the running pipeline. Raises RunNotFoundError."""
    found: dict[str, Any] = snapshot(home)["live"]
    return found


def _told(home: Path, target: str) -> dict[str, Any]:
    _, body = _request(home, "GET", target, b"", 5.0)
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def replay(home: Path, body: bytes) -> int:
    """Have the running pipeline write one transaction of a replay; returns the bytes of its columns.

    Raises RunNotFoundError, AlreadyReplayedError, LmdpError. Where no answer came it may be written all the same; to
    ask again does no harm.
    """
    _, answer = _request(home, "POST", "/replay", body, _REPLAY_S)
    return int(msgspec.json.decode(answer)["bytes"])


class _Connection(http.client.HTTPConnection):
    def __init__(self, home: Path, timeout: float) -> None:
        super().__init__("lmdp", timeout=timeout)
        self._home = home
        self._path = socket_path(home)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        _check_owner(self.sock, self._home, self._path)


def _check_owner(line: socket.socket, home: Path, path: Path) -> None:
    """Refuse another user who listens there: a long path's socket is in the folder for everybody's temporary files.

    https://man7.org/linux/man-pages/man7/unix.7.html (SO_PEERCRED); elsewhere the file's owner is asked.
    """
    if hasattr(socket, "SO_PEERCRED"):
        owner = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    else:
        owner = path.stat().st_uid
    if owner not in {0, os.geteuid(), home.stat().st_uid}:
        raise UnreachableError(
            f"on {path} listens a program of another user (uid {owner}), so it was not asked. Nothing was sent. "
            f"Give this home a shorter path, or take another TMPDIR for the run and for this command."
        )


def _request(
    home: Path, method: str, target: str, body: bytes, seconds: float
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = _Connection(home, seconds + _PATIENCE_S)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        content = response.read()
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise RunNotFoundError from error
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"the run under {home} does not answer: {error}. Look at its terminal.") from error
    finally:
        connection.close()
    if response.status == ANOTHER_FILE:
        raise RunNotFoundError
    if response.status != 200:
        fault = msgspec.json.decode(content)
        if response.status == CHANGED:
            raise AlreadyReplayedError(fault["error"])
        kinds = {2: SettingsError, 3: UnreachableError}
        raise kinds.get(fault["exitCode"], LmdpError)(fault["error"])
    return response, content
