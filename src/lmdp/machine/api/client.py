"""Client of the run's API: for commands, and for the page's event loop. It loads Arrow and DuckDB for answers alone."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from lmdp.errors import AlreadyReplayedError, LmdpError, RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api.protocol import ALREADY_REPLAYED, ARROW, WRONG_WAREHOUSE, Query, socket_path

if TYPE_CHECKING:
    from lmdp.machine.warehouse.reader import Answer

PATIENCE_S = 5.0  # in addition to the query's own time
_REPLAY_S = 600.0  # for a step, after those of the consumer and of another replay
_KEPT_S = 2.0  # an idle connection; the run closes it after five
_ADDRESS = "http://lmdp"
_ENDED = (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)


def query(home: Path, warehouse: Path, query: Query) -> Answer:
    """Return the answer from the running pipeline, else from the file. Raises LmdpError."""
    from lmdp.machine.warehouse.warehouse import Warehouse  # noqa: PLC0415 - loads DuckDB
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    try:
        return query_run(home, query)
    except RunNotFoundError:
        with Warehouse.open(warehouse, configured_spec(), read_only=True) as opened:
            return opened.query(query.sql, limit_rows=query.limit_rows, timeout_s=query.timeout_seconds)


def query_run(home: Path, query: Query) -> Answer:
    """Return the answer from the running pipeline alone. Raises RunNotFoundError, LmdpError."""
    import pyarrow as pa  # noqa: PLC0415 - as above

    from lmdp.machine.warehouse.reader import Answer  # noqa: PLC0415 - as above

    body = msgspec.json.encode(query)
    response = _request(home, "POST", "/query", body, query.timeout_seconds, accept=ARROW)
    return Answer(pa.ipc.open_stream(response.content).read_all(), response.headers["X-Truncated"] == "true")


def status(home: Path) -> dict[str, Any]:
    """Return the status of the running pipeline. Raises RunNotFoundError."""
    return _get(home, "/status")


def snapshot(home: Path) -> dict[str, Any]:
    """Return the `status` of the running pipeline, and its `live` figures of this second. Raises RunNotFoundError."""
    return _get(home, "/snapshot")


def _get(home: Path, target: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(_request(home, "GET", target, b"", 5.0).content)
    return found


def replay(home: Path, body: bytes) -> bytes:
    """Take one step of a replay in the running pipeline, and return its result.

    Raises RunNotFoundError, AlreadyReplayedError, LmdpError. Without an answer the step may be taken all the same;
    sending it again is safe.
    """
    return _request(home, "POST", "/replay", body, _REPLAY_S).content


def _request(home: Path, method: str, target: str, body: bytes, seconds: float, accept: str = "*/*") -> httpx.Response:
    path = socket_path(home)

    def connected(event: str, found: dict[str, Any]) -> None:
        if event == _CONNECTED:
            stream = found["return_value"]
            try:
                _check_owner(stream.get_extra_info("socket"), home, path)
            except LmdpError:
                stream.close()
                raise

    transport = httpx.HTTPTransport(uds=str(path), verify=_no_tls())
    with failures(home):
        _reach(home, path)
        with httpx.Client(transport=transport, base_url=_ADDRESS, trust_env=False) as client:
            response = client.request(
                method,
                target,
                content=body,
                headers={"Accept": accept},
                timeout=seconds + PATIENCE_S,
                extensions={"trace": connected},
            )
    check(response)
    return response


class Connections:
    """Connections to the run of `home` for an event loop. They are opened when needed, also to a later run."""

    def __init__(self, home: Path) -> None:
        self._home, self._path = home, socket_path(home)
        transport = httpx.AsyncHTTPTransport(
            uds=str(self._path), verify=_no_tls(), limits=httpx.Limits(keepalive_expiry=_KEPT_S)
        )
        self._client = httpx.AsyncClient(transport=transport, base_url=_ADDRESS, trust_env=False)

    async def send(
        self, method: str, target: str, body: bytes = b"", seconds: float = 5.0, accept: str = "*/*"
    ) -> httpx.Response:
        """Return a response whose content is still to be read. Raises RunNotFoundError, UnreachableError."""
        request = self._client.build_request(
            method,
            target,
            content=body,
            headers={"Accept": accept},
            timeout=seconds + PATIENCE_S,
            extensions={"trace": self._connected},
        )
        with failures(self._home):
            return await self._client.send(request, stream=True)

    async def read(self, method: str, target: str, seconds: float = 5.0) -> bytes:
        """Return the content of the response to a request. Raises RunNotFoundError, LmdpError."""
        return await self.content(await self.send(method, target, seconds=seconds))

    async def content(self, response: httpx.Response) -> bytes:
        """Return the content of a response to `send`. Raises RunNotFoundError, LmdpError."""
        with failures(self._home):
            content = await response.aread()
        check(response)
        return content

    async def _connected(self, event: str, found: dict[str, Any]) -> None:
        if event == _CONNECTED:
            stream = found["return_value"]
            try:
                _check_owner(stream.get_extra_info("socket"), self._home, self._path)
            except LmdpError:
                await stream.aclose()
                raise

    async def close(self) -> None:
        """Close them."""
        await self._client.aclose()


def _reach(home: Path, path: Path) -> None:
    """Raise OSError unless a program listens; the library would leave a socket that cannot connect open."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PATIENCE_S)
        probe.connect(str(path))
        _check_owner(probe, home, path)


_CONNECTED = "connection.connect_unix_socket.complete"


def _no_tls() -> ssl.SSLContext:
    """Return a context that trusts nobody: the socket has no TLS, and reading the system's CAs takes time."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _check_owner(connection: socket.socket, home: Path, path: Path) -> None:
    """Refuse a socket of another user before anything is sent to it.

    That of a long path is in the temporary folder, which all users share.
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


@contextlib.contextmanager
def failures(home: Path) -> Iterator[None]:
    """Raise RunNotFoundError where nobody listens, UnreachableError where who listens does not answer."""
    try:
        yield
    except (httpx.HTTPError, OSError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, _ENDED):
                raise RunNotFoundError from error
            cause = cause.__cause__ or cause.__context__
        why = str(error) or type(error).__name__
        raise UnreachableError(f"the run under {home} does not answer: {why}. Look at its terminal.") from error


def check(response: httpx.Response) -> None:
    """Raise the error that a response of the run is, once its content was read: RunNotFoundError, LmdpError."""
    if response.status_code == WRONG_WAREHOUSE:
        raise RunNotFoundError
    if response.status_code == 200:
        return
    try:
        failure = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        raise UnreachableError(f"the run answers with status {response.status_code}. Look at its terminal.") from None
    if response.status_code == ALREADY_REPLAYED:
        raise AlreadyReplayedError(failure["error"])
    kinds = {2: SettingsError, 3: UnreachableError}
    raise kinds.get(failure["exitCode"], LmdpError)(failure["error"])
