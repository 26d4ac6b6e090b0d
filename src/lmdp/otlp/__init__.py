"""Bytes to bundle: OTLP/JSON or protobuf, compressed or not, into structs."""

from __future__ import annotations

import msgspec

from lmdp.otlp import lenient
from lmdp.otlp.compression import decompress
from lmdp.otlp.model import MetricsData
from lmdp.otlp.weight import MEMORY, weigh_json
from lmdp.refusals import MALFORMED, NOT_METRICS, TOO_DEEP, Refused

__all__ = ["decode", "decompress"]

_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_decoder = msgspec.json.Decoder(MetricsData)


def decode(value: bytes, limit: int, memory: int = MEMORY) -> MetricsData | None:
    """Read one message's value; None where it is blank.

    `limit`: bytes after decompression; `memory`: bytes that it may take once it is read.

    Raises Refused with a `Decode.` code.
    """
    data = decompress(value, limit)
    text = data.lstrip(_BLANK)
    if text.startswith(_BOM):
        text = text[len(_BOM) :].lstrip(_BLANK)
    if not text:
        return None
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
        try:
            bundle = _decoder.decode(text)
        except msgspec.ValidationError:
            weigh_json(text, memory, lenient=True)
            bundle = _decoder.decode(lenient.canonical(text))
    except RecursionError as error:
        raise Refused(MALFORMED, TOO_DEEP) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(MALFORMED, f"JSON: {error}") from error
    if bundle.resourceMetrics is msgspec.UNSET:
        raise Refused(NOT_METRICS, "JSON without resourceMetrics")
    return bundle


def _decode_protobuf(data: bytes, memory: int) -> MetricsData:
    from lmdp.otlp.protobuf import decode_protobuf  # noqa: PLC0415 - LogicMonitor sends JSON; this costs 20 ms

    return decode_protobuf(data, memory)
