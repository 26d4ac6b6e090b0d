"""The body of a request: read, decompressed and looked at, each within a limit.

What goes to the topic is the body as it came, wherever the consumer's own reader takes that. Whether it can become rows
is the consumer's to decide, which keeps what cannot as a reject. Refused here is only what is certainly no OTLP metrics
request: it would never become one, and its sender is the one who can change that.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1 import metrics_pb2

from lmdp.core.otlp.compression import GZIP, ZSTD, decompress, stripped
from lmdp.core.otlp.decode import decode
from lmdp.core.otlp.memory_estimate import check_protobuf_memory
from lmdp.errors import DECODE_TOO_LARGE, MessageError, RequestRefusedError
from lmdp.receive.answers import JSON, PROTOBUF

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]

ENCODINGS: Final = "gzip, zstd, deflate"
_SMALL: Final = 4_096  # compressed, it holds up to 4 MiB, which takes some 10 ms
_LARGE: Final = 262_144  # not compressed

# What may be parsed to be sure. Beyond it a message is kept unread: the consumer's limit is larger.
_MEMORY: Final = 64 * 2**20
_MAGIC: Final = {"gzip": GZIP, "zstd": ZSTD}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class DisconnectedError(Exception):
    """The sender closed the connection before its request was whole."""


async def read(receive: Receive, limit: int, reserve: Callable[[int], None]) -> bytes:
    """Read a body of `limit` bytes at most; `reserve` is called with the size of each part, and may refuse it.

    Raises RequestRefusedError (413), DisconnectedError.
    """
    parts, size, more = [], 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise DisconnectedError
        part, more = event.get("body", b""), event.get("more_body", False)
        size += len(part)
        if size > limit:
            raise too_large(size, limit, more=more)
        reserve(len(part))
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(size: int, limit: int, *, more: bool = False) -> RequestRefusedError:
    """Return the refusal of a body of `size` bytes, or `more`, where `limit` are taken."""
    has = f"more than {limit:,}" if more else f"{size:,}"
    return RequestRefusedError(413, f"the body has {has} bytes; up to {limit:,} are taken: send smaller batches")


def encoding(header: str) -> str:
    """Return the one content coding that a header names; empty for none. Raises RequestRefusedError (415)."""
    names = [name.strip().lower().removeprefix("x-") for name in header.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > 1:
        raise RequestRefusedError(415, f"two content codings, one around the other: use one of {ENCODINGS}")
    if names and names[0] not in (*_MAGIC, "deflate"):
        text = f"Content-Encoding {names[0][:30]!r} is not taken: use one of {ENCODINGS}, or none"
        raise RequestRefusedError(415, text, accept_encoding=ENCODINGS)
    return names[0] if names else ""


def is_quick(body: bytes, coding: str) -> bool:
    """Return whether `examined` takes so little time that others may wait for it."""
    return len(body) <= (_SMALL if coding or body.startswith((GZIP, ZSTD)) else _LARGE)


def examined(body: bytes, coding: str, kind: str, limit: int) -> tuple[bytes, str, bool]:
    """Return what goes to the topic, the type that the body has where `kind` is empty, and whether it has metrics.

    What it holds, up to `limit` bytes, is in memory only meanwhile. Raises RequestRefusedError.
    """
    value, text = opened(body, coding, limit)
    is_protobuf = text.startswith(b"\n") and not stripped(text).startswith(b"{")
    return value, kind or (PROTOBUF if is_protobuf else JSON), has_metrics(text, kind)


def opened(body: bytes, coding: str, limit: int) -> tuple[bytes, bytes]:
    """Return what goes to the topic, and what is in it once it is decompressed: `limit` bytes at most.

    Raises RequestRefusedError: 413 beyond the limit, 400 where the body is not in this coding, or cut off.
    """
    try:
        if coding == "deflate":  # the consumer does not know it: it has no magic bytes
            body = _inflated(body, limit)
        elif coding and body and not body.startswith(_MAGIC[coding]):
            raise RequestRefusedError(400, f"Content-Encoding says {coding}, and the body is not")
        return body, decompress(body, limit)
    except MessageError as refused:
        raise RequestRefusedError(413 if refused.code == DECODE_TOO_LARGE else 400, refused.text) from refused


def _inflated(body: bytes, limit: int) -> bytes:
    """Decompress zlib's format, or the bare one that some senders mean by deflate (RFC 9110, section 8.4.1.2)."""
    is_zlib = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    stream, parts, size, rest = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS), [], 0, body
    try:
        while rest and not stream.eof:
            parts.append(stream.decompress(rest, limit + 1 - size))
            size, rest = size + len(parts[-1]), stream.unconsumed_tail
            if size > limit:
                raise MessageError(DECODE_TOO_LARGE, f"decompressed it is larger than {limit:,} bytes")
    except zlib.error as error:
        raise RequestRefusedError(400, f"deflate: {error}") from error
    if body and (not stream.eof or stream.unused_data):
        raise RequestRefusedError(400, "deflate: the stream ends before its end mark, or does not end with it")
    return b"".join(parts)


def has_metrics(text: bytes, kind: str) -> bool:
    """Return whether a decompressed body may hold metrics; False for a request without anything in it.

    Raises RequestRefusedError (400) for what is certainly no metrics request, with what it is where that is known.
    """
    content = stripped(text)
    if not content:
        if text or kind.endswith("json") or not kind:
            raise RequestRefusedError(400, "the request has no body: send an OTLP metrics request")
        return False  # in protobuf, a request with nothing in it has no bytes
    if content.startswith(b"{"):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            members = _members.decode(content)
            if not members or "resourceMetrics" in members or "resource_metrics" in members:
                return bool(members)
    elif _is_protobuf(text):
        return True
    return _certain(text)


def _is_protobuf(text: bytes) -> bool:
    """Return whether a first metric can be seen. Logs and traces are alike, but for the name."""
    try:
        check_protobuf_memory(text, _MEMORY, metrics_pb2.MetricsData.DESCRIPTOR)
        request = metrics_pb2.MetricsData.FromString(text)
    except (DecodeError, MessageError):
        return False
    scopes = (scope for part in request.resource_metrics for scope in part.scope_metrics)
    first = next((metric for scope in scopes for metric in scope.metrics), None)
    return first is not None and bool(first.name) and first.WhichOneof("data") is not None


def _certain(text: bytes) -> bool:
    """Let the core read what is odd; only what it cannot read at all is refused."""
    try:
        decode(text, len(text), _MEMORY)
    except MessageError as refused:
        if refused.code == DECODE_TOO_LARGE:
            return True
        raise RequestRefusedError(400, f"this is not an OTLP metrics request: {refused.text}") from refused
    return True
