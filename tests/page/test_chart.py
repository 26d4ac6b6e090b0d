"""The chart's own way to rates and percentiles beside the plain view: the same numbers, from fewer rows."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.machine.api.server import serving
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.page import chart
from lmdp.page.chart import ChartQuery, View
from page.sites import asked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = load_spec()
T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
GAPS = [0, 1, MINUTE, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, 2 * DAY]
Row = tuple[Any, ...]


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty one that is asked over its folder's socket."""
    with Warehouse.open(tmp_path / "w.duckdb", SPEC) as opened, serving(tmp_path, opened, dict):
        yield opened


def row(ms: int, value: float, metric: str, kind: str, attributes: dict[str, Any], **more: Any) -> Row:
    """A row event of one device."""
    event = {
        "orgId": "acme",
        "deviceId": "7",
        "datasource": "o'Net",
        "metric": metric,
        "type": kind,
        "ts": datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "tsUnixMs": ms,
        "value": value,
        "attributes": json.dumps(attributes, sort_keys=True),
        "resource": "{}",
        "scope": json.dumps({"epoch": str(ms)}),
        **more,
    }
    return tuple(event.get(field.name) for field in SPEC.fields)


def counters(make: random.Random, instance: str | None) -> Iterator[Row]:
    """Sums of one instance: repeats, resets, gaps of a millisecond and of days, several starts at one time."""
    for series in range(5):
        ms, value = T0 + make.randrange(6 * DAY), 0.0
        marks: dict[str, Any] = {"n": series % 3, "otlp.monotonic": series != 1}
        if temporality := make.choice(["cumulative", "cumulative", "delta", None]):
            marks["otlp.temporality"] = temporality
        for _ in range(make.randrange(1, 80)):
            ms += make.choice(GAPS)
            value = 0.0 if make.random() < 0.1 else value + make.randrange(0 if series != 1 else -50, 100)
            start = {"otlp.startTimeUnixMs": ms - make.randrange(MINUTE)} if make.random() < 0.5 else {}
            for again in range(make.choice([1, 1, 2])):
                yield row(ms, value - again, "Octets", "sum", marks | start, instance=instance)


def histograms(make: random.Random, instance: str | None) -> Iterator[Row]:
    """Buckets of one instance: some missing, some that cannot be read, resets, gaps."""
    for series in range(4):
        ms, counted = T0 + make.randrange(6 * DAY), [0, 0, 0]
        marks: dict[str, Any] = {"n": series % 3}
        if temporality := make.choice(["cumulative", "cumulative", "delta", None]):
            marks["otlp.temporality"] = temporality
        for _ in range(make.randrange(1, 80)):
            ms += make.choice(GAPS)
            grown = [make.randrange(20) for _ in counted]
            counted = grown if make.random() < 0.1 else [old + new for old, new in zip(counted, grown, strict=True)]
            bounds = ["0.5", "2", "+Inf"] if make.random() < 0.9 else ["odd"]
            for at, le in enumerate(bounds):
                yield row(ms, sum(counted[: at + 1]), "t.bucket", "histogram", marks | {"le": le}, instance=instance)


def drawn(warehouse: Warehouse, picked: ChartQuery) -> list[Any]:
    """The points of a chart: time, values, and how many there are in each."""
    answer = asked(warehouse.path.parent, lambda run: chart.draw(run, picked))
    assert answer["linesLeftOut"] == 0
    return sorted((at, number, *values) for line in answer["lines"] for at, *values, number in line["points"])


def plainly(warehouse: Warehouse, picked: ChartQuery) -> list[Any]:
    """The same from the view itself, over everything that was ever written, as Snowflake would be asked."""
    sql = re.sub(r"_OF\(.*?\n\)", "", picked.sql(0), flags=re.DOTALL)
    rows = warehouse.query(sql).table.to_pylist()
    if picked.view == "rate":
        return sorted((one["AT_MS"], one["POINTS"], one["VALUE"], one["LOW"], one["HIGH"]) for one in rows)
    return sorted(
        (one["AT_MS"], int(one["POINTS"]), one[name], None, None)
        for one in rows
        for name in ("P50", "P90", "P95", "P99")
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("view", "metric"), [("rate", "Octets"), ("percentile", "t.bucket")])
def test_a_chart_of_steps_is_what_the_view_gives(warehouse: Warehouse, view: View, metric: str, seed: int) -> None:
    """Over random series and stretches of time, whichever rows were read for it."""
    make = random.Random(seed)
    rows = [one for place in ("eth0", None) for fill in (counters, histograms) for one in fill(make, place)]
    make.shuffle(rows)
    for part in (rows[::2], rows[1::2]):
        warehouse.commit(Load(part, [], [], datetime.now(UTC)))
    times = sorted({one[9] for one in rows if one[5] == metric})
    drew = 0
    for instance in ("eth0", None):
        for span in (1, MINUTE, HOUR, 7 * HOUR, 3 * DAY, 40 * DAY):
            begin = make.choice(times) + make.choice([0, 0, 1, -1, -span // 2])
            picked = ChartQuery(
                "acme", "7", "o'Net", instance, metric, view, begin, begin + span, points=make.choice([2, 400])
            )
            expected = plainly(warehouse, picked)
            found = drawn(warehouse, picked)
            assert [point[:2] for point in found] == [point[:2] for point in expected]
            for one, other in zip(found, expected, strict=True):
                assert one[2:] == pytest.approx(other[2:])
            drew += len(found)
    assert drew > 10


@pytest.mark.parametrize(
    ("ages", "since"),
    [
        pytest.param([30, 5, -5], -15, id="the point before is near"),
        pytest.param([3000, 100, -5], -120, id="further back"),
        pytest.param([3000, 1000, -5], None, id="far away: all rows"),
        pytest.param([100, -5], -120, id="no row at all is older"),
        pytest.param([3000, 130], -15, id="nothing to draw"),
    ],
)
def test_no_more_rows_are_read_than_a_step_needs(warehouse: Warehouse, ages: list[int], since: int | None) -> None:
    """`ages` are minutes before the chart's beginning; so is the time from which on its rows are read."""
    begin = T0 + DAY * 10
    marks = {"otlp.temporality": "cumulative"}
    rows = [row(begin - age * MINUTE, 10_000 - age, "Octets", "sum", marks) for age in ages]
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    picked = ChartQuery("acme", "7", "o'Net", None, "Octets", "rate", begin, begin + HOUR)
    found = asked(warehouse.path.parent, lambda run: chart._since(run, picked))
    assert found == (chart._EVER_MS if since is None else begin + since * MINUTE)
    assert drawn(warehouse, picked) == plainly(warehouse, picked)
