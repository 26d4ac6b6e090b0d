"""Hand-made messages at the edges of what is allowed, each with what must become of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zstandard
from opentelemetry.proto.metrics.v1 import metrics_pb2

import strategies
from bundles import HOST, NS, POINT, bundle, gauge, metric, pair, raw, text

MALFORMED, NOT_METRICS, TOO_LARGE = "Decode.Malformed", "Decode.NotMetrics", "Decode.TooLarge"
ROW_TOO_LARGE, BAD_HISTOGRAM, BAD_TIMESTAMP = "Row.TooLarge", "Row.BadHistogram", "Row.BadTimestamp"
MB = 10**6


@dataclass(frozen=True, slots=True)
class Edge:
    """A message, made when it is asked for, and its verdict: `N rows`, `empty`, or the code of its reject.

    `alone`: it is large, and is tried by itself.
    """

    name: str
    make: Callable[[], bytes | None]
    verdict: str
    alone: bool = False


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


_zstd = zstandard.ZstdCompressor(level=1).compress
OK = _json(bundle(gauge()))
_FRAME = b"\x28\xb5\x2f\xfd"  # zstd's magic; what follows is RFC 8878's frame header


def nested(levels: int, kind: str, *, lenient: bool = False) -> bytes:
    """A datapoint with an attribute of so many arrays or key-value lists in each other."""
    before, after = {
        "array": ('{"arrayValue":{"values":[', "]}}"),
        "kvlist": ('{"kvlistValue":{"values":[{"key":"k","value":', "}]}}"),
    }[kind]
    value = before * levels + '{"intValue":"1"}' + after * levels
    more = ",null" if lenient else ""
    return raw(f'{{"timeUnixNano":{NS},"asInt":1,"attributes":[{{"key":"a","value":{value}}}{more}]}}')


def nested_binary(levels: int, kind: str = "array") -> bytes:
    """The same as protobuf."""
    data = metrics_pb2.MetricsData()
    data.ParseFromString(strategies.protobuf(bundle(gauge())))
    point = data.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    value = point.attributes.add(key="a").value
    for _ in range(levels):
        value = value.array_value.values.add() if kind == "array" else value.kvlist_value.values.add(key="k").value
    value.int_value = 1
    return bytes(data.SerializeToString())


def _in_each_other() -> bytes:
    """A resource's attribute of arrays in each other, with lengths of three bytes as no writer writes them."""
    data = b""
    while len(data) < 60_000:
        for tag in (0x0A, 0x2A):  # values, array_value
            data = bytes([tag]) + _length(len(data)) + data
    for tag in (0x12, 0x0A, 0x0A, 0x0A):  # value, attributes, resource, resource_metrics
        data = bytes([tag]) + _length(len(data)) + data
    return data


def _length(number: int) -> bytes:
    """A length in three bytes."""
    return bytes([number & 127 | 128, number >> 7 & 127 | 128, number >> 14])


def _points(count: int) -> bytes:
    return raw(",".join([f'{{"asInt":1,"timeUnixNano":{NS}}}'] * count))


def _histogram(**point: Any) -> Callable[[], bytes]:
    return lambda: _json(bundle(metric("histogram", {"timeUnixNano": NS, **point})))


def _named(name: str) -> bytes:
    return _json(bundle(gauge(name=name)))


def _attributed(attributes: list[Any]) -> bytes:
    return _json(bundle(gauge({**POINT, "attributes": attributes})))


def _scoped(literal: bytes) -> Callable[[], bytes]:
    """`literal` as it stands, in the text of the scope's name."""
    return lambda: OK.replace(b'"CPU"', b'"CPU' + literal + b'"')


def _point(members: str) -> Callable[[], bytes]:
    return lambda: raw(f"{{{members}}}")


_TIME = f'"timeUnixNano":{NS}'

COMPRESSION = (
    Edge("gzip bomb", lambda: _gzip(bytes(100 * MB)), TOO_LARGE),
    Edge("zstd bomb", lambda: _zstd(bytes(100 * MB)), TOO_LARGE),
    Edge("gzip bomb in parts", lambda: _gzip(bytes(MB)) * 70, TOO_LARGE),
    Edge("zstd bomb in parts", lambda: _zstd(bytes(MB)) * 70, TOO_LARGE),
    Edge("bomb in a gzip", lambda: _gzip(_gzip(bytes(100 * MB))), MALFORMED),
    Edge("bomb in a zstd", lambda: _zstd(_gzip(bytes(100 * MB))), MALFORMED),
    Edge("100,000 empty gzips", lambda: _gzip(b"") * 100_000, "empty"),
    Edge("100,000 empty zstds", lambda: _zstd(b"") * 100_000, "empty"),
    Edge("a message in 1,000 gzips", lambda: b"".join(_gzip(OK[n : n + 1]) for n in range(len(OK))), "1 rows"),
    Edge("zstd that claims 2**62 bytes", lambda: _FRAME + b"\xe0" + (2**62).to_bytes(8, "little"), MALFORMED),
    Edge("zstd that wants a window of 3.75 TiB", lambda: _FRAME + b"\x00\xff" + bytes(9), MALFORMED),
    Edge("zstd of a dictionary", lambda: _FRAME + b"\x03\x00" + b"\x01\0\0\0" + bytes(9), MALFORMED),
    Edge("zstd that is skipped", lambda: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + _zstd(OK), MALFORMED),
    Edge("a message of JSON bombs", lambda: _gzip(raw(",".join(["{}"] * 8 * MB))), TOO_LARGE),
    Edge("a message of protobuf bombs", lambda: _gzip(b"\x0a\x00" * 30 * MB), TOO_LARGE),
)
DEPTH = (
    *(
        Edge(f"{levels} x {kind}{', the slow way' if lenient else ''}", made, verdict)
        for kind in ("array", "kvlist")
        for lenient in (False, True)
        for levels, verdict in ((64, "1 rows"), (65, MALFORMED), (300, MALFORMED), (100_000, MALFORMED))
        for made in [lambda levels=levels, kind=kind, lenient=lenient: nested(levels, kind, lenient=lenient)]
    ),
    Edge("49 x array in protobuf", lambda: nested_binary(49), "1 rows"),
    Edge("50 x array in protobuf", lambda: nested_binary(50), MALFORMED),
    Edge("33 x kvlist in protobuf", lambda: nested_binary(33, "kvlist"), "1 rows"),
    Edge("34 x kvlist in protobuf", lambda: nested_binary(34, "kvlist"), MALFORMED),
    Edge("messages in each other to 60 kB", _in_each_other, MALFORMED),
)
SIZE = (
    Edge("a text of 900 kB", lambda: _named("x" * 900_000), "1 rows"),
    Edge("a text of 10 MB", lambda: _named("x" * 10 * MB), ROW_TOO_LARGE),
    Edge("a text of 12 MB of escapes", lambda: _named("\x01" * 2 * MB), ROW_TOO_LARGE),
    Edge("a text of 12 MB of NUL", lambda: _named("\0" * 2 * MB), "Row.MissingField"),
    Edge("an attribute of 10 MB", lambda: _json(bundle(gauge(), attributes=[*HOST, text("a", "x" * 10 * MB)])),
         ROW_TOO_LARGE),
    Edge("10 MB where nobody looks", lambda: OK[:-1] + b',"x":"' + b"x" * 10 * MB + b'"}', "1 rows"),
    Edge("10 MB of white space", lambda: b" " * 10 * MB + OK + b"\n" * 10 * MB, "1 rows"),
    Edge("10 MB of white space alone", lambda: b" " * 10 * MB, "empty"),
    Edge("10 MB of digits", lambda: raw(f'{{{_TIME},"asDouble":{"9" * 10 * MB}}}'), MALFORMED),
    Edge("10 MB of decimals", lambda: raw(f'{{{_TIME},"asDouble":0.{"9" * 10 * MB}}}'), "1 rows"),
    Edge("10 MB of digits as text", lambda: raw(f'{{{_TIME},"asInt":"{"9" * 10 * MB}"}}'), MALFORMED),
    Edge("600,000 attributes", lambda: _attributed([{"key": str(n)} for n in range(600_000)]), ROW_TOO_LARGE, True),
    Edge("a million attributes", lambda: _attributed([{"key": str(n)} for n in range(MB)]), TOO_LARGE, alone=True),
    Edge("half a million datapoints", lambda: _points(500_000), "500000 rows", alone=True),
    Edge("a million datapoints", lambda: _points(MB), TOO_LARGE, alone=True),
)  # fmt: skip
TEXT = (
    Edge("no value", lambda: None, "empty"),
    Edge("nothing", lambda: b"", "empty"),
    Edge("NUL, escaped", _scoped(b"\\u0000"), "1 rows"),
    Edge("NUL", _scoped(b"\x00"), MALFORMED),
    Edge("a line feed", _scoped(b"\n"), MALFORMED),
    Edge("DEL", _scoped(b"\x7f"), "1 rows"),
    Edge("overlong slash", _scoped(b"\xc0\xaf"), MALFORMED),
    Edge("overlong NUL", _scoped(b"\xc0\x80"), MALFORMED),
    Edge("a surrogate's bytes", _scoped(b"\xed\xa0\x80"), MALFORMED),
    Edge("beyond Unicode", _scoped(b"\xf4\x90\x80\x80"), MALFORMED),
    Edge("half a pair", _scoped(b"\\ud800"), MALFORMED),
    Edge("the other half", _scoped(b"\\udc00"), MALFORMED),
    Edge("a pair the wrong way", _scoped(b"\\udc00\\ud800"), MALFORMED),
    Edge("the last character", _scoped("\U0010ffff".encode()), "1 rows"),
    Edge("no character", _scoped("\uffff".encode()), "1 rows"),
    Edge("a BOM within", _scoped("\ufeff".encode()), "1 rows"),
    Edge("two BOMs", lambda: b"\xef\xbb\xbf" * 2 + OK, MALFORMED),
    Edge("UTF-16 without a BOM", lambda: OK.decode().encode("utf-16-le"), MALFORMED),
    Edge("UTF-32", lambda: OK.decode().encode("utf-32"), MALFORMED),
    Edge("Latin-1", lambda: OK.replace(b"CPU", "é".encode("latin-1")), MALFORMED),
)
NUMBERS = (
    Edge("the smallest double", _point(f'{_TIME},"asDouble":5e-324'), "1 rows"),
    Edge("less than that", _point(f'{_TIME},"asDouble":"1e-999999"'), "1 rows"),
    Edge("a long exponent", _point(f'{_TIME},"asDouble":"1e-99999999999999999999"'), MALFORMED),
    Edge("the largest double", _point(f'{_TIME},"asDouble":1.7976931348623157e308'), "1 rows"),
    Edge("more than that", _point(f'{_TIME},"asDouble":1.7976931348623159e308'), MALFORMED),
    Edge("400 digits", _point(f'{_TIME},"asDouble":{"9" * 400}'), MALFORMED),
    Edge("hexadecimal", _point(f'{_TIME},"asDouble":"0x10"'), MALFORMED),
    Edge("a plus", _point(f'{_TIME},"asDouble":"+1.5"'), MALFORMED),
    Edge("no whole part", _point(f'{_TIME},"asDouble":".5"'), MALFORMED),
    Edge("no value at all", _point(_TIME), "0 rows"),
    Edge("both values", _point(f'{_TIME},"asDouble":1,"asInt":2'), "1 rows"),
    Edge("a count of -1", _histogram(count=-1), MALFORMED),
    Edge("a count of 2**64 - 1", _histogram(count=2**64 - 1), "1 rows"),
    Edge("a count of 2**64", _histogram(count=2**64), MALFORMED),
    Edge("buckets whose sum needs more than 64 bits", _histogram(bucketCounts=[2**64 - 1] * 3, explicitBounds=[1, 2]),
         "4 rows"),
    Edge("a bucket of -1", _histogram(bucketCounts=[-1]), MALFORMED),
    Edge("a bucket too few", _histogram(bucketCounts=[1, 2], explicitBounds=[1, 2]), BAD_HISTOGRAM),
    Edge("bounds that fall", _histogram(bucketCounts=[1, 2, 3], explicitBounds=[2, 1]), BAD_HISTOGRAM),
    Edge("bounds that stay", _histogram(bucketCounts=[1, 2, 3], explicitBounds=[1, 1]), BAD_HISTOGRAM),
    Edge("a bound that is no number", _histogram(bucketCounts=[1, 2], explicitBounds=["NaN"]), BAD_HISTOGRAM),
    Edge("negative bounds", _histogram(bucketCounts=[1, 2, 3], explicitBounds=[-2, -1]), "4 rows"),
)  # fmt: skip
TIMES = (
    Edge("no time", _point('"asInt":1'), BAD_TIMESTAMP),
    Edge("time 0", _point('"asInt":1,"timeUnixNano":0'), BAD_TIMESTAMP),
    Edge("before 1970", _point('"asInt":1,"timeUnixNano":-1'), MALFORMED),
    Edge("milliseconds for nanoseconds", _point(f'"asInt":1,"timeUnixNano":{NS // 10**6}'), "1 rows"),
    Edge("2**63 ns", _point(f'"asInt":1,"timeUnixNano":{2**63}'), "1 rows"),
    Edge("2**64 - 1 ns", _point(f'"asInt":1,"timeUnixNano":{2**64 - 1}'), "1 rows"),
    Edge("2**64 ns", _point(f'"asInt":1,"timeUnixNano":{2**64}'), MALFORMED),
    Edge("a fraction of a nanosecond", _point(f'"asInt":1,"timeUnixNano":{NS}.5'), MALFORMED),
    Edge("the start after the end", _point(f'{_TIME},"asInt":1,"startTimeUnixNano":{2**64 - 1}'), "1 rows"),
)
TWICE = (
    Edge("resourceMetrics twice", lambda: OK[:-1] + b',"resourceMetrics":[]}', "0 rows"),
    Edge("resourceMetrics twice, null first", lambda: b'{"resourceMetrics":null,' + OK[1:], "1 rows"),
    Edge("a value twice", _point(f'{_TIME},"asInt":1,"asInt":2'), "1 rows"),
    Edge("a value, then null", _point(f'{_TIME},"asInt":1,"asInt":null'), "0 rows"),
    Edge("a time twice", _point(f'"timeUnixNano":0,"asInt":1,{_TIME}'), "1 rows"),
    Edge("attributes twice", _point(f'{_TIME},"asInt":1,"attributes":[{{"key":"a"}}],"attributes":[]'), "1 rows"),
    Edge("a scope's name twice", lambda: raw(f'{{{_TIME},"asInt":1}}', '{"name":"","name":"CPU"}'), "1 rows"),
    Edge("an attribute of two kinds",
         lambda: _attributed([pair("a", stringValue="x", intValue=1)]), "1 rows"),
    Edge("a metric of two kinds", lambda: _json(bundle({**gauge(), **metric("sum", POINT)})), "2 rows"),
)  # fmt: skip


EDGES = (*COMPRESSION, *DEPTH, *SIZE, *TEXT, *NUMBERS, *TIMES, *TWICE)
