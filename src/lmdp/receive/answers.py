"""Answers of OTLP/HTTP, in the encoding of the request.

https://opentelemetry.io/docs/specs/otlp/#otlphttp-response: success is an ExportMetricsServiceResponse, anything else a
google.rpc.Status. Senders retry a request after 429, 502, 503 and 504 alone, so those are the statuses for whatever
passes, and every other one means that the same request can never be taken.
"""

from __future__ import annotations

import random
from typing import Final

import msgspec

from lmdp.errors import RequestRefusedError

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
_TYPES: Final = {JSON: JSON, PROTOBUF: PROTOBUF, "application/protobuf": "application/protobuf"}
# What HTTP clients write where nobody chose a type. Java's writes the form's.
_UNCHOSEN: Final = frozenset({"", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded"})
_TAKEN: Final = f"send {PROTOBUF} or {JSON}"

# Retries that fall together come together again. Our own: a host's seeded sequence is not ours to use.
_CHANCE: Final = random.Random()  # noqa: S311 - no secret

_TRACES: Final = "this receiver takes metrics alone; let the sender export no traces and no logs to it"


def answer_type(header: str) -> str:
    """Return the type that the answer has for a request's Content-Type; empty where that names none.

    Raises RequestRefusedError (415) for another type.
    """
    essence = header.partition(";")[0].strip().lower()
    if essence in _UNCHOSEN:
        return ""
    if essence.startswith("application/grpc"):
        raise RequestRefusedError(415, f"OTLP/gRPC is not served here: use the exporter for OTLP/HTTP, and {_TAKEN}")
    if essence not in _TYPES:
        raise RequestRefusedError(
            415, f"Content-Type {essence[:60]!r} is not OTLP: {_TAKEN}", accept=f"{PROTOBUF}, {JSON}"
        )
    return _TYPES[essence]


def success(kind: str) -> bytes:
    """Return an ExportMetricsServiceResponse without a partial success."""
    return b"{}" if kind == JSON else b""


def status(kind: str, text: str) -> bytes:
    """Return a google.rpc.Status with a message; OTLP does not use its code."""
    if kind == JSON:
        return msgspec.json.encode({"message": text})
    data = text.encode()
    size, length = len(data), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return b"\x12" + bytes((*length, size)) + data


def unavailable(text: str) -> RequestRefusedError:
    """Return the refusal of a request that may be retried, after seconds that differ between senders."""
    return RequestRefusedError(503, text, retry_after=str(_CHANCE.randint(2, 8)))


def too_many(text: str, seconds: float = 1.0) -> RequestRefusedError:
    """Return the refusal of a request beyond what is taken at a time."""
    return RequestRefusedError(429, text, retry_after=str(max(1, round(seconds) + _CHANCE.randint(0, 2))))


def not_here(path: str) -> RequestRefusedError:
    """Return the refusal of a path that is not served."""
    if path.endswith(("/v1/traces", "/v1/logs", "/v1development/profiles")):
        return RequestRefusedError(404, _TRACES)
    return RequestRefusedError(404, "nothing is served at this path: send metrics to /v1/metrics, or add it to --paths")
