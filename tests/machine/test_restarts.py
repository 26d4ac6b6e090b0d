"""Cumulative series that began again: HISTOGRAM_QUANTILES, and bundles that public reports describe."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import simulated_day as day
from lmdp import Message, TransformSettings, transform
from lmdp.core.specification import load_spec
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    pass

FIXTURES = Path(__file__).parents[1] / "fixtures" / "restarts"
SPEC = load_spec()
T0, MINUTE = day.BEGIN, day.MINUTE
Buckets = dict[float, int]  # upper bound: count of the bucket, not cumulative
Row = tuple[Any, ...]


def query(warehouse: Warehouse, rows: list[Row], sql: str) -> list[tuple[Any, ...]]:
    """The query's rows, once these rows are in."""
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    return [tuple(line.values()) for line in warehouse.query(sql).table.to_pylist()]


def point(minute: int, buckets: Buckets, kind: str = "histogram", start: int | None = None) -> list[Row]:
    """The bucket rows of one cumulative point; the last bound is infinity."""
    fields: dict[str, Any] = {"metric": "wait.bucket", "type": kind, "attributes": {"otlp.temporality": "cumulative"}}
    if start is not None:
        fields["attributes"]["otlp.startTimeUnixMs"] = start
    *bounds, _ = buckets
    return day._buckets(T0 + minute * MINUTE, list(buckets.values()), bounds, **fields)


INF = float("inf")
EXPONENTIAL = "exponential_histogram"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(
            point(0, {10: 1, 100: 2, INF: 0}) + point(1, {10: 3, 100: 2, INF: 1}), (False, 3.0), id="it grew",
        ),
        pytest.param(
            point(0, {10: 10, 100: 0, INF: 0}) + point(1, {10: 0, 100: 20, INF: 0}), (True, 20.0),
            id="a bucket fell while the total rose",
        ),
        pytest.param(
            point(0, {10: 5, 100: 5, INF: 0}) + point(1, {10: 1, 100: 1, INF: 0}), (True, 2.0), id="the count fell",
        ),
        pytest.param(
            point(1_430, {10: 1, 100: 2, INF: 0}) + point(1_450, {10: 3, 100: 2, INF: 1}), (False, 3.0),
            id="it grew over midnight",
        ),
        pytest.param(
            point(1_430, {10: 5, 100: 5, INF: 0}) + point(1_450, {10: 1, 100: 1, INF: 0}), (True, 2.0),
            id="it fell over midnight",
        ),
        pytest.param(
            point(0, {10: 1, 100: 2, INF: 0}, start=T0 - 1)
            + point(1, {10: 3, 100: 2, INF: 1}, start=T0 + 5),
            (True, 6.0), id="its start time is after the point before",
        ),
        pytest.param(
            point(0, {10: 1, 100: 2, INF: 0}) + point(1, {10: 3, 100: 2, INF: 1}, start=T0), (False, 3.0),
            id="a point without a start time may have started at its own time",
        ),
        pytest.param(
            point(0, {10: 1, 100: 2, INF: 0}) + point(1, {20: 3, 100: 2, INF: 1}), (True, 6.0),
            id="a bound moved inside of a bucket that held something",
        ),
        pytest.param(
            point(0, {10: 1, 100: 2, INF: 0}) + point(1, {100: 5, INF: 1}), (False, 3.0),
            id="a bound was left out: the others can be compared",
        ),
        pytest.param(
            point(0, {10: 1, 100: 0, INF: 0}) + point(1, {10: 1, 50: 2, 100: 0, INF: 0}), (False, 2.0),
            id="a bound was added inside of an empty bucket",
        ),
        pytest.param(
            point(0, {10: 1, 100: 2, INF: 3}) + point(1, {10: 1, 100: 2, 1000: 4, INF: 0}), (True, 7.0),
            id="a bound was added above a full overflow bucket",
        ),
        pytest.param(
            point(0, {10: 4, INF: 0}) + point(1, {5: 3, 10: 4, INF: 0}), (True, 7.0),
            id="a bound was added inside of a full first bucket",
        ),
        pytest.param(
            point(0, {0: 0, 4: 5, INF: 0}, EXPONENTIAL) + point(1, {0: 0, 2: 1, 4: 5, 8: 1, INF: 0}, EXPONENTIAL),
            (False, 2.0), id="an exponential histogram's range widened both ways",
        ),
        pytest.param(
            point(0, {0: 0, 2: 1, 4: 5, 8: 0, 16: 2, INF: 0}, EXPONENTIAL)
            + point(1, {0: 0, 4: 7, 16: 4, INF: 0}, EXPONENTIAL),
            (False, 3.0), id="its scale fell",
        ),
        pytest.param(
            point(0, {0: 0, 4: 6, 16: 2, INF: 0}, EXPONENTIAL)
            + point(1, {0: 0, 2: 2, 4: 6, 8: 1, 16: 3, INF: 0}, EXPONENTIAL),
            (True, 12.0), id="its scale rose",
        ),
        pytest.param(
            point(0, {-4: 1, -2: 2, 0: 0, 4: 5, INF: 0}, EXPONENTIAL)
            + point(1, {-8: 1, -4: 1, -2: 2, 0: 0, 4: 6, INF: 0}, EXPONENTIAL),
            (False, 2.0), id="its range widened below zero",
        ),
    ],
)  # fmt: skip
def test_a_histogram_began_again(warehouse: Warehouse, rows: list[Row], expected: tuple[bool, float]) -> None:
    """What began again counts whole; what did not counts its growth."""
    assert query(warehouse, rows, "SELECT RESET, SAMPLES FROM HISTOGRAM_QUANTILES") == [expected]


@pytest.mark.parametrize(
    ("name", "sql", "expected"),
    [
        (
            "counter_restart",
            "SELECT strftime(TS, '%H:%M'), VALUE, SECONDS, RATE, RESET FROM METRIC_RATES ORDER BY TS",
            [("14:06", 150.0, 60.0, 2.5, True), ("14:07", 210.0, 60.0, 1.0, False)],
        ),
        (
            "histogram_restart",
            "SELECT METRIC, RESET, SAMPLES, P50, P90 FROM HISTOGRAM_QUANTILES",
            [("rising", True, 20.0, 55.0, 91.0)],
        ),
    ],
)
def test_reported_restarts(warehouse: Warehouse, name: str, sql: str, expected: list[tuple[object, ...]]) -> None:
    """A bundle from a public bug report of a peer, from its bytes to the view."""
    done = transform([Message((FIXTURES / f"{name}.jsonl").read_bytes())], TransformSettings(org_id="acme"))
    assert query(warehouse, list(done.rows), sql) == expected
