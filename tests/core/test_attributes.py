"""The three maps: types kept, keys sorted, the last of a key wins, the reserved keys are ours."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

import strategies
from bundles import NS, POINT, bundle, gauge, metric, pair, run, text

BYTES = [
    (pair("a", stringValue=""), '""'),
    (pair("a", stringValue='"\\\n\u0001é\u2028\U0001f600'), '"\\"\\\\\\n\\u0001é\u2028\U0001f600"'),
    (pair("a", boolValue=False), "false"),
    (pair("a", intValue="9223372036854775807"), "9223372036854775807"),
    (pair("a", intValue=-1), "-1"),
    (pair("a", doubleValue=1.0), "1.0"),
    (pair("a", doubleValue="1e400".replace("400", "22")), "1e22"),
    (pair("a", doubleValue="NaN"), '"NaN"'),
    (pair("a", doubleValue="Infinity"), '"Infinity"'),
    (pair("a", doubleValue="-Infinity"), '"-Infinity"'),
    (pair("a", bytesValue="AP8="), '"AP8="'),
    (pair("a"), "null"),
    ({"key": "a"}, "null"),
    (pair("a", arrayValue={}), "[]"),
    (pair("a", arrayValue={"values": [{"stringValue": "x"}, {}, {"boolValue": True}]}), '["x",null,true]'),
    (pair("a", arrayValue={"values": [{"doubleValue": "NaN"}, {"bytesValue": "AA=="}]}), '["NaN","AA=="]'),
    (pair("a", kvlistValue={}), "{}"),
    (
        pair("a", kvlistValue={"values": [text("z", "1"), text("b", "2"), text("z", "3")]}),
        '{"b":"2","z":"3"}',
    ),
    (
        pair("a", arrayValue={"values": [{"kvlistValue": {"values": [text("k", "1"), text("k", "2")]}}]}),
        '[{"k":"2"}]',
    ),
    (
        pair("a", kvlistValue={"values": [text("\U00010000", "astral"), text("\uffff", "plane 0")]}),
        '{"\uffff":"plane 0","\U00010000":"astral"}',
    ),
]


@pytest.mark.parametrize("binary", [False, True], ids=["json", "protobuf"])
@pytest.mark.parametrize(("attribute", "expected"), BYTES, ids=[expected for _, expected in BYTES])
def test_value(attribute: dict[str, Any], expected: str, binary: bool) -> None:
    """Each kind of value keeps its JSON type, at every level, from either form; nested keys are sorted too."""
    value = bundle(
        gauge({**POINT, "attributes": [attribute]}),
        attributes=[text("hostId", "1"), attribute],
        scope={"name": "CPU", "attributes": [attribute]},
    )
    (row,) = run(strategies.protobuf(value) if binary else value).rows
    assert row[11:] == (f'{{"a":{expected}}}', f'{{"a":{expected}}}', f'{{"a":{expected},"name":"CPU"}}')


def test_keys_are_sorted_by_code_point() -> None:
    """The same map is the same text in whatever order it came, also beyond the basic plane, where UTF-16 differs."""
    keys = ["", "A", "a", "a.b", "a_b", "otlp", "otlp-", "otlp.", "otlp/", "otlq", "é", "日", "\uffff", "\U00010000"]
    shuffled = keys[:]
    random.Random(5).shuffle(shuffled)
    points = [{**POINT, "attributes": [text(key, "v") for key in order]} for order in (keys, shuffled, keys[::-1])]
    rows = run(bundle(metric("sum", *points, isMonotonic=True))).rows
    assert len({row[11] for row in rows}) == 1
    found = [key for key, _ in json.loads(rows[0][11], object_pairs_hook=list)]
    assert found == sorted([*keys, "otlp.monotonic"])


@pytest.mark.parametrize(
    ("value", "column", "stays"),
    [
        ({"stringValue": "a"}, "a", False),
        ({"stringValue": " "}, " ", False),
        ({"intValue": "0"}, "0", False),
        ({"intValue": str(-(2**63))}, "-9223372036854775808", False),
        ({"doubleValue": 12.0}, "12", False),
        ({"doubleValue": 0.1}, "0.1", False),
        ({"doubleValue": "NaN"}, "NaN", False),
        ({"doubleValue": "-Infinity"}, "-Infinity", False),
        ({"boolValue": False}, "false", False),
        ({"bytesValue": "AAE="}, "AAE=", False),
        ({"stringValue": ""}, None, True),
        ({}, None, True),
        ({"bytesValue": ""}, None, True),
        ({"arrayValue": {"values": [{"stringValue": "a"}]}}, None, True),
        ({"kvlistValue": {"values": [text("a", "b")]}}, None, True),
    ],
)
def test_promoted_value(value: dict[str, Any], column: str | None, stays: bool) -> None:
    """A scalar becomes text and leaves its map; what is empty, or no scalar, is not used and stays."""
    done = run(
        bundle(
            gauge({**POINT, "attributes": [pair("wildValue", **value)]}),
            attributes=[text("hostId", "1"), pair("hostName", **value)],
        )
    )
    (row,) = done.rows
    assert (row[2], row[4]) == (column, column)
    assert ("hostName" in json.loads(row[12]), "wildValue" in json.loads(row[11])) == (stays, stays)


@pytest.mark.parametrize(
    ("pairs", "instance", "rest"),
    [
        ([text("wildValue", "a"), text("wildValue", "b")], "b", "{}"),
        ([text("wildValue", "a"), text("wildValue", "")], None, '{"wildValue":""}'),
        (
            [text("dataSourceInstanceName", "a"), pair("dataSourceInstanceName")],
            None,
            '{"dataSourceInstanceName":null}',
        ),
        ([text("wildValue", ""), text("wildValue", "b")], "b", "{}"),
    ],
)
def test_the_last_of_a_key_wins_before_it_is_promoted(pairs: list[Any], instance: str | None, rest: str) -> None:
    """A key given twice is the last one, for the column and for the map."""
    (row,) = run(bundle(gauge({**POINT, "attributes": pairs}))).rows
    assert (row[4], row[11]) == (instance, rest)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"name": "N", "version": "V"}, '{"name":"N","version":"V"}'),
        ({"name": "N", "version": ""}, '{"name":"N"}'),
        ({"name": "N", "attributes": [text("name", "x"), text("version", "y")]}, '{"name":"N","version":"y"}'),
        ({"name": "N", "version": "V", "attributes": [pair("version")]}, '{"name":"N","version":"V"}'),
        ({"attributes": [text("name", "x")]}, '{"name":"x"}'),
        ({}, "{}"),
        (None, "{}"),
    ],
)
def test_scope_map(scope: Any, expected: str) -> None:
    """The scope's name and version win over attributes of that name, where they are given."""
    attributes = [text("hostId", "1"), text("service.name", "svc")]
    assert run(bundle(gauge(), attributes=attributes, scope=scope)).rows[0][13] == expected


@pytest.mark.parametrize(
    ("kind", "data", "point", "expected"),
    [
        ("gauge", {}, {"asInt": 5}, {}),
        ("gauge", {"aggregationTemporality": 1, "isMonotonic": True}, {"asInt": 5}, {}),
        ("sum", {}, {"asInt": 5}, {"otlp.monotonic": False}),
        ("sum", {"isMonotonic": True}, {"asInt": 5}, {"otlp.monotonic": True}),
        (
            "sum",
            {"aggregationTemporality": 2},
            {"asInt": 5},
            {"otlp.monotonic": False, "otlp.temporality": "cumulative"},
        ),
        ("gauge", {}, {"asInt": 2**53}, {}),
        ("gauge", {}, {"asInt": -(2**53)}, {}),
        ("gauge", {}, {"asInt": 2**53 + 1}, {"otlp.intValue": "9007199254740993"}),
        ("gauge", {}, {"asInt": -(2**53) - 1}, {"otlp.intValue": "-9007199254740993"}),
        ("gauge", {}, {"asDouble": 1e300}, {}),
    ],
)
def test_reserved_keys(kind: str, data: Any, point: Any, expected: dict[str, Any]) -> None:
    """The reserved keys say what they say where it is so, and win over the source's; elsewhere the source's stay."""
    theirs = {f"otlp.{name}": "theirs" for name in ("intValue", "monotonic", "startTimeUnixMs", "temporality", "zzz")}
    for own in ({}, theirs):
        pairs = [text(key, value) for key, value in own.items()]
        (row,) = run(bundle(metric(kind, {"timeUnixNano": NS, "attributes": pairs, **point}, **data))).rows
        assert json.loads(row[11]) == {**own, **expected}
        assert list(json.loads(row[11])) == sorted({**own, **expected})


def test_deep_attributes_are_kept_or_refused_but_never_raise() -> None:
    """Nesting has no limit of its own: it is kept as long as it can be read, and refused from there."""
    for depth in (1, 50, 200, 400, 800, 5000, 50_000):
        nested = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
        whole = json.dumps(bundle(gauge({**POINT, "attributes": [pair("a", stringValue="<deep>")]})))
        done = run(whole.replace('{"stringValue": "<deep>"}', nested).encode())
        assert [reject.code for reject in done.rejects] == ["Decode.Malformed"] * (not done.rows)
        if depth <= 50:
            assert done.rows[0][11] == '{"a":' + "[" * depth + "null" + "]" * depth + "}"
