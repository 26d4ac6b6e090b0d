"""Bytes to bundle: OTLP/JSON or protobuf, compressed or not, into structs."""

from __future__ import annotations

import contextlib
import re
from typing import Final

import msgspec

from lmdp.core.otlp import lenient
from lmdp.core.otlp.compression import decompress, stripped
from lmdp.core.otlp.formats import described
from lmdp.core.otlp.memory_estimate import MEMORY, check_json_memory
from lmdp.core.otlp.model import MetricsData
from lmdp.errors import MALFORMED, NOT_METRICS, TOO_DEEP, MessageError

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_NUL: Final = b"\\u0000"
# As a number: the strict reader takes it for the integer 0. The literal comes first, since every message is searched.
_NEGATIVE_ZERO: Final = re.compile(rb"-0(?<=[:\[,\s]-0)(?![.0-9eE\"])")
_decoder = msgspec.json.Decoder(MetricsData)


def decode(value: bytes, limit: int, memory: int = MEMORY) -> MetricsData | None:
    """Read one message's value; None where it is blank.

    `limit`: bytes after decompression; `memory`: bytes that it may take once it is read.

    Raises MessageError with a `Decode.` code; where it is known what the message looks like, the reason says so.
    """
    data = text = value
    if not value.startswith(b"{"):  # nearly all do
        data = decompress(value, limit)
        text = stripped(data)
        if not text:
            return None
    try:
        if text.startswith(b"{"):
            return _decode_json(text, memory)
        return _decode_protobuf(data, memory)
    except MessageError as refused:
        # A protobuf message whose first part has 123 bytes begins with a line feed and a brace.
        if data.startswith(b"\n") and text.startswith(b"{"):
            with contextlib.suppress(MessageError):
                return _decode_protobuf(data, memory)
        raise described(refused, text if text.startswith(b"{") else data, memory) from refused.__cause__


def _decode_json(text: bytes, memory: int) -> MetricsData:
    check_json_memory(text, memory)
    try:
        if not text.isascii():
            text.decode()  # what is skipped below is not looked at
        if b"\\" in text and _NUL in text:
            text = _STRING.sub(lambda string: _ESCAPE.sub(_without_nul, string[0]), text)
        bundle = None if _NEGATIVE_ZERO.search(text) else _strictly(text)
        if bundle is None:
            check_json_memory(text, memory, lenient=True)
            bundle = _decoder.decode(lenient.canonical(text))
    except RecursionError as error:
        raise MessageError(MALFORMED, TOO_DEEP) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(MALFORMED, f"JSON: {error}") from error
    if bundle.resourceMetrics is msgspec.UNSET:
        raise MessageError(NOT_METRICS, "JSON without resourceMetrics")
    return bundle


def _without_nul(escape: re.Match[bytes]) -> bytes:
    return b"" if escape[0] == _NUL else escape[0]


def _strictly(text: bytes) -> MetricsData | None:
    """The request, where nothing in it is odd."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:
        return None


def _decode_protobuf(data: bytes, memory: int) -> MetricsData:
    from lmdp.core.otlp.protobuf import decode_protobuf  # noqa: PLC0415 - LogicMonitor sends JSON; this costs 20 ms

    return decode_protobuf(data, memory)
