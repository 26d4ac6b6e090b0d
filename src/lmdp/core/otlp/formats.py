"""Formats that are not an OTLP metrics request and arrive as one: what a rejected message looks like, and the remedy.

Nothing here decides what a message is: it only explains a refusal. Each check reads a bounded part of the message.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from lmdp.core.otlp.compression import GZIP, ZSTD, stripped
from lmdp.errors import MALFORMED, NOT_METRICS, TOO_DEEP, MessageError

_HEAD: Final = 4_096  # bytes that are looked at
_MOST_FRAMES: Final = 100_000
_RAW: Final = "send the OTLP request itself, with a serializer for bytes or strings"
_COMPRESS: Final = "use gzip or zstd, or let Kafka compress (compression.type)"
_SPLIT: Final = "send each as a message of its own"
_ONE_EACH: Final = f"{_SPLIT}; in a file, one a line, named .jsonl"
_REGISTRY: Final = "let the producer send without a registry: a serializer for bytes or strings"
_OWN_TOPIC: Final = "give them a topic of their own"

_MAGIC: Final = (
    (b"\x04\x22\x4d\x18", "an LZ4 frame", _COMPRESS),
    (b"\x02\x21\x4c\x18", "an LZ4 frame of the old format", _COMPRESS),
    (b"LZ4Block", "an LZ4 block stream of Java", _COMPRESS),
    (b"\xff\x06\x00\x00sNaPpY", "a Snappy stream", _COMPRESS),
    (b"\x82SNAPPY\x00", "a Snappy stream of Java", _COMPRESS),
    (b"BZh", "bzip2", _COMPRESS),
    (b"\xfd7zXZ\x00", "xz", _COMPRESS),
    (b"PK\x03\x04", "a ZIP archive", _COMPRESS),
    (b"Obj\x01", "an Avro file", _RAW),
    (b"PAR1", "a Parquet file", _RAW),
    (b"\xac\xed\x00\x05", "a serialized Java object", _RAW),
)
_UTF: Final = (
    # UTF-32 first: its mark begins with that of UTF-16.
    ("UTF-32", re.compile(rb"\xff\xfe\0\0|\0\0\xfe\xff|[{\[\"]\0\0\0|\0\0\0[{\[\"]\0\0\0")),
    ("UTF-16", re.compile(rb"\xff\xfe|\xfe\xff|([ \t\r\n]\0)*[{\[\"]\0[^\0]\0|(\0[ \t\r\n])*\0[{\[\"]\0[^\0]")),
)
_OBJECTS: Final = (
    # The first of the keys that is in it decides.
    ("resourceLogs", "OTLP logs", _OWN_TOPIC),
    ("resourceSpans", "OTLP traces", _OWN_TOPIC),
    ("resourceProfiles", "OTLP profiles", _OWN_TOPIC),
    (
        "scopeMetrics",
        "a bare ResourceMetrics, as Java's OtlpJsonLoggingMetricExporter writes it",
        'send {"resourceMetrics": [ … ]} around it',
    ),
    ("instrumentationLibraryMetrics", "a bare ResourceMetrics of OTLP before 1.0", "send OTLP 1.0 or later"),
    ("rawData", "a reject or a failed Firehose record", "give it to `lmdp replay`"),
    ("payload", "Kafka Connect's envelope", "set value.converter.schemas.enable=false"),
    ("specversion", "a CloudEvent", _RAW),
    ("metrics", "a bare ScopeMetrics", 'send {"resourceMetrics": [{"scopeMetrics": [ … ]}]} around it'),
    ("dataPoints", "the bare data of a metric", "send the whole request"),
)
_KINDS: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_BARE_METRIC: Final = (
    "a bare Metric",
    'send {"resourceMetrics": [{"scopeMetrics": [{"metrics": [ … ]}]}]} around it',
)
_PROMETHEUS: Final = re.compile(
    rb"\s*(#\s*(HELP|TYPE|UNIT|EOF)\b"
    rb"|[a-zA-Z_:][\w:]*(\{[^}\n]*\})?[ \t]+[-+]?([0-9.eE+-]+|Inf|NaN)([ \t]+-?[0-9.]+)?[ \t]*\r?(\n|$))"
)
_NOT_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{8,}[A-Za-z0-9+/_\r\n-]*={0,2}\s*")
_HEX: Final = re.compile(rb"(0[xX]|\\x)?([0-9a-fA-F]{2}){4,}\s*")
_NAKED: Final = re.compile(rb"[:\[,]\s*[-+]?(NaN|Infinity|inf|nan)\b")

Look = tuple[str, str]
"""The format that it looks like, and the remedy."""


def described(refused: MessageError, data: bytes, memory: int) -> MessageError:
    """The same refusal, with what `data` looks like where that is known; `memory` bounds what reading it may take."""
    if refused.code not in (MALFORMED, NOT_METRICS) or refused.text == TOO_DEEP:
        return refused
    code = refused.code
    look = next(_looks(data), None)
    if look is None and not data.startswith(b"{"):
        look = _SHAPES.get(_shape(data, memory))
        code = NOT_METRICS if look else code  # it can be read, as what it is
    return MessageError(code, f"{refused.text}. It looks like {look[0]}: {look[1]}") if look else refused


def _looks(data: bytes) -> Iterator[Look]:
    """Each thing that `data` looks like, the likeliest first."""
    head = data[:_HEAD]
    for name, mark in _UTF:
        if mark.match(head):
            yield name, "let the producer write UTF-8"
    yield from _framed(data)
    for magic, name, remedy in _MAGIC:
        if head.startswith(magic):
            yield name, remedy
    if len(head) > 2 and head[0] & 15 == 8 and head[0] >> 4 < 8 and int.from_bytes(head[:2], "big") % 31 == 0:
        yield "zlib", _COMPRESS  # https://www.rfc-editor.org/rfc/rfc1950#section-2.2
    if b"__name__" in head[:512] and head[:1] not in (b"{", b"["):
        yield "Prometheus remote write", "send it through a Collector (prometheusremotewrite receiver) as OTLP"
    yield from _led(data, head)
    text = stripped(data)
    if text.startswith(b"{"):
        yield from _object(text)
    elif _is_text(text[:_HEAD]):
        yield from _text(text, text[:_HEAD])


def _framed(data: bytes) -> Iterator[Look]:
    """Bytes before the message, as serializers and streams put them there."""
    if data[:1] == b"\0" and len(data) > 5:
        number = int.from_bytes(data[1:5], "big")
        if number == len(data) - 5:
            yield "a gRPC frame", "leave its first 5 bytes out"
        elif _is_chain(data, _big_endian):
            yield "messages with their lengths before them, as the Collector's file exporter writes protobuf", _SPLIT
        else:
            yield f"a message in Confluent's Schema Registry frame (schema id {number})", _REGISTRY
    elif data[:1] == b"\1" and len(data) > 17:
        yield f"a message in Confluent's Schema Registry frame (schema {data[1:17].hex()})", _REGISTRY
    elif data[:2] in (b"\3\0", b"\3\5") and len(data) > 18:
        yield f"a message in AWS Glue's schema registry frame (schema version {data[2:18].hex()})", _REGISTRY
    elif _is_chain(data, _varint):
        yield "messages with their lengths before them, as CloudWatch metric streams write them", _SPLIT


def _led(data: bytes, head: bytes) -> Iterator[Look]:
    """JSON with other bytes before it."""
    at = head.find(b'{"resource', 1, 64)
    if at < 0 or _is_text(head[:at]):
        return
    # https://github.com/google/snappy/blob/main/format_description.txt
    if len(data) - at <= _varint(data, 0)[0] <= 100 * len(data):
        yield "a Snappy block", _COMPRESS
    yield f"JSON with {at} other bytes before it", _RAW


def _is_chain(data: bytes, length: Callable[[bytes, int], tuple[int, int]]) -> bool:
    """Return whether `data` is nothing but lengths, each with so many bytes behind it that begin as OTLP does."""
    at = 0
    for _ in range(_MOST_FRAMES):
        size, start = length(data, at)
        if not size or data[start : start + 1] not in (b"\n", b"{"):
            return False
        at = start + size
        if at >= len(data):
            return at == len(data)
    return False


def _big_endian(data: bytes, at: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + 4], "big"), at + 4


def _varint(data: bytes, at: int) -> tuple[int, int]:
    size = 0
    for shift, byte in enumerate(data[at : at + 5]):
        size |= (byte & 127) << 7 * shift
        if byte < 128:
            return size, at + shift + 1
    return 0, at


def _text(data: bytes, head: bytes) -> Iterator[Look]:
    if head.startswith(b"["):
        yield "a JSON array", _ONE_EACH
    elif head.startswith(b'"'):
        inner = head[1:].lstrip(b" \\nrt")
        packed = next(_encoded(data, inner.rstrip(b'"\r\n')), None)
        holds = " that holds JSON" if inner[:1] in (b"{", b"[") else f" that holds {packed[0]}" if packed else ""
        yield f"a JSON string{holds}", "the producer serializes twice; send its content, with a serializer for strings"
    elif re.match(rb"<[a-zA-Z!?]", head):
        is_html = re.search(rb"<(!doctype\s+html|html|head|body)\b", head, re.IGNORECASE)
        yield ("HTML, as a proxy or a login page writes it" if is_html else "XML"), _RAW
    elif re.match(rb"b?['\"]\{", head):
        yield "Python's repr of a text", _RAW
    yield from _encoded(data, head)
    if _PROMETHEUS.match(head):
        yield "Prometheus' text exposition", "send it through a Collector (prometheus receiver) as OTLP"
    lines = [line for line in head.splitlines()[:3] if line.strip()][:2]
    for separator in (b",", b";", b"\t"):
        counts = {line.count(separator) for line in lines}
        if len(counts) == 1 and 0 not in counts:
            yield "CSV", "send OTLP"
    yield "plain text", "send OTLP/JSON or OTLP protobuf"


def _encoded(data: bytes, head: bytes) -> Iterator[Look]:
    """Text that is made of bytes."""
    name, inner = "", b""
    with contextlib.suppress(ValueError):
        if _HEX.fullmatch(head):
            name, inner = (
                "hexadecimal text",
                bytes.fromhex(head.decode().strip().removeprefix("0x").removeprefix("\\x")),
            )
        elif _BASE64.fullmatch(head):
            packed = b"".join(head.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
            name, inner = "base64", base64.b64decode(packed[: len(packed) // 4 * 4])
    kinds = ((b"{", "JSON"), (GZIP, "gzip"), (ZSTD, "zstd"), (b"\n", "protobuf"))
    kind = next((kind for start, kind in kinds if inner.lstrip(b" ").startswith(start)), "")
    if kind and (kind != "protobuf" or 0 < _varint(inner, 1)[0] <= len(data)):
        yield f"{name} of {kind}", "send the bytes themselves"


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if len(head) < _HEAD or error.start < _HEAD - 4:  # a character may be cut at the end
            return False
    return not _NOT_TEXT.search(head)


def _object(text: bytes) -> Iterator[Look]:
    """Name what begins with a brace: JSON of another shape, more than one document, or what only looks like JSON."""
    members: dict[str, msgspec.Raw] = {}
    try:
        members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        trailing = re.search(r"trailing characters \(byte (\d+)\)", str(error))
        if trailing and text[int(trailing[1]) - 1 :].lstrip()[:1] == b"{":
            yield "several JSON documents", _ONE_EACH
        elif text[1:_HEAD].lstrip()[:1] == b"'":
            yield "Python's repr of a dict", "write JSON: json.dumps"
        elif _NAKED.search(text[:_HEAD]):
            yield "JSON with a bare NaN or Infinity", 'write "NaN", "Infinity" or "-Infinity" in quotes'
    except (RecursionError, UnicodeDecodeError):
        pass
    keys = {re.sub("_([a-z])", lambda letter: letter[1].upper(), key) for key in members}
    if "resourceMetrics" not in keys:
        yield from ((what, remedy) for key, what, remedy in _OBJECTS if key in keys)
        if keys.intersection(_KINDS):
            yield _BARE_METRIC


def _shape(data: bytes, memory: int) -> str:
    from lmdp.core.otlp.protobuf import shape  # noqa: PLC0415 - only where something was refused

    return shape(data, memory)


_SHAPES: Final = {
    "LogsData": ("OTLP logs", _OWN_TOPIC),
    "TracesData": ("OTLP traces", _OWN_TOPIC),
    "ResourceMetrics": ("a bare ResourceMetrics", "send it as a resource_metrics of a MetricsData"),
    "ScopeMetrics": ("a bare ScopeMetrics", "send it within a ResourceMetrics within a MetricsData"),
    "Metric": ("a bare Metric", "send it within a MetricsData"),
}


def outdated(field: str) -> str:
    """Return the reason for a message whose data is in `field`, which OTLP 1.0 no longer has."""
    return f"its data is in `{field}`, which only OTLP before 1.0 has: let the sender write OTLP 1.0 or later"
