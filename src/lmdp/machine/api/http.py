"""HTTP for the run's socket and for its page: connections and bodies within limits, one shape of an error.

A client that sends nothing, or sends its request or reads its answer very slowly, holds a connection for a while and
nothing else. While all are taken, the connection without a request that has been silent for longest is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

import msgspec
import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from lmdp.errors import AlreadyReplayedError, ApiError, LmdpError, SettingsError, UnreachableError
from lmdp.machine.api.protocol import ALREADY_REPLAYED, JSON
from lmdp.support.program import program

_T = TypeVar("_T")

_LARGEST_HEAD: Final = 64 * 1024
_DISCARDED: Final = 16 * 2**20
_PAUSE_S: Final = 0.3  # in what is discarded: then nothing more comes
_CHECKS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of a server."""

    connections: int = 64
    queries: int = 4
    """At once; others wait, so that ingestion keeps its share of the machine."""
    request_seconds: float = 10.0
    """For a request's head to arrive."""
    body_seconds: float = 120.0
    """For its body to arrive."""
    read_seconds: float = 300.0
    """For an answer to be read."""


LIMITS: Final = ServerLimits()


class Connection(HttpToolsProtocol):
    """One connection, as uvicorn serves it, within `limits`."""

    def __init__(self, limits: ServerLimits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self.since, self._step = self.loop.time(), (self.cycle, limits.request_seconds)
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept it. Where too many are open, close another one that is silent, else this one."""
        super().connection_made(transport)
        self.loop.call_later(min(_CHECKS_S, self._limits.request_seconds), self._check)
        if sum(not one.transport.is_closing() for one in self.connections) <= self._limits.connections:
            return
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        silent = [one for one in others if one.is_silent()]
        if silent:
            min(silent, key=lambda one: one.since).transport.abort()
        else:
            transport.write(_FULL)
            transport.close()

    def is_silent(self) -> bool:
        """Return whether it is open, and no whole request of it is being answered."""
        cycle = self._answering()
        return (cycle is None or cycle.more_body) and not self.transport.is_closing()

    def data_received(self, data: bytes) -> None:
        """Read on; a head without an end is not kept in memory."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is before and self._answering() is None:
            self._head += len(data)
            if self._head > _LARGEST_HEAD:
                self.transport.abort()
        else:
            self._head = 0

    def _check(self) -> None:
        """Close it when its present step takes too long: the head, the body, or the reading of the answer."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # it is a websocket by now
            return
        step, now = (self.cycle, self._seconds()), self.loop.time()
        if step != self._step:
            self._step, self.since = step, now
        elif now - self.since > step[1]:
            self.transport.abort()
            return
        self.loop.call_later(min(_CHECKS_S, self._limits.request_seconds), self._check)

    def _seconds(self) -> float:
        cycle = self._answering()
        if cycle is None:
            return self._limits.request_seconds
        if cycle.response_started:
            return self._limits.read_seconds
        return self._limits.body_seconds if cycle.more_body else math.inf

    def _answering(self) -> RequestResponseCycle | None:
        """Return the request whose answer is not complete."""
        cycle: RequestResponseCycle | None = self.cycle  # there is none before the first
        return None if cycle is None or cycle.response_complete else cycle


def server(app: Any, limits: ServerLimits, **more: Any) -> uvicorn.Server:
    """Return a server of `app`; `more` are options of uvicorn."""
    protocol = cast("type[asyncio.Protocol]", partial(Connection, limits))
    return uvicorn.Server(uvicorn.Config(app, http=protocol, access_log=False, server_header=False, **more))


async def read_body(request: Request, most: int, next_step: str = "") -> bytes:
    """Return the body of a request. Raises ApiError where it is longer than `most`, ClientDisconnect where it ends."""
    length = request.headers.get("content-length", "0")
    parts, body = request.stream(), bytearray()
    is_too_long = not length.isdecimal() or len(length) > 18 or int(length) > most
    while not is_too_long and (part := await anext(parts, None)) is not None:
        body += part
        is_too_long = len(body) > most
    if is_too_long:
        await _discard(parts)
        raise ApiError(413, f"the request may have at most {most:,} bytes", next_step or f"{program()} --help")
    return bytes(body)


async def _discard(parts: AsyncIterator[bytes]) -> None:
    """Read what is still coming, up to a limit: a client whose sending fails does not read its answer."""
    received = 0
    with contextlib.suppress(TimeoutError):
        while received <= _DISCARDED:
            async with asyncio.timeout(_PAUSE_S):
                part = await anext(parts, None)
            if part is None:
                return
            received += len(part)


def number(given: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of a request's parameters. Raises ApiError."""
    value = given.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) <= 16):
        raise ApiError(400, f"{name} must be a whole number", "GET /api lists the parameters")
    return int(value)


async def unless_left(request: Request, work: Awaitable[_T]) -> _T:
    """Return what `work` returns. Raises ClientDisconnect, and cancels it, when the client leaves before."""
    working, leaving = asyncio.ensure_future(work), asyncio.create_task(_leave(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _leave(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response of JSON."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def api_error(error: LmdpError) -> ApiError:
    """Return an error with the status by which a client knows its kind, and the next command."""
    if isinstance(error, AlreadyReplayedError):
        return ApiError(ALREADY_REPLAYED, str(error), f"{program()} replay --help")
    if isinstance(error, SettingsError):
        return ApiError(400, str(error), f'{program()} query "select * from metrics limit 10"')  # noqa: S608 - to paste
    if isinstance(error, UnreachableError):
        return ApiError(503, str(error), f"{program()} status")
    return ApiError(422, str(error), f"{program()} query --help")


async def _on_api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return json_response(error.json(), error.status)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LmdpError)
    return await _on_api_error(request, api_error(error))


async def _on_system_error(request: Request, error: Exception) -> Response:
    """Answer on a full disk, for example."""
    return await _on_api_error(
        request, ApiError(500, f"the request failed: {error}. Nothing was changed.", "try again")
    )


async def _on_unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    known = (
        "GET /api"
        if path.startswith("/api")
        else "GET /status, GET /snapshot, GET /messages, POST /query, POST /replay"
    )
    return await _on_api_error(request, ApiError(error.status_code, f"no such address: {method} {path}", known))


async def _on_left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Any]]] = {
    ApiError: _on_api_error,
    ClientDisconnect: _on_left,
    LmdpError: _on_error,
    OSError: _on_system_error,
    HTTPException: _on_unknown,
}
"""The answers for errors: `{"error", "exitCode", "next"}`."""

_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    + msgspec.json.encode(ApiError(503, "too many connections to this run", "try again in a moment").json())
)
