"""Client of the run's API; without a run, a query is answered from the warehouse's file."""

from __future__ import annotations

import http.client
import os
import socket
import struct
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from lmdp.errors import AlreadyReplayedError, LmdpError, RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api.protocol import ALREADY_REPLAYED, WRONG_WAREHOUSE, Query, socket_path
from lmdp.machine.warehouse.reader import Answer
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.specification_file import configured_spec

_PATIENCE_S = 5.0  # in addition to the query's own time
_REPLAY_S = 600.0  # for a step, after those of the consumer and of another replay


def query(home: Path, warehouse: Path, query: Query) -> Answer:
    """Return the answer from the running pipeline, else from the file. Raises LmdpError."""
    try:
        return query_run(home, query)
    except RunNotFoundError:
        with Warehouse.open(warehouse, configured_spec(), read_only=True) as opened:
            return opened.query(query.sql, limit_rows=query.limit_rows, timeout_s=query.timeout_seconds)


def query_run(home: Path, query: Query) -> Answer:
    """Return the answer from the running pipeline alone. Raises RunNotFoundError, LmdpError."""
    response, body = _request(home, "POST", "/query", msgspec.json.encode(query), query.timeout_seconds)
    return Answer(pa.ipc.open_stream(body).read_all(), response.headers["X-Truncated"] == "true")


def status(home: Path) -> dict[str, Any]:
    """Return the status of the running pipeline. Raises RunNotFoundError."""
    return _get(home, "/status")


def snapshot(home: Path) -> dict[str, Any]:
    """Return the `status` of the running pipeline, and its `live` figures of this second. Raises RunNotFoundError."""
    return _get(home, "/snapshot")


def live(home: Path) -> dict[str, Any]:
    """Return the running pipeline's figures of this second. Raises RunNotFoundError."""
    found: dict[str, Any] = snapshot(home)["live"]
    return found


def _get(home: Path, target: str) -> dict[str, Any]:
    _, body = _request(home, "GET", target, b"", 5.0)
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def replay(home: Path, body: bytes) -> bytes:
    """Take one step of a replay in the running pipeline, and return its result.

    Raises RunNotFoundError, AlreadyReplayedError, LmdpError. Without an answer the step may be taken all the same;
    sending it again is safe.
    """
    return _request(home, "POST", "/replay", body, _REPLAY_S)[1]


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


def _check_owner(connection: socket.socket, home: Path, path: Path) -> None:
    """Refuse a socket of another user: that of a long path is in the temporary folder, which all users share.

    https://man7.org/linux/man-pages/man7/unix.7.html (SO_PEERCRED); elsewhere the file's owner counts.
    """
    if hasattr(socket, "SO_PEERCRED"):
        owner = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    else:
        owner = path.stat().st_uid
    if owner not in {0, os.geteuid(), home.stat().st_uid}:
        raise UnreachableError(
            f"a program of another user (uid {owner}) listens on {path}, so nothing was sent to it. "
            f"Give this home a shorter path, or set another TMPDIR for the run and for this command."
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
    if response.status == WRONG_WAREHOUSE:
        raise RunNotFoundError
    if response.status != 200:
        failure = msgspec.json.decode(content)
        if response.status == ALREADY_REPLAYED:
            raise AlreadyReplayedError(failure["error"])
        kinds = {2: SettingsError, 3: UnreachableError}
        raise kinds.get(failure["exitCode"], LmdpError)(failure["error"])
    return response, content
