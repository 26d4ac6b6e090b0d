"""OTLP bundles for hypothesis, and other spellings of the same bundle.

A bundle is a dict as `json.loads` gives it, in the plainest spelling: integers and enums as numbers, nothing null.
"""

from __future__ import annotations

import base64
import json
import math
import random
import re
from typing import Any

from google.protobuf import json_format
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1 import metrics_pb2

Json = dict[str, Any]

NAMED = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
MOSTLY = st.sampled_from([True] * 7 + [False])
INT64 = st.one_of(
    st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**63 - 1, -(2**63), 10**17 + 1]),
    st.integers(-(2**63), 2**63 - 1),
)
UINT64 = st.one_of(st.sampled_from([0, 1, 7, 2**53, 2**53 + 1, 2**63, 2**64 - 1]), st.integers(0, 1000))
FINITE = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 1.0, 42.5, -1e-9, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 2.0**53]),
    st.floats(allow_nan=False, allow_infinity=False),
)
DOUBLE = st.one_of(FINITE, FINITE, st.sampled_from(list(NAMED.values())))
TEXT = st.one_of(
    st.sampled_from(
        [
            "",
            "a",
            "\x00",
            "a\x00\x00b",
            "Volume Usage-",
            "C:\\",
            "pc-0/2/0",
            "Gerät ü",
            "日本",
            "\U0001f600",
            '"',
            "\x00\x1f\x7f",
            "\u2028",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
KEY = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "",
            "orgId",
            "hostId",
            "hostName",
            "host.id",
            "host.name",
            "service.name",
            "service.instance.id",
            "epoch",
            "dataSourceInstanceName",
            "wildValue",
            "name",
            "version",
            "le",
            "quantile",
            "host\x00Id",
            "\x00",
            "\uffff",
            "\U00010000",
            "ключ",
            "otlp",
            "otlp.",
            "otlp.temporality",
            "otlp.monotonic",
            "otlp.startTimeUnixMs",
            "otlp.intValue",
            "otlq",
        ]
    ),
    TEXT,
)
EPOCH = st.sampled_from(
    [
        "1715263558",
        "1715263558360",
        "1715263558360999",
        "1715263558360999999",
        "1715263558.36",
        "0",
        "-1",
        "soon",
        "",
        "99999999999",
        "100000000000",
        "99999999999999",
        "100000000000000",
        "99999999999999999",
        "100000000000000000",
        "9" * 30,
    ]
)
NS = st.sampled_from(
    [
        1715263558360000000,
        0,
        1,
        999_999,
        1_000_000,
        1715263558360000000,
        1715263558360999999,
        2**63,
        2**64 - 1,
        1715263558360000000 + 10**6,
    ]
)
KAFKA_MS = st.sampled_from([None, 0, -1, 1, 1715263558360, 253402300799999, 253402300800000, 2**63 - 1])
ORG_ID = st.sampled_from([None, "", "acme", "Zoë"])


def _some(items: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    """Lists of one to `most`, and now and then none."""
    return st.builds(lambda found, kept: found if kept else [], st.lists(items, min_size=1, max_size=most), MOSTLY)


def _optional(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=members)


def _values() -> st.SearchStrategy[Json]:
    scalar = st.one_of(
        st.builds(lambda v: {"stringValue": v}, TEXT),
        st.builds(lambda v: {"boolValue": v}, st.booleans()),
        st.builds(lambda v: {"intValue": v}, INT64),
        st.builds(lambda v: {"doubleValue": v}, DOUBLE),
        st.builds(lambda v: {"bytesValue": base64.b64encode(v).decode()}, st.binary(max_size=5)),
        st.just({}),
    )

    def nested(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
        return st.one_of(
            st.builds(lambda v: {"arrayValue": {"values": v}}, st.lists(inner, max_size=3)),
            st.builds(lambda v: {"kvlistValue": {"values": v}}, _pairs(inner, max_size=3)),
        )

    return st.recursive(scalar, nested, max_leaves=4)


def _pairs(values: st.SearchStrategy[Json], max_size: int = 4) -> st.SearchStrategy[list[Json]]:
    return st.lists(st.fixed_dictionaries({"key": KEY}, optional={"value": values}), max_size=max_size)


VALUE = _values()
ATTRIBUTES = _pairs(VALUE)
POINT: dict[str, st.SearchStrategy[Any]] = {
    "attributes": ATTRIBUTES,
    "timeUnixNano": NS,
    "startTimeUnixNano": NS,
    "flags": st.sampled_from([0, 0, 0, 0, 2, 2, 1, 3]),
}
EXEMPLARS = {"exemplars": st.lists(st.just({"asDouble": 1.5, "timeUnixNano": 1}), max_size=2)}
STATISTICS: dict[str, st.SearchStrategy[Any]] = {"count": UINT64, "sum": DOUBLE, "min": DOUBLE, "max": DOUBLE}
COUNTS = st.lists(UINT64, max_size=4)
BUCKETS = _optional(
    offset=st.one_of(st.integers(-5, 5), st.sampled_from([-2000, 2000, 2**31 - 1, -(2**31)])), bucketCounts=COUNTS
)


@st.composite
def _explicit(draw: st.DrawFn) -> Json:
    """A histogram's datapoint, its buckets and bounds mostly of one mind."""
    point: Json = draw(_optional(**POINT, **EXEMPLARS, **STATISTICS))
    bounds: list[Any] = sorted(set(draw(st.lists(FINITE, max_size=3))))
    shape = draw(st.sampled_from(["fits", "fits", "fits", "infinite", "none", "short", "falls", "bounds only"]))
    more: dict[str, list[Any]] = {"infinite": ["Infinity"], "falls": [-1e300]}
    bounds += more.get(shape, [])
    if shape in ("fits", "infinite", "short", "falls"):
        size = len(bounds) + (shape != "short")
        point["bucketCounts"] = draw(st.lists(UINT64, min_size=size, max_size=size))
    if shape != "none":
        point["explicitBounds"] = bounds
    return point


NUMBER = st.one_of(
    _optional(**POINT, **EXEMPLARS, asDouble=DOUBLE),
    st.builds(lambda point, value: {**point, "asDouble": value}, _optional(**POINT, **EXEMPLARS), DOUBLE),
    st.builds(lambda point, value: {**point, "asInt": value}, _optional(**POINT, **EXEMPLARS), INT64),
)
EXPONENTIAL = _optional(
    **POINT,
    **EXEMPLARS,
    **STATISTICS,
    scale=st.sampled_from([-1100, -11, -1, 0, 1, 3, 20, 60, 2000]),
    zeroCount=UINT64,
    zeroThreshold=st.sampled_from([0.0, -0.0, 1e-6, 2.0, 3.0, -1.0, "NaN"]),
    positive=BUCKETS,
    negative=BUCKETS,
)
QUANTILES = st.lists(_optional(quantile=st.sampled_from([0.0, 0.5, 0.99, 1.0]), value=DOUBLE), max_size=3)
SUMMARY = _optional(**POINT, count=UINT64, sum=DOUBLE, quantileValues=QUANTILES)
TEMPORALITY = st.sampled_from([0, 1, 2])


def _data(point: st.SearchStrategy[Json], **members: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"dataPoints": _some(point, 3)}, optional=members)


DATA = st.one_of(
    st.builds(lambda data: {"gauge": data}, _data(NUMBER)),
    st.builds(lambda data: {"sum": data}, _data(NUMBER, aggregationTemporality=TEMPORALITY, isMonotonic=st.booleans())),
    st.builds(lambda data: {"histogram": data}, _data(_explicit(), aggregationTemporality=TEMPORALITY)),
    st.builds(lambda data: {"exponentialHistogram": data}, _data(EXPONENTIAL, aggregationTemporality=TEMPORALITY)),
    st.builds(lambda data: {"summary": data}, _data(SUMMARY)),
    st.just({}),
    st.builds(
        lambda kind, points: {kind: {"dataPoints": points}},
        st.sampled_from(["intGauge", "intSum", "intHistogram"]),
        st.lists(st.fixed_dictionaries({"timeUnixNano": st.just(1), "value": st.integers(1, 9)}), max_size=2),
    ),
)
"""A metric's data: of one of the five kinds, of none, or of one of OTLP before 0.9."""

NAME = st.one_of(st.sampled_from(["CPUBusyPercent", "cpu.busy"]), st.sampled_from(["ifInOctets", "日本"]), TEXT)
METRIC = st.builds(
    lambda about, data: {**about, **data},
    st.fixed_dictionaries({"name": NAME}, optional={"unit": TEXT, "description": TEXT}),
    DATA,
)


@st.composite
def _scope(draw: st.DrawFn) -> Json:
    scope: Json = draw(_optional(name=TEXT, version=TEXT, attributes=ATTRIBUTES))
    if draw(MOSTLY):
        scope["name"] = "Volume Usage-"
    if draw(MOSTLY):
        kind = draw(st.sampled_from(["stringValue", "stringValue", "intValue", "doubleValue"]))
        text = draw(EPOCH)
        value: Any = text
        if kind != "stringValue":
            value = int(text) if text.isdecimal() and len(text) < 19 else 1715263558360
            value = value if kind == "intValue" else float(value)
        scope.setdefault("attributes", []).append({"key": "epoch", "value": {kind: value}})
    return scope


@st.composite
def _resource(draw: st.DrawFn) -> Json:
    """A resource that mostly knows its device and, now and then, its tenant."""
    attributes = draw(ATTRIBUTES)
    for key, odds in (("hostId", MOSTLY), ("orgId", st.sampled_from([False, False, True]))):
        if draw(odds):
            known = draw(st.sampled_from([True, True, True, False]))
            attributes.append({"key": key, "value": {"stringValue": "4711"} if known else draw(VALUE)})
    return {"attributes": attributes}


@st.composite
def _part(draw: st.DrawFn, inside: str, inner: st.SearchStrategy[Any], key: str, head: st.SearchStrategy[Any]) -> Json:
    """A resource's or a scope's part of a bundle; now and then it lacks its head."""
    part: Json = {inside: draw(_some(inner, 2))}
    if draw(MOSTLY):
        part[key] = draw(head)
    return part


_SCOPE_METRICS = _part("metrics", METRIC, "scope", _scope())
_RESOURCE_METRICS = _part("scopeMetrics", _SCOPE_METRICS, "resource", _resource())
BUNDLE: st.SearchStrategy[Json] = st.fixed_dictionaries({"resourceMetrics": _some(_RESOURCE_METRICS, 2)})
"""Any bundle that protobuf can say as well."""


def protobuf(bundle: Json) -> bytes:
    """`bundle` as protobuf."""
    message = metrics_pb2.MetricsData()
    json_format.ParseDict(bundle, message, ignore_unknown_fields=True)
    for part, resource in zip(message.resource_metrics, bundle["resourceMetrics"], strict=True):
        for scope, scopes in zip(part.scope_metrics, resource["scopeMetrics"], strict=True):
            for metric, given in zip(scope.metrics, scopes["metrics"], strict=True):
                for kind in OLD.keys() & given.keys():
                    points = [
                        b"\x19%b\x21%b" % (_fixed(p["timeUnixNano"]), _fixed(p["value"]))
                        for p in given[kind]["dataPoints"]
                    ]
                    metric.MergeFromString(field(OLD[kind], b"".join(field(1, point) for point in points)))
    return bytes(message.SerializeToString())


OLD = {"intGauge": 4, "intSum": 6, "intHistogram": 8}
"""Data of OTLP before 0.9, and its numbers."""


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf, of fewer than 128 bytes."""
    tag = number << 3 | 2
    assert len(content) < 128
    return (bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])) + bytes([len(content)]) + content


def _fixed(number: int) -> bytes:
    return number.to_bytes(8, "little")


_INTEGERS = {"timeUnixNano", "startTimeUnixNano", "asInt", "count", "zeroCount", "intValue", "offset", "scale", "flags"}
_DOUBLES = {"asDouble", "sum", "min", "max", "quantile", "value", "zeroThreshold", "doubleValue"}
_OBJECTS = {"resourceMetrics", "scopeMetrics", "metrics", "dataPoints", "attributes"}
_ENUM = ["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"]


def respelled(bundle: Json, seed: int) -> bytes:
    """The same bundle in another of the spellings that the contract allows; `seed` chooses."""
    chance = random.Random(seed)
    text = json.dumps(
        _spelled("", bundle, chance),
        ensure_ascii=chance.random() < 0.5,
        indent=chance.choice([None, 1]),
    )
    text = _TOKEN.sub(r"\1", text)
    return chance.choice(["", "\ufeff", " \r\n\t"]).encode() + text.encode()


_TOKEN = re.compile('"<<([-0-9.eE+]+)>>"')


def snake(name: str) -> str:
    """A field's name as in the .proto file."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _spelled(key: str, value: Any, chance: random.Random) -> Any:
    if key in OLD:
        return value
    if isinstance(value, dict):
        members = [(name, _spelled(name, inner, chance)) for name, inner in value.items()]
        members += [(name, chance.choice([None, 1, "", [{}]])) for name in ("unknownField",) if chance.random() < 0.1]
        members += [(name, None) for name in ("unit", "flags", "asInt", "sum", "attributes") if name not in value]
        chance.shuffle(members)
        return {snake(name) if chance.random() < 0.3 else name: inner for name, inner in members}
    if isinstance(value, list):
        items = [_spelled(_ITEM.get(key, ""), item, chance) for item in value]
        return [*items, None] if key in _OBJECTS and chance.random() < 0.3 else items
    if key == "aggregationTemporality":
        return chance.choice([value, _ENUM[value], str(value), f"<<{value}.0>>", f"<<{value}e0>>", f"{value}.0"])
    if key in _INTEGERS:
        return _integer(value, chance)
    return _double(value, chance) if key in _DOUBLES else value


_ITEM = {"bucketCounts": "count", "explicitBounds": "sum"}


def _integer(value: int, chance: random.Random) -> Any:
    ways: list[Any] = [value, str(value), f"{value}.0", f"<<{value}.0>>", f"<<{value}e0>>"]
    if abs(value) < 2**53:
        ways.append(float(value))
    if value % 1000 == 0:
        ways.append(f"{value // 1000}e3")
    return chance.choice(ways)


def _double(value: float | str, chance: random.Random) -> Any:
    if isinstance(value, str):
        return value
    ways: list[Any] = [value, repr(value)]
    if math.fabs(value) < 2**53 and value.is_integer() and math.copysign(1, value) > 0:
        ways.append(int(value))
    if value == 0 and math.copysign(1, value) < 0:
        ways.append("<<-0>>")
    return chance.choice(ways)
