"""Histograms, exponential histograms and summaries as rows in Prometheus' form."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from bundles import NS, bundle, events, metric, run, verdict

MAX = 1.7976931348623157e308
INF = "Infinity"


def rows(kind: str, point: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Suffix, label and value of each row."""
    found = events(bundle(metric(kind, {"timeUnixNano": NS, **point})))
    labels = [row["attributes"].get("le", row["attributes"].get("quantile", "")) for row in found]
    return [(row["metric"].removeprefix("M."), label, row["value"]) for row, label in zip(found, labels, strict=True)]


def buckets(kind: str, point: dict[str, Any]) -> dict[str, int]:
    """The buckets alone; no label comes twice."""
    found = [(label, value) for suffix, label, value in rows(kind, point) if suffix == "bucket"]
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize(
    ("counts", "bounds", "expected"),
    [
        ([5], [], {"+Inf": 5}),
        ([0, 0], [1], {"1": 0, "+Inf": 0}),
        (["1", "2", "3"], [0.5, 10.0], {"0.5": 1, "10": 3, "+Inf": 6}),
        ([1, 1, 1], [-1e-9, 1e16], {"-1e-09": 1, "1e+16": 2, "+Inf": 3}),
        ([1, 1, 1], ["-5", "0"], {"-5": 1, "0": 2, "+Inf": 3}),
        ([1, 2, 3], [1, INF], {"1": 1, "+Inf": 6}),
        ([1, 2, 3], ["-Infinity", 1], {"1": 3, "+Inf": 6}),
        ([1, 2], [MAX], {"1.7976931348623157e+308": 1, "+Inf": 3}),
        ([1, 2], [5e-324], {"5e-324": 1, "+Inf": 3}),
        ([1, 2], [0.1 + 0.2], {"0.30000000000000004": 1, "+Inf": 3}),
        ([2**64 - 1, 1], [0], {"0": 2**64 - 1, "+Inf": 2**64}),
        ([], [], {}),
        (None, None, {}),
        ([], [1.0], {}),
    ],
)
def test_histogram_buckets(counts: Any, bounds: Any, expected: dict[str, int]) -> None:
    """Buckets are cumulative, `le` is the shortest text of the upper bound, and +Inf has the sum of them all."""
    assert buckets("histogram", {"count": 99, "bucketCounts": counts, "explicitBounds": bounds}) == expected


@pytest.mark.parametrize(
    ("counts", "bounds"),
    [
        ([1], [1]),
        ([1, 2], []),
        ([1, 2, 3], [1]),
        ([1, 2], [1, 2]),
        ([1, 2, 3], [2, 1]),
        ([1, 2, 3], [1, 1]),
        ([1, 2], ["NaN"]),
    ],
)
def test_buckets_that_do_not_fit(counts: Any, bounds: Any) -> None:
    """Counts that are not one more than the bounds, or bounds that do not rise, fail the datapoint."""
    point = {"timeUnixNano": NS, "count": 1, "bucketCounts": counts, "explicitBounds": bounds}
    done = run(bundle(metric("histogram", point)))
    assert (verdict(done), done.rows, done.counts.rejected_datapoints) == ("Row.BadHistogram", [], 1)


@pytest.mark.parametrize("kind", ["histogram", "exponentialHistogram"])
@pytest.mark.parametrize(
    "given", [names for n in range(4) for names in itertools.combinations(("sum", "min", "max"), n)]
)
def test_statistics(kind: str, given: tuple[str, ...]) -> None:
    """The count is always there, 0 where absent; sum, minimum and maximum where they are given, zero included."""
    found = [row for row in rows(kind, dict.fromkeys(given, 0.0)) if row[0] != "bucket"]
    assert found == [("count", "", 0), *((name, "", 0.0) for name in given)]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ({}, {"0": 0, "+Inf": 0}),
        ({"count": 9, "zeroCount": 4}, {"0": 4, "+Inf": 9}),
        ({"zeroCount": 4, "zeroThreshold": 0.25}, {"0.25": 4, "+Inf": 0}),
        ({"count": 3, "positive": {"bucketCounts": [1, 2]}}, {"0": 0, "2": 1, "4": 3, "+Inf": 3}),
        ({"count": 3, "positive": {"offset": -2, "bucketCounts": [1, 2]}}, {"0": 0, "0.5": 1, "1": 3, "+Inf": 3}),
        ({"count": 3, "negative": {"bucketCounts": [1, 2]}}, {"-2": 2, "-1": 3, "0": 3, "+Inf": 3}),
        ({"count": 3, "negative": {"offset": "-1", "bucketCounts": [3]}}, {"-0.5": 3, "0": 3, "+Inf": 3}),
        (
            {
                "count": 10,
                "scale": 1,
                "zeroCount": 1,
                "positive": {"bucketCounts": [2, 3]},
                "negative": {"bucketCounts": [4]},
            },
            {"-1": 4, "0": 5, "1.4142135623730951": 7, "2": 10, "+Inf": 10},
        ),
        ({"count": 3, "scale": -1, "positive": {"offset": 1, "bucketCounts": [3]}}, {"0": 0, "16": 3, "+Inf": 3}),
        # what overflows is merged into the next
        (
            {"count": 7, "scale": 0, "positive": {"offset": 1022, "bucketCounts": [1, 2, 4]}},
            {"0": 0, str(2.0**1023): 1, "+Inf": 7},
        ),
        (
            {"count": 7, "negative": {"offset": 1023, "bucketCounts": [1, 2, 4]}},
            {f"-{2.0**1023}": 7, "0": 7, "+Inf": 7},
        ),
        ({"count": 5, "scale": -11, "positive": {"bucketCounts": [5]}}, {"0": 0, "+Inf": 5}),
        (
            {"count": 5, "scale": -2000, "positive": {"offset": -2, "bucketCounts": [1, 1, 3]}},
            {"0": 1, "1": 2, "+Inf": 5},
        ),
        # what equals the next is merged into it
        ({"count": 3, "scale": 60, "positive": {"bucketCounts": [1, 2]}}, {"0": 0, "1": 3, "+Inf": 3}),
        ({"count": 3, "scale": 60, "negative": {"bucketCounts": [1, 2]}}, {"-1": 3, "0": 3, "+Inf": 3}),
        ({"count": 6, "zeroCount": 3, "negative": {"offset": -2000, "bucketCounts": [1, 2]}}, {"0": 6, "+Inf": 6}),
        ({"count": 6, "zeroCount": 3, "positive": {"offset": -2000, "bucketCounts": [1, 2]}}, {"0": 6, "+Inf": 6}),
        (
            {"count": 5, "zeroCount": 1, "zeroThreshold": 2, "positive": {"bucketCounts": [0, 4]}},
            {"2": 1, "4": 5, "+Inf": 5},
        ),
        # what is within the zero threshold is merged into zero
        (
            {"count": 9, "zeroCount": 2, "zeroThreshold": 4, "positive": {"bucketCounts": [1, 3, 3]}},
            {"4": 6, "8": 9, "+Inf": 9},
        ),
        (
            {"count": 9, "zeroCount": 2, "zeroThreshold": 3, "positive": {"bucketCounts": [0, 4, 3]}},
            {"3": 2, "4": 6, "8": 9, "+Inf": 9},
        ),
        (
            {"count": 9, "zeroCount": 2, "zeroThreshold": 2, "negative": {"bucketCounts": [1, 3, 3]}},
            {"-4": 3, "-2": 6, "2": 9, "+Inf": 9},
        ),
        ({"count": 4, "zeroCount": 1, "zeroThreshold": INF, "positive": {"bucketCounts": [3]}}, {"+Inf": 4}),
    ],
)
def test_exponential_buckets(point: dict[str, Any], expected: dict[str, int]) -> None:
    """From the lowest negative bucket over zero to the highest, and +Inf with the count itself."""
    expected = {label.removesuffix(".0"): value for label, value in expected.items()}
    assert list(buckets("exponentialHistogram", point).items()) == list(expected.items())


@pytest.mark.parametrize("threshold", [-3, "-5e-324", "NaN", "-Infinity"])
def test_a_zero_threshold_that_is_no_width(threshold: float | str) -> None:
    """The zero bucket would have no place among the others: the datapoint fails."""
    point = {"timeUnixNano": NS, "zeroThreshold": threshold, "negative": {"bucketCounts": [1, 3, 3]}}
    done = run(bundle(metric("exponentialHistogram", point)))
    assert (verdict(done), done.rows, done.counts.rejected_datapoints) == ("Row.BadHistogram", [], 1)


def test_summary() -> None:
    """Count and sum are always there, as in protobuf; one row a quantile, zeros where they are absent."""
    quantiles = [
        {"quantile": 0.99, "value": 7.5},
        {"quantile": 1.0, "value": "8"},
        {},
        {"quantile": 1e-7, "value": "NaN"},
    ]
    assert rows("summary", {"count": "3", "quantileValues": quantiles}) == [
        ("count", "", 3),
        ("sum", "", 0.0),
        ("quantile", "0.99", 7.5),
        ("quantile", "1", 8.0),
        ("quantile", "0", 0.0),
    ]


@pytest.mark.parametrize(
    ("kind", "point", "dropped", "kept"),
    [
        ("histogram", {"count": 1, "sum": "NaN", "min": INF, "max": "-Infinity"}, 3, 1),
        ("histogram", {"count": 1, "sum": "NaN", "bucketCounts": [1]}, 1, 2),
        ("exponentialHistogram", {"count": 1, "sum": INF}, 1, 3),
        ("summary", {"sum": "NaN", "quantileValues": [{"value": INF}, {"value": 1}]}, 2, 2),
    ],
)
def test_non_finite_rows(kind: str, point: dict[str, Any], dropped: int, kept: int) -> None:
    """Of a datapoint only the rows that are not finite are dropped, each counted; the datapoint is converted."""
    counts = run(bundle(metric(kind, {"timeUnixNano": NS, **point}))).counts
    assert (counts.dropped["nonFinite"], counts.rows, counts.converted) == (dropped, kept, 1)


@pytest.mark.parametrize("kind", ["histogram", "exponentialHistogram"])
def test_temporality_is_on_every_derived_row(kind: str) -> None:
    """What a reader needs to add up the rows stands on each of them; monotonic is said of sums alone."""
    point = {"timeUnixNano": NS, "startTimeUnixNano": NS - 10**6, "count": 1, "sum": 1, "bucketCounts": [1]}
    found = events(bundle(metric(kind, point, aggregationTemporality=1, isMonotonic=True)))
    assert len(found) >= 3
    for row in found:
        assert row["attributes"]["otlp.temporality"] == "delta"
        assert row["attributes"]["otlp.startTimeUnixMs"] == NS // 10**6 - 1
        assert "otlp.monotonic" not in row["attributes"]
