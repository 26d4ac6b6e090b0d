"""The order of a request: path → sender → type → body → decompress → look → topic → answer.

An ASGI application with one kind of request; nothing is taken apart that the topic does not need.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from lmdp.core.pipeline import TENANT_HEADER
from lmdp.errors import RequestRefusedError
from lmdp.receive import answers, body
from lmdp.receive.body import Event, Receive
from lmdp.receive.metrics import Metrics
from lmdp.receive.senders import QUERY, Sender, Senders

Scope = dict[str, Any]
Send = Callable[[Event], Awaitable[None]]

HEALTH: Final = "/health"
_MOST_REASONS: Final = 1_000
_SCANNED: Final = frozenset({401, 404, 405})  # the answers to what scanners send to a public address
_IN_QUERY: Final = f"{QUERY}=".encode()
_ONLY_ONCE: Final = (b"authorization", b"content-type", b"content-length")


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """The limits: in bytes, of a body as it comes, of what it holds, and of all that is under way.

    In seconds: for a head to arrive, or what is left of a body after its answer; for a body to arrive.
    """

    body: int = 20 * 2**20  # https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
    decompressed: int = 64 * 2**20
    in_flight: int = 64 * 2**20
    connections: int = 2_000
    head_seconds: float = 10.0
    body_seconds: float = 30.0


class Writer(Protocol):
    """The topic."""

    trouble: str

    async def write(self, value: bytes, headers: dict[str, str]) -> None:
        """Return when the message is acknowledged. Raises RequestRefusedError."""


@dataclass(slots=True)
class _Request:
    """A request as far as it is known: `kind` is the type of its answer, `held` its bytes in memory.

    `has_credentials`: it brought a token or a client certificate, valid or not.
    """

    sender: Sender = field(default_factory=Sender)
    has_credentials: bool = False
    kind: str = answers.JSON
    held: int = 0


class Application:
    """The receiver's ASGI application. `refusals` counts them by status and text until someone takes them.

    `strangers` has those of requests without credentials that found nothing to talk to.
    """

    def __init__(
        self, writer: Writer, senders: Senders, metrics: Metrics, paths: frozenset[str], limits: ReceiveLimits
    ) -> None:
        self.refusals, self.strangers = Counter[tuple[int, str]](), Counter[tuple[int, str]]()
        self._writer = writer
        self._senders = senders
        self._metrics = metrics
        self._paths = paths
        self._limits = limits
        self._in_flight = 0
        self._thread = asyncio.Semaphore(1)  # one large body at a time, since each takes memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] == HEALTH and scope["method"] in ("GET", "HEAD"):
            await _answer(send, 200, answers.JSON, b'{"status":"serving"}', {})
            return
        began, request, headers = time.perf_counter(), _Request(), dict[str, str]()
        try:
            await self._take(scope, receive, request)
            status, content = 200, answers.success(request.kind)
        except RequestRefusedError as refused:
            status, content, headers = refused.status, answers.status(request.kind, str(refused)), refused.headers
            of_stranger = status in _SCANNED and not request.has_credentials
            _count(self.strangers if of_stranger else self.refusals, status, str(refused))
        except body.DisconnectedError:
            self._metrics.disconnected.inc()
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender keeps its data and comes again
            fault = answers.unavailable("the receiver failed; retry the request")
            status, content, headers = fault.status, answers.status(request.kind, str(fault)), fault.headers
            _count(self.refusals, status, f"a fault of the program: {type(error).__name__}")
        finally:
            self._in_flight -= request.held
            self._metrics.in_flight.set(self._in_flight)
        self._metrics.answered(request.sender.name, status, time.perf_counter() - began)
        await _answer(send, status, request.kind, content, headers)

    async def _take(self, scope: Scope, receive: Receive, request: _Request) -> None:
        """Put a request's body on the topic. Raises RequestRefusedError, DisconnectedError."""
        headers = _headers(scope["headers"])
        kind = _kind_or_json(headers.get(b"content-type", ""))
        request.kind = kind or answers.JSON
        certificate = scope.get("state", {}).get("certificate", "")
        request.has_credentials = bool(
            certificate or headers.get(b"authorization") or _IN_QUERY in scope["query_string"]
        )
        path = scope["path"]
        if path not in self._paths:
            raise answers.not_here(path)
        if scope["method"] != "POST":
            raise RequestRefusedError(
                405, f"{scope['method'][:20]} is not served: send metrics with POST", allow="POST"
            )
        request.sender = sender = self._senders.admit(
            headers.get(b"authorization", ""), scope["query_string"], certificate
        )
        kind = answers.answer_type(headers.get(b"content-type", ""))
        coding = body.encoding(headers.get(b"content-encoding", ""))
        limit = min(self._limits.body, sender.max_body_bytes or self._limits.body)
        self._check_length(headers, limit)
        raw = await self._read(receive, limit, request)
        value, request.kind, has_metrics = await self._examined(raw, coding, kind)
        if not has_metrics:
            self._metrics.empty.inc()
            return
        await self._writer.write(value, _record_headers(path, sender))
        self._metrics.stored(len(value))

    def _check_length(self, headers: dict[bytes, str], limit: int) -> None:
        length = headers.get(b"content-length")
        if length is None and b"transfer-encoding" not in headers:
            raise RequestRefusedError(411, "the request has neither Content-Length nor Transfer-Encoding: chunked")
        if length is not None and int(length) > limit:
            raise body.too_large(int(length), limit)
        if self._in_flight + int(length or 0) > self._limits.in_flight:
            raise self._full()

    def _full(self) -> RequestRefusedError:
        return answers.too_many(f"{self._in_flight:,} bytes are under way, and no more are taken; retry the request")

    async def _read(self, receive: Receive, limit: int, request: _Request) -> bytes:
        def reserve(size: int) -> None:
            if self._in_flight + size > self._limits.in_flight:
                raise self._full()
            self._in_flight += size
            request.held += size

        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await body.read(receive, limit, reserve)
        except TimeoutError as error:
            raise answers.unavailable(
                f"the body did not arrive within {self._limits.body_seconds:g} s; retry the request"
            ) from error

    async def _examined(self, raw: bytes, coding: str, kind: str) -> tuple[bytes, str, bool]:
        if body.is_quick(raw, coding):
            return body.examined(raw, coding, kind, self._limits.decompressed)
        async with self._thread:
            return await asyncio.to_thread(body.examined, raw, coding, kind, self._limits.decompressed)


def _count(refusals: Counter[tuple[int, str]], status: int, text: str) -> None:
    reason = status, text[:200]
    refusals[reason if reason in refusals or len(refusals) < _MOST_REASONS else (status, "…")] += 1


def _headers(given: list[tuple[bytes, bytes]]) -> dict[bytes, str]:
    """Return the headers by name; those of one name joined with a comma. Raises RequestRefusedError (400)."""
    headers: dict[bytes, str] = {}
    for name, value in given:
        if name in headers:
            if name in _ONLY_ONCE:
                raise RequestRefusedError(400, f"the header {name.decode('latin-1')} is given twice")
            headers[name] += ", " + value.decode("latin-1")
        else:
            headers[name] = value.decode("latin-1")
    return headers


def _kind_or_json(header: str) -> str:
    """Return the type of a refusal that comes before the type itself is looked at."""
    try:
        return answers.answer_type(header)
    except RequestRefusedError:
        return answers.JSON


def _record_headers(path: str, sender: Sender) -> dict[str, str]:
    """Return the Kafka headers of a message; nothing of the request but its path."""
    named = {"lmdp-path": path, "lmdp-sender": sender.name, TENANT_HEADER: sender.tenant}
    return {name: text for name, text in named.items() if text}


async def _answer(send: Send, status: int, kind: str, content: bytes, headers: dict[str, str]) -> None:
    start = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(content)).encode()),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": content})
