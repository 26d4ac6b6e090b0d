"""Bundle to rows: what is promoted, what is dropped, what is refused and why, and how it adds up."""

from __future__ import annotations

import json
from typing import Any

import pytest

import strategies
from bundles import MS, NS, POINT, bundle, events, gauge, metric, pair, run, text, verdict
from lmdp import Message, TransformSettings, encode, transform

NO_TIME = {"asDouble": 1.5}
NAN = {"asDouble": "NaN"}
BAD_BUCKETS = {"timeUnixNano": NS, "bucketCounts": [1, 2], "explicitBounds": []}
BAD = bundle(gauge(NO_TIME, name=""), attributes=[])


def counts(value: Any, **more: Any) -> dict[str, Any]:
    """The counts of one message, without its bytes."""
    report = run(value, **more).counts.report()
    return {name: count for name, count in report.items() if name not in ("messages", "bytesIn") and count}


@pytest.mark.parametrize(
    ("point", "kind", "expected"),
    [
        ({**NAN, "flags": 1}, "gauge", {"dropped": {"noRecordedValue": 1}}),
        ({"flags": 1}, "histogram", {"dropped": {"noRecordedValue": 1}}),
        ({}, "sum", {"dropped": {"noRecordedValue": 1}}),
        ({"asDouble": None, "asInt": None}, "gauge", {"dropped": {"noRecordedValue": 1}}),
        (NAN, "gauge", {"converted": 1, "dropped": {"nonFinite": 1}}),
        ({"asDouble": "-Infinity"}, "sum", {"converted": 1, "dropped": {"nonFinite": 1}}),
        (NO_TIME, "gauge", "Row.MissingField"),
        (BAD_BUCKETS, "histogram", "Row.MissingField"),
    ],
)
def test_precedence_before_missing_fields(point: Any, kind: str, expected: Any) -> None:
    """No recorded value goes before non-finite, and both before a missing field."""
    value = bundle(metric(kind, point, name=""), attributes=[], scope={})
    if isinstance(expected, str):
        assert verdict(run(value, None)) == expected
    else:
        assert counts(value, org_id=None) == {"datapoints": 1, **expected}


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (bundle(metric("histogram", {**BAD_BUCKETS, "timeUnixNano": 0}), attributes=[]), {}, "Row.MissingField"),
        (bundle(metric("histogram", {**BAD_BUCKETS, "timeUnixNano": 0})), {}, "Row.BadTimestamp"),
        (bundle(metric("histogram", BAD_BUCKETS)), {"max_row_bytes": 1}, "Row.BadHistogram"),
        (bundle(metric("histogram", {"timeUnixNano": NS})), {"max_row_bytes": 1}, "Row.TooLarge"),
        (bundle(gauge(NO_TIME), attributes=[]), {"max_row_bytes": 1}, "Row.MissingField"),
        (bundle(gauge(NO_TIME)), {"max_row_bytes": 1}, "Row.BadTimestamp"),
        (bundle(gauge()), {"max_row_bytes": 1}, "Row.TooLarge"),
    ],
)
def test_precedence_of_refusals(value: Any, limits: Any, expected: str) -> None:
    """A missing field goes before the time, the time before buckets, and buckets before size."""
    assert verdict(run(value, **limits)) == expected


NO_TENANT = (
    "orgId: not in resource attributes and LMDP_ORG_ID is not set (give --org-id or set LMDP_ORG_ID, or add the key "
    "that has it to `from` of orgId in the specification (LMDP_SPEC))"
)


@pytest.mark.parametrize(
    ("value", "org_id", "message"),
    [
        (bundle(gauge()), None, NO_TENANT),
        (bundle(gauge()), "", NO_TENANT),
        (
            bundle(gauge(), attributes=[]),
            "acme",
            (
                "deviceId: none of hostId, host.id, host.name, service.instance.id, service.name in resource attributes"
                " (add the key that has it to `from` of deviceId in the specification (LMDP_SPEC))"
            ),
        ),
        (
            bundle(gauge(), scope=None),
            "acme",
            (
                "datasource: none of service.name in resource attributes and the scope has no name "
                "(add the key that has it to `from` of datasource in the specification (LMDP_SPEC))"
            ),
        ),
        (bundle(gauge(name=None)), "acme", "metric: the metric has no name"),
        (bundle(gauge(name="")), "acme", "metric: the metric has no name"),
        (bundle(gauge(name="")), None, f"{NO_TENANT}; metric: the metric has no name"),
    ],
)
def test_missing_field_says_where_it_looked(value: Any, org_id: str | None, message: str) -> None:
    """The reason names each missing field, its sources, and the remedy."""
    (reject,) = run(value, org_id).rejects
    assert (reject.code, reject.message) == ("Row.MissingField", message)


def test_a_datapoint_fails_alone() -> None:
    """One datapoint's refusal leaves the others of its message, and the sums hold."""
    value = bundle(
        gauge(POINT, NO_TIME, NAN, {}, name="A"), metric("histogram", BAD_BUCKETS, name="B"), gauge(name="C")
    )
    assert [row[5] for row in run(value).rows] == ["A", "C"]
    assert counts(value) == {
        "datapoints": 6,
        "converted": 3,
        "rows": 2,
        "rejectedMessages": 1,
        "rejectedDatapoints": 2,
        "dropped": {"noRecordedValue": 1, "nonFinite": 1},
    }


def test_a_histogram_fails_whole() -> None:
    """Where one row of a datapoint is too large, none of its rows stands, and none is counted."""
    point = {"timeUnixNano": NS, "count": 1, "sum": "NaN", "bucketCounts": [1, 2], "explicitBounds": [1e-300]}
    rows = encode(run(bundle(metric("histogram", point))).rows)
    longest = max(map(len, rows))
    assert counts(bundle(metric("histogram", point), gauge()), max_row_bytes=longest - 1) == {
        "datapoints": 2,
        "converted": 1,
        "rows": 1,
        "rejectedMessages": 1,
        "rejectedDatapoints": 1,
    }


def test_exemplars_are_counted_where_they_are_dropped() -> None:
    """Exemplars of a datapoint that makes rows or is dropped are counted; those of a reject stay in it."""
    three = {"exemplars": [{"asDouble": 1.5}, None, {}, {}]}
    value = bundle(gauge({**POINT, **three}, {**NAN, **three}, three), gauge({**NO_TIME, "exemplars": [{}]}))
    done = run(value)
    assert done.counts.dropped["exemplars"] == 9
    assert run(done.rejects[0].raw, timestamp=1).counts.dropped["exemplars"] == 1


@pytest.mark.parametrize("kind", ["metric", "unit", "scope", "resource", "attributes", "org", "device", "instance"])
@pytest.mark.parametrize("filler", ["x", "ü", "日", "\U0001f600", "\x01", '"'])
def test_row_limit_is_exact(kind: str, filler: str) -> None:
    """A row may have the limit's bytes and not one more, whichever field fills it, and whatever its characters take."""
    long = filler * 400
    value = bundle(
        gauge(
            {**POINT, "attributes": [text("wildValue" if kind == "instance" else "a", long)]}
            if kind in ("attributes", "instance")
            else POINT,
            name=long if kind == "metric" else "M",
            unit=long if kind == "unit" else "u",
        ),
        attributes=[text("hostId", long if kind == "device" else "1"), text("r", long if kind == "resource" else "r")],
        scope={"name": "CPU", "version": long if kind == "scope" else "v"},
    )
    org_id = long if kind == "org" else "acme"
    (line,) = encode(run(value, org_id).rows)
    assert len(line) > 400
    assert verdict(run(value, org_id, max_row_bytes=len(line))) == "1 rows"
    assert verdict(run(value, org_id, max_row_bytes=len(line) - 1)) == "Row.TooLarge"


def test_message_limit_is_exact() -> None:
    """The rows of a message may have the limit's bytes together; with one more it is rejected whole and not counted."""
    point = {"timeUnixNano": NS, "count": 1, "bucketCounts": [1, 2], "explicitBounds": [0.5]}
    value = bundle(gauge(*[POINT] * 20), metric("histogram", *[point] * 20, name="日本"))
    size = sum(map(len, encode(run(value).rows)))
    assert verdict(run(value, max_message_row_bytes=size)) == "80 rows"
    assert counts(value, max_message_row_bytes=size - 1) == {"rejectedMessages": 1}
    assert verdict(run(value, max_message_row_bytes=size - 1)) == "Decode.TooLarge"


def test_rejected_datapoints_do_not_use_up_the_message_limit() -> None:
    """Only rows that stand count against a message's limit."""
    tall = {"timeUnixNano": NS, "attributes": [text("a", "x" * 900)], "count": 1}
    value = bundle(metric("histogram", *[tall] * 50), gauge())
    (line,) = encode(run(bundle(gauge())).rows)
    done = run(value, max_row_bytes=600, max_message_row_bytes=len(line))
    assert (len(done.rows), done.counts.rejected_datapoints) == (1, 50)


def test_rows_of_a_datapoint_that_fails_late_are_taken_back() -> None:
    """Rows made before the one that is too large do not count against the message's limit either."""
    point = {"timeUnixNano": NS, "count": 1, "bucketCounts": [1, 2], "explicitBounds": [1e-300]}
    sizes = [len(line) for line in encode(run(bundle(metric("histogram", point))).rows)]
    lines = encode(run(bundle(gauge(*[POINT] * 50))).rows)
    value = bundle(gauge(*[POINT] * 30), metric("histogram", *[point] * 50), gauge(*[POINT] * 20))
    size = sum(map(len, lines))
    done = run(value, max_row_bytes=max(sizes) - 1, max_message_row_bytes=size)
    assert (len(done.rows), done.counts.rejected_datapoints) == (50, 50)
    assert verdict(run(value, max_row_bytes=max(sizes) - 1, max_message_row_bytes=size - 1)) == "Decode.TooLarge"


def test_a_small_message_with_a_large_resource_is_stopped() -> None:
    """Every row repeats its resource, so that a message within bounds can make more rows than memory holds."""
    value = bundle(gauge(*[POINT] * 2000), attributes=[text("hostId", "1"), text("blob", "x" * 200_000)])
    assert verdict(run(value)) == "Decode.TooLarge"


def test_many_messages_in_one_call() -> None:
    """A message that is rejected leaves the next ones alone; the counts are those of all."""
    good, bad = json.dumps(bundle(gauge())).encode(), json.dumps(BAD).encode()
    values = [good, b"{", None, bad, b"", good]
    done = transform([Message(value) for value in values], TransformSettings(org_id="acme"))
    assert done.counts.report() == {
        "messages": 6,
        "datapoints": 3,
        "converted": 2,
        "rows": 2,
        "rejectedMessages": 2,
        "rejectedDatapoints": 1,
        "dropped": {"empty": 2},
        "bytesIn": 2 * len(good) + len(bad) + 1,
    }


def test_row_is_a_tuple_of_the_columns() -> None:
    """A row has the 14 columns in their order, None for what is absent, and maps as JSON text."""
    (row,) = run(bundle(gauge({**POINT, "asDouble": None, "asInt": "5"}))).rows
    assert row == (
        "acme", "4711", None, "CPU", None, "M", None, "gauge",
        "2024-05-09T14:05:58.360Z", MS, 5, "{}", "{}", '{"name":"CPU"}',
    )  # fmt: skip
    assert [type(value) for value in row[8:11]] == [str, int, int]


def test_every_kind_that_a_metric_carries_is_read() -> None:
    """JSON can give a metric two kinds of data, which protobuf cannot: nothing of it is lost."""
    assert {row[7] for row in run(bundle({**gauge(), **metric("sum", POINT)})).rows} == {"gauge", "sum"}


def test_scopes_of_one_resource_promote_for_themselves() -> None:
    """A scope's own name and epoch hold for its metrics alone."""
    part = bundle(gauge())["resourceMetrics"][0]
    scopes = [
        {"scope": {"name": "A", "attributes": [text("epoch", "5")]}, "metrics": [gauge(NO_TIME)]},
        {"scope": {"name": "B", "attributes": [text("epoch", "7")]}, "metrics": [gauge(NO_TIME)]},
    ]
    rows = events({"resourceMetrics": [{**part, "scopeMetrics": scopes}]})
    assert [(row["datasource"], row["tsUnixMs"]) for row in rows] == [("A", 5000), ("B", 7000)]


def test_the_same_attributes_mean_the_same_at_every_turn() -> None:
    """Attributes seen before are remembered as text: other members, kinds and settings do not leak into them."""
    own = [text("wildValue", "a"), text("b", "c")]
    gauges = gauge({**POINT, "attributes": own})
    sums = metric("sum", {**POINT, "attributes": own}, isMonotonic=True)
    tall = metric("histogram", {"timeUnixNano": NS, "attributes": own, "bucketCounts": [1]})
    first = [events(bundle(each)) for each in (gauges, sums, tall)]
    again = [events(bundle(each)) for each in (tall, sums, gauges)]
    assert first == again[::-1]
    assert [[row["attributes"] for row in rows] for rows in first] == [
        [{"b": "c"}],
        [{"b": "c", "otlp.monotonic": True}],
        [{"b": "c"}, {"b": "c", "le": "+Inf"}],
    ]
    other = gauge({**POINT, "attributes": [*own, pair("b", intValue="1")]})
    assert [row["attributes"] for row in events(bundle(other))] == [{"b": 1}]


@pytest.mark.parametrize(
    ("start", "time", "epoch", "expected"),
    [
        (0, NS, None, None),
        (None, NS, None, None),
        (NS, NS, None, None),
        (str(NS), NS, None, None),
        (NS - 1, NS, None, MS - 1),
        (NS + 1, NS, None, MS),
        (NS, NS + 1, None, MS),
        (1, NS, None, 0),
        (2**64 - 1, NS, None, 18446744073709),
        (NS, 0, str(MS), None),
        (NS + 1, None, str(MS), MS),
        (0, 0, str(MS), None),
    ],
)
@pytest.mark.parametrize("kind", ["gauge", "summary"])
@pytest.mark.parametrize("binary", [False, True])
def test_start_time(start: Any, time: Any, epoch: str | None, expected: int | None, kind: str, binary: bool) -> None:
    """A start time is kept unless it is 0 or the very nanosecond of the time, wherever that came from."""
    point = {"asDouble": 1.5, "startTimeUnixNano": start, "timeUnixNano": time}
    point = {key: value for key, value in point.items() if value is not None and (kind, key) != ("summary", "asDouble")}
    scope = {"name": "CPU", "attributes": [text("epoch", epoch)] if epoch else []}
    value = bundle(metric(kind, point), scope=scope)
    for row in events(strategies.protobuf(value) if binary else value):
        assert row["attributes"].get("otlp.startTimeUnixMs") == expected


@pytest.mark.parametrize(
    ("header", "headers", "tenant"),
    [
        (None, (("lmdp-tenant", b"token"),), "resource"),
        ("lmdp-tenant", (("lmdp-tenant", b"token"),), "token"),
        ("lmdp-tenant", (("other", b"x"), ("lmdp-tenant", "ü".encode())), "ü"),
        ("lmdp-tenant", (("lmdp-tenant", None),), "resource"),
        ("lmdp-tenant", (("lmdp-tenant", b""),), "resource"),
        ("lmdp-tenant", (), "resource"),
    ],
)
def test_a_trusted_header_decides_the_tenant(
    header: str | None, headers: tuple[tuple[str, bytes | None], ...], tenant: str
) -> None:
    """Where it is configured, and the message has it: before the resource's own orgId, and before the setting."""
    settings = TransformSettings(org_id="setting", tenant_header=header)
    value = json.dumps(bundle(gauge(), attributes=[text("hostId", "7"), text("orgId", "resource")])).encode()
    done = transform([Message(value, headers=headers)], settings)
    assert [json.loads(line)["orgId"] for line in encode(done.rows)] == [tenant]


@pytest.mark.parametrize(("header", "tenant"), [("lmdp-tenant", "acme"), (None, "")])
@pytest.mark.parametrize("value", [json.dumps(bundle(gauge(NO_TIME))).encode(), b"{", b"[" * 100_000])
def test_a_reject_has_the_tenant_of_the_trusted_header(value: bytes, header: str | None, tenant: str) -> None:
    """Of a part of a message as of a whole one; what the sender sent stays as it came."""
    message = Message(value, headers=(("lmdp-tenant", b"acme"),))
    [reject] = transform([message], TransformSettings(tenant_header=header)).rejects
    assert reject.tenant == tenant
