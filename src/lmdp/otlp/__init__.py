"""Bytes to bundle: OTLP/JSON or protobuf, compressed or not, into structs."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from lmdp.otlp import lenient
from lmdp.otlp.formats import described
from lmdp.otlp.compression import decompress
from lmdp.otlp.model import MetricsData
from lmdp.otlp.weight import MEMORY, weigh_json
from lmdp.refusals import MALFORMED, NOT_METRICS, TOO_DEEP, Refused

__all__ = ["decode", "decompress"]

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_ESCAPE: Final = re.compile(rb"\\(?:u0000|.)", re.DOTALL)
_NUL: Final = b"\\u0000"
# As a number, not as an end of a text: the search runs from the literal, since it is run over every message.
_NEGATIVE_ZERO: Final = re.compile(rb"-0(?<=[:\[,\s]-0)(?![.0-9eE\"])")
_decoder = msgspec.json.Decoder(MetricsData)


def decode(value: bytes, limit: int, memory: int = MEMORY) -> MetricsData | None:
    """Read one message's value; None where it is blank.

    `limit`: bytes after decompression; `memory`: bytes that it may take once it is read.

    Raises Refused with a `Decode.` code; where it is known what the message looks like, the reason says so.
    """
    data = decompress(value, limit)
    text = data.lstrip(_BLANK)
    if text.startswith(_BOM):
        text = text[len(_BOM) :].lstrip(_BLANK)
    if not text:
        return None
    try:
        return _decoded(data, text, memory)
    except Refused as refused:
        raise described(refused, text if text.startswith(b"{") else data, memory) from refused.__cause__


def _decoded(data: bytes, text: bytes, memory: int) -> MetricsData:
    if not text.startswith(b"{"):
        return _decode_protobuf(data, memory)
    try:
        return decode_json(text, memory)
    except Refused as refused:
        # A protobuf message whose first part has 123 bytes begins with a line feed and a brace.
        if not data.startswith(b"\n"):
            raise
        try:
            return _decode_protobuf(data, memory)
        except Refused:
            raise refused from None


def decode_json(text: bytes, memory: int) -> MetricsData:
    """Read an OTLP/JSON metrics request. Raises Refused."""
    weigh_json(text, memory)
    try:
        if not text.isascii():
            text.decode()  # what is skipped below is not looked at
        bundle = _read(_without_nul(text), memory)
    except RecursionError as error:
        raise Refused(MALFORMED, TOO_DEEP) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(MALFORMED, f"JSON: {error}") from error
    if bundle.resourceMetrics is msgspec.UNSET:
        raise Refused(NOT_METRICS, "JSON without resourceMetrics")
    return bundle


def _read(text: bytes, memory: int) -> MetricsData:
    if _NEGATIVE_ZERO.search(text) is None:  # which the strict reader takes for an integer: the sign would be lost
        try:
            return _decoder.decode(text)
        except msgspec.ValidationError:
            pass
    weigh_json(text, memory, lenient=True)
    return _decoder.decode(lenient.canonical(text))


def _without_nul(text: bytes) -> bytes:
    """The same JSON with U+0000 taken out of its texts and keys."""
    if b"\\" not in text or _NUL not in text:
        return text
    return _ESCAPE.sub(lambda found: b"" if found[0] == _NUL else found[0], text)


def _decode_protobuf(data: bytes, memory: int) -> MetricsData:
    from lmdp.otlp.protobuf import decode_protobuf  # noqa: PLC0415 - LogicMonitor sends JSON; this costs 20 ms

    return decode_protobuf(data, memory)
