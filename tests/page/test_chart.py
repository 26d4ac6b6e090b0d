"""The chart's own way to rates and percentiles beside the plain view: the same numbers, from fewer rows."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.errors import ApiError
from lmdp.machine.api.server import serving
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.page import chart
from lmdp.page.chart import ChartQuery, View
from new_warehouse import open_warehouse
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
    with open_warehouse(tmp_path / "w.duckdb") as opened, serving(tmp_path, opened, dict):
        yield opened


def row(ms: int, value: float, metric: str, kind: str, attributes: dict[str, Any], **more: Any) -> Row:
    """A row event of one device, its columns in their order."""
    found = event(ms, value, metric, kind, attributes) | more
    return tuple(found.get(field.name) for field in SPEC.fields)


def event(ms: int, value: float, metric: str, kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """A row event by the names of its columns."""
    return {
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
    }


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


def draw(warehouse: Warehouse, picked: ChartQuery) -> Any:
    """A chart's answer."""
    return asked(warehouse.path.parent, lambda run: chart.draw(run, picked))


def points(answer: Any) -> list[Any]:
    """The points of a chart: time, how many there are in each, values."""
    assert answer["linesLeftOut"] == 0
    return sorted((at, number, *values) for line in answer["lines"] for at, *values, number in line["points"])


def plainly(warehouse: Warehouse, answer: Any) -> list[Any]:
    """The same from the view itself, over everything that was ever written, as Snowflake would be asked."""
    sql = re.sub(r"_OF\(.*?\n *\)", "", answer["sql"], flags=re.DOTALL)
    rows = warehouse.query(sql, limit_rows=100_000).table.to_pylist()
    if answer["view"] == "percentile":
        return sorted(
            (one["AT_MS"], int(one["POINTS"]), one[name], None, None)
            for one in rows
            for name in ("P50", "P90", "P95", "P99")
        )
    return sorted((one["AT_MS"], one["POINTS"], one["VALUE"], one["LOW"], one["HIGH"]) for one in rows)


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
            answer = draw(warehouse, picked)
            expected, found = plainly(warehouse, answer), points(answer)
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
        pytest.param([3000, 1000, -5], -1440, id="far away: since the day before"),
        pytest.param([100, -5], -120, id="no row at all is older"),
        pytest.param([3000, 130], -15, id="nothing to draw"),
    ],
)
def test_no_more_rows_are_read_than_a_step_needs(warehouse: Warehouse, ages: list[int], since: int) -> None:
    """`ages` are minutes before the chart's beginning; so is the time from which on its rows are read."""
    begin = T0 + DAY * 10
    marks = {"otlp.temporality": "cumulative"}
    rows = [row(begin - age * MINUTE, 10_000 - age, "Octets", "sum", marks) for age in ages]
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    picked = ChartQuery("acme", "7", "o'Net", None, "Octets", "rate", begin, begin + HOUR)
    found = asked(warehouse.path.parent, lambda run: chart._since(run, picked, None))
    assert found == begin + since * MINUTE
    answer = draw(warehouse, picked)
    assert points(answer) == plainly(warehouse, answer)


@pytest.mark.parametrize(
    ("over", "by", "lines"),
    [
        ("sum", "", {"": [(600, 22.0), (660, 23.0), (720, 24.0)]}),
        ("avg", "", {"": [(600, 5.5), (660, 5.75), (720, 6.0)]}),
        ("max", "", {"": [(600, 11.0), (660, 11.0), (720, 11.0)]}),
        ("sum", "device", {"web-1": [(600, 1.0), (660, 2.0), (720, 3.0)],
                           "web-2": [(600, 21.0), (660, 21.0), (720, 21.0)]}),
        ("top", "", {"web-1 \u00b7 eth0": [(600, 0.5), (660, 1.0), (720, 1.5)],
                     "web-1 \u00b7 eth1": [(600, 0.5), (660, 1.0), (720, 1.5)],
                     "web-2 \u00b7 eth0": [(600, 10.0), (660, 10.0), (720, 10.0)],
                     "web-2 \u00b7 eth1": [(600, 11.0), (660, 11.0), (720, 11.0)]}),
    ],
)  # fmt: skip
def test_many_series_are_drawn_as_one_or_the_largest(
    warehouse: Warehouse, over: str, by: str, lines: dict[str, list[tuple[int, float]]]
) -> None:
    """Each series is averaged over a step, then they are combined; a step that is not over is left out of a sum."""
    rows = []
    for step in range(8):  # a point every 30 s, by a few seconds apart
        for at, (device, instance) in enumerate([("1", "eth0"), ("1", "eth1"), ("2", "eth0"), ("2", "eth1")]):
            value = {0: step // 2 / 2, 1: step // 2 / 2, 2: 10.0, 3: 11.0}[at] + (0.5 if at < 2 else 0)
            more = {"deviceId": device, "deviceName": f"web-{device}", "instance": instance}
            rows.append(row(T0 + 600_000 + step * 30_000 + at * 1000, value, "Load", "gauge", {}, **more))
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    picked = ChartQuery("", "", "o'Net", None, "Load", "raw", T0 + 600_000, T0 + 830_000, over=over, by=by)
    answer = draw(warehouse, picked)
    assert answer["widthMs"] == (30_000 if over == "top" else 60_000)
    found = {line["name"]: [((at - T0) // 1000, value) for at, value, *_ in line["points"]] for line in answer["lines"]}
    if over == "top":
        found = {name: [(at, value) for at, value in ones if at % 60 == 0 and at < 780] for name, ones in found.items()}
    assert found == lines


def test_a_step_without_a_rate_slows_no_line(warehouse: Warehouse) -> None:
    """An undeclared sum that falls: one octet a second in the two minutes that are known, and not in the third."""
    rows = [row(T0 + at * MINUTE, value, "Octets", "sum", {}) for at, value in enumerate((0.0, 60.0, 0.0, 60.0))]
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    answer = draw(warehouse, ChartQuery("acme", "7", "o'Net", None, "Octets", "rate", T0, T0 + 10 * MINUTE, points=2))
    assert [at[1] for at in answer["lines"][0]["points"]] == [1.0, 1.0]


def test_a_chart_over_many_rates_is_what_the_view_gives(warehouse: Warehouse) -> None:
    """Counters of three devices, one of which begins in the chart; their sum is that of the view's rates."""
    marks = {"otlp.monotonic": True, "otlp.temporality": "cumulative"}
    rows = [
        row(T0 + poll * MINUTE, poll * 60.0 * device, "Octets", "sum", marks, deviceId=str(device), instance="eth0")
        for device in (1, 2, 3)
        for poll in range(20 if device == 3 else 0, 60)
    ]
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    picked = ChartQuery(
        "acme", "", "o'Net", None, "Octets", "rate", T0 + 10 * MINUTE, T0 + 60 * MINUTE, over="sum", points=5
    )
    answer = draw(warehouse, picked)
    assert [at[1] for at in answer["lines"][0]["points"]] == [3.0, 6.0, 6.0, 6.0, 6.0]
    assert points(answer) == plainly(warehouse, answer)


@pytest.mark.parametrize(
    ("differ", "expected"),
    [
        ({"attributes": ['{"n": 1}', '{"n": 2}']}, ["n=1", "n=2"]),
        ({"scope": ['{"epoch": "1", "id": "a"}', '{"epoch": "2", "id": "b"}']}, ["scope id=a", "scope id=b"]),
        ({"resource": ['{"place": "x"}', "{}"]}, ["resource place=x", "resource place=\u2013"]),
        ({"attributes": ['{"le": "1"}', '{"le": "+Inf"}']}, ["le=1", "le=+Inf"]),
        ({"scope": ['{"epoch": "1"}', '{"epoch": "2"}']}, [""]),
    ],
)
def test_a_line_is_named_by_what_tells_it_apart(
    warehouse: Warehouse, differ: dict[str, list[str]], expected: list[str]
) -> None:
    """Attributes, the scope's and the resource's; the time of the poll in the scope makes no series."""
    events = [
        event(T0 + at, 1.0, "Load", "gauge", {}) | {name: texts[at] for name, texts in differ.items()} for at in (0, 1)
    ]
    rows = [tuple(one.get(field.name) for field in SPEC.fields) for one in events]
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    answer = draw(warehouse, ChartQuery("acme", "7", "o'Net", None, "Load", "raw", T0, T0 + MINUTE))
    assert sorted(line["name"] for line in answer["lines"]) == sorted(expected)


@pytest.mark.parametrize(
    ("every_s", "hours", "width_s"),
    [(1, 1, 10), (60, 1, 60), (300, 1, 300), (60, 720, 300), (300, 24, 300), (10, 24, 300)],
)
def test_a_step_is_as_long_as_the_data_allows(warehouse: Warehouse, every_s: int, hours: int, width_s: int) -> None:
    """No shorter than the time between two points, though half of them are missing, and not longer for a long range."""
    step, span = every_s * 1000, min(hours, 24) * HOUR
    rows = [row(T0 + ms, 1.0, "Load", "gauge", {}) for ms in range(0, span, step) if not span // 4 < ms < span * 3 // 4]
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    end = T0 + span
    picked = ChartQuery("acme", "7", "o'Net", None, "Load", "raw", end - hours * HOUR, end)
    assert draw(warehouse, picked)["widthMs"] == width_s * 1000


@pytest.mark.parametrize(
    ("view", "over", "rows", "is_drawn"),
    [
        ("raw", "sum", 1_000_000, True),
        ("raw", "sum", 1_000_001, False),
        ("rate", "top", 200_000, True),
        ("rate", "top", 200_001, False),
        ("rate", "", 10_000_000, True),
    ],
)
def test_a_chart_over_too_many_rows_is_refused(view: View, over: str, rows: int, *, is_drawn: bool) -> None:
    """With the number, and what to do, instead of half a minute's silence; one series has no limit."""
    picked = ChartQuery("acme", "7", "Net", None, "Octets", view, T0, T0 + HOUR, over=over)
    if is_drawn:
        picked.check_rows(rows)
    else:
        with pytest.raises(ApiError, match=rf"would read {rows:,} rows.*shorter range"):
            picked.check_rows(rows)
