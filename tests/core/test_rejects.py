"""Rejects: the envelope, what it holds, and that it can be sent again."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

import strategies
from bundles import HOST, NS, POINT, bundle, events, gauge, metric, pair, raw, run, text
from lmdp import Message, Reject, TransformSettings, encode, transform
from lmdp.core.rejects import envelope
from lmdp.errors import SettingsError

NO_TIME = {"asDouble": 1.5}
MISMATCH = {"timeUnixNano": str(NS), "count": "3", "bucketCounts": ["1", "2"], "explicitBounds": []}


@pytest.mark.parametrize(
    ("key", "shown"), [(None, None), (b"", ""), (b"4711", "NDcxMQ=="), (b"\x00\xff", "AP8=")], ids=repr
)
def test_envelope(key: bytes | None, shown: str | None) -> None:
    """The envelope has the contract's members in the contract's order; the sink gives the time."""
    message = Message(b"{", topic="lm.metrics.otlp", partition=3, offset=2**40, timestamp=1715263558360, key=key)
    (reject,) = transform([message], TransformSettings()).rejects
    stored = envelope(reject, 1715263559000)
    assert list(stored.items()) == [
        ("errorCode", "Decode.Malformed"),
        ("errorMessage", "JSON: Input data was truncated"),
        ("attemptsMade", 1),
        ("arrivalTimestamp", 1715263559000),
        ("attemptEndingTimestamp", 1715263559000),
        ("rawData", "ew=="),
        (
            "source",
            {"topic": "lm.metrics.otlp", "partition": 3, "offset": 2**40, "timestamp": 1715263558360, "key": shown},
        ),
        ("datapoints", 0),
    ]
    assert json.loads(json.dumps(stored)) == stored


def test_envelope_of_a_datapoint() -> None:
    """The contract's example: which code, which words, how many datapoints; no timestamp is null."""
    (reject,) = run(bundle(gauge(POINT, POINT)), None).rejects
    stored = envelope(reject, 7)
    assert stored["errorCode"] == "Row.MissingField"
    assert stored["errorMessage"] == (
        "orgId: not in resource attributes and LMDP_ORG_ID is not set (give --org-id or set LMDP_ORG_ID, or add the key"
        " that has it to `from` of orgId in the specification (LMDP_SPEC))"
    )
    assert stored["source"] == {"topic": "", "partition": 0, "offset": 0, "timestamp": None, "key": None}
    assert stored["datapoints"] == 2
    assert len(events(base64.b64decode(stored["rawData"]))) == 2


def test_cut_down_to_what_failed() -> None:
    """The reject is the message with the failed datapoints alone, in their order, and all that belongs to them."""
    good = {**POINT, "attributes": [text("a", "good")]}
    bad = [{**NO_TIME, "attributes": [text("a", str(n))], "exemplars": [{"asDouble": n}]} for n in range(3)]
    sums = {"aggregationTemporality": 2, "isMonotonic": True}
    about = {"description": "what", "unit": "%"}
    whole: dict[str, Any] = {
        "resourceMetrics": [
            bundle(gauge(good))["resourceMetrics"][0],
            {
                "resource": {"attributes": HOST},
                "scopeMetrics": [
                    {"scope": {"name": "A"}, "metrics": [gauge(good)]},
                    {
                        "scope": {"name": "B", "version": "1", "attributes": [text("c", "d")], "epoch": "soon"},
                        "metrics": [
                            gauge(good, name="x"),
                            {**metric("sum", bad[0], good, bad[1], name="y", **sums), **about},
                        ],
                        "schemaUrl": "s",
                    },
                ],
                "schemaUrl": "r",
            },
            bundle(gauge(bad[2]), gauge(good), metric("histogram", MISMATCH, name="h"))["resourceMetrics"][0],
        ]
    }
    (reject,) = run(whole).rejects
    assert json.loads(reject.raw) == {
        "resourceMetrics": [
            {
                "resource": {"attributes": HOST},
                "scopeMetrics": [
                    {
                        "scope": {"name": "B", "version": "1", "attributes": [text("c", "d")], "epoch": "soon"},
                        "metrics": [{**metric("sum", bad[0], bad[1], name="y", **sums), **about}],
                        "schemaUrl": "s",
                    }
                ],
                "schemaUrl": "r",
            },
            bundle(gauge(bad[2]), metric("histogram", MISMATCH, name="h"))["resourceMetrics"][0],
        ]
    }
    assert reject.datapoints == 4


def test_a_metric_of_two_kinds_is_cut_down_to_the_one_that_failed() -> None:
    """What a metric carries besides the data that failed stays out of the reject, and so is not doubled."""
    (reject,) = run(bundle({**gauge(), **metric("sum", NO_TIME), **metric("summary", {"timeUnixNano": NS})})).rejects
    assert json.loads(reject.raw) == bundle(metric("sum", NO_TIME))


EVERY_KIND = [
    pair("text", stringValue="ü\U0001f600\x01"),
    pair("bytes", bytesValue="AP8="),
    pair("nan", doubleValue="NaN"),
    pair("infinite", doubleValue="-Infinity"),
    pair("double", doubleValue=1e22),
    pair("big", intValue=str(2**63 - 1)),
    pair("true", boolValue=True),
    pair("list", arrayValue={"values": [{}, {"bytesValue": "AA=="}, {"doubleValue": "NaN"}]}),
    pair("object", kvlistValue={"values": [text("k", "v"), pair("n", kvlistValue={})]}),
    pair("empty"),
]
FINITE_OR_NOT: list[Any] = [
    gauge({**POINT, "asDouble": None, "asInt": str(2**63 - 1), "attributes": EVERY_KIND}),
    gauge({**POINT, "asDouble": -0.0}),
    metric(
        "histogram",
        {"timeUnixNano": NS, "sum": "NaN", "max": "Infinity", "bucketCounts": [1, 2], "explicitBounds": ["Infinity"]},
    ),
    metric("histogram", {"timeUnixNano": NS, "count": 2**64 - 1, "bucketCounts": [1, 2], "explicitBounds": [0.1]}),
    metric(
        "exponentialHistogram",
        {"timeUnixNano": NS, "min": "-Infinity", "zeroThreshold": "NaN", "zeroCount": 4, "scale": -3},
    ),
    metric(
        "exponentialHistogram",
        {
            "timeUnixNano": NS,
            "negative": {"offset": -2, "bucketCounts": [1]},
            "positive": {"bucketCounts": [2**64 - 1]},
        },
    ),
    metric(
        "summary",
        {"timeUnixNano": NS, "sum": "NaN", "quantileValues": [{"quantile": 0.5, "value": "NaN"}, {"value": 2.0}]},
    ),
    metric("sum", {**POINT, "startTimeUnixNano": 5, "flags": 2}, aggregationTemporality=1, isMonotonic=True),
]


@pytest.mark.parametrize("form", ["json", "protobuf", "gzip"])
@pytest.mark.parametrize("given", FINITE_OR_NOT, ids=lambda given: next(kind for kind in given if kind != "name"))
def test_nothing_changes_on_the_way_through_a_reject(given: Any, form: str) -> None:
    """Bytes, NaN, infinities, 64-bit integers: sent again, a reject gives the rows and counts of the message itself."""
    whole = bundle(given, attributes=[*HOST, *EVERY_KIND], scope={"name": "CPU", "attributes": EVERY_KIND})
    value = {"json": json.dumps(whole).encode(), "protobuf": strategies.protobuf(whole)}.get(form)
    value = value or gzip.compress(strategies.protobuf(whole))
    (reject,) = run(value, None).rejects
    assert reject.raw.startswith(b'{"resourceMetrics":')
    again, direct = run(reject.raw), run(value)
    assert again.rows == direct.rows
    assert {**again.counts.report(), "bytesIn": 0} == {**direct.counts.report(), "bytesIn": 0}
    (second,) = run(reject.raw, None).rejects
    assert second.raw == reject.raw


def test_a_lenient_spelling_survives() -> None:
    """A reject of a message in an odd spelling is read as that message was."""
    value = raw('{"asInt":1e3,"flags":null,"attributes":[{"key":1.50,"value":{"stringValue":2.50}},null]}')
    (reject,) = run(value).rejects
    (event,) = [json.loads(line) for line in encode(run(reject.raw, timestamp=7).rows)]
    assert (event["value"], event["attributes"]["1.50"], event["tsUnixMs"]) == (1000, "2.50", 7)


def test_several_reasons() -> None:
    """The first reason is in the code, all are in the message, each once."""
    whole = bundle(gauge(NO_TIME, NO_TIME), metric("histogram", MISMATCH, MISMATCH), gauge(name=""))
    (reject,) = run(whole).rejects
    assert (reject.code, reject.datapoints) == ("Row.BadTimestamp", 5)
    assert reject.message == (
        "ts: no timeUnixNano, no epoch in the scope, and no Kafka timestamp; "
        "Row.BadHistogram: 2 bucket counts do not fit 0 bounds; "
        "Row.MissingField: metric: the metric has no name"
    )


def test_very_many_reasons_are_cut_short() -> None:
    """A message cannot make its reject's text grow without bound."""
    points = [{**MISMATCH, "bucketCounts": [1] * size} for size in range(2, 1012)]
    (reject,) = run(bundle(metric("histogram", *points))).rejects
    assert reject.message.endswith("; and 10 more reasons")
    assert (reject.datapoints, reject.message.count("do not fit")) == (1010, 1000)


def test_too_large_row_comes_back_when_the_limit_is_raised() -> None:
    """A row over the limit is a reject with that datapoint alone, and a row when the limit is raised."""
    tall = {**POINT, "attributes": [text("a", "x" * 2000)]}
    done = run(bundle(gauge(POINT, tall)), max_row_bytes=1000)
    (reject,) = done.rejects
    assert (reject.code, reject.message) == ("Row.TooLarge", "a row of M is larger than 1,000 bytes")
    assert (len(done.rows), len(run(reject.raw).rows)) == (1, 1)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("max_decompressed_bytes", "decompressed it is larger than 9 bytes (limit: LMDP_MAX_DECOMPRESSED_BYTES)"),
        ("max_message_row_bytes", "its rows would take more than 9 bytes (limit: LMDP_MAX_MESSAGE_ROW_BYTES)"),
    ],
)
def test_too_large_message_comes_back_when_the_limit_is_raised(limit: str, message: str) -> None:
    """A message over a limit is rejected whole, as it came, without datapoints; it is rows when the limit is raised."""
    value = gzip.compress(json.dumps(bundle(gauge())).encode())
    limits: Any = {limit: 9}
    done = run(value, **limits)
    assert done.rejects == [Reject("Decode.TooLarge", message, value, "", 0, 0, None, None, 0)]
    assert (done.rows, done.counts.datapoints, done.counts.rejected_datapoints) == ([], 0, 0)
    assert len(run(done.rejects[0].raw).rows) == 1


def test_the_limits_that_stand() -> None:
    """Without settings the limits are the contract's and Firehose's."""
    settings = TransformSettings()
    assert (settings.max_decompressed_bytes, settings.max_message_row_bytes) == (64 * 2**20, 256 * 2**20)
    assert settings.max_row_bytes == 1000 * 2**10


def test_impossible_limits_are_refused_at_once() -> None:
    """All wrong limits are named in one message."""
    with pytest.raises(SettingsError) as caught:
        TransformSettings(max_decompressed_bytes=0, max_message_row_bytes=-1)
    assert str(caught.value) == (
        "2 settings are wrong:\n  - max_decompressed_bytes is 0; it is at least 1\n"
        "  - max_message_row_bytes is -1; it is at least 1"
    )
