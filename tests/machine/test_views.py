"""The views over literal rows: what users are told about repeats, rates and resets."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.snowflake.verify import VIEWS
from lmdp.sql.duckdb_dialect import to_duckdb
from lmdp.sql.render import statements

if TYPE_CHECKING:
    pass

SPEC = load_spec()
T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
MINUTE = 60_000
HOUR = 60 * MINUTE
Row = tuple[Any, ...]


def row(ms: int = T0, value: float = 1.0, **fields: object) -> Row:
    """One row event; maps are given as dicts."""
    event: dict[str, object] = {
        "orgId": "demo",
        "deviceId": "1",
        "datasource": "Interfaces-",
        "instance": "eth0",
        "metric": "InOctets",
        "type": "sum",
        "ts": datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "tsUnixMs": ms,
        "value": value,
        "attributes": {},
        "resource": {},
        "scope": {},
        **fields,
    }
    return tuple(
        json.dumps(value, sort_keys=True, separators=(",", ":")) if isinstance(value, dict) else value
        for value in (event.get(field.name) for field in SPEC.fields)
    )


def cumulative(ms: int, value: float, *, monotonic: bool = True, **fields: object) -> Row:
    """A point of a cumulative sum."""
    return row(ms, value, attributes={"otlp.temporality": "cumulative", "otlp.monotonic": monotonic}, **fields)


def started(ms: int, value: float, start: int, *, monotonic: bool = True) -> Row:
    """A point of a cumulative sum with its start time in milliseconds."""
    marks = {"otlp.temporality": "cumulative", "otlp.monotonic": monotonic, "otlp.startTimeUnixMs": start}
    return row(ms, value, attributes=marks)


def delta(ms: int, value: float, start: int | None, **fields: object) -> Row:
    """A point of a delta sum, with the time that it began in milliseconds."""
    attributes = {"otlp.temporality": "delta", "otlp.monotonic": True}
    return row(
        ms, value, attributes=attributes | ({"otlp.startTimeUnixMs": start} if start is not None else {}), **fields
    )


def ask(warehouse: Warehouse, rows: list[Row], sql: str) -> list[tuple[Any, ...]]:
    """What a question gives once the rows are in."""
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    table = warehouse.query(sql).table
    return [tuple(line.values()) for line in table.to_pylist()]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([row(value=1.0), row(value=1.0)], [1.0], id="a repeat is shown once"),
        pytest.param([row(value=1.0), row(value=3.0), row(value=2.0)], [3.0], id="of other values the greatest"),
        pytest.param([row(T0), row(T0 + 1)], [1.0, 1.0], id="another time is another row"),
        pytest.param([row(unit="By"), row(), row()], [1.0, 1.0], id="a column given is not a column missing"),
        pytest.param([row(attributes={"a": 1}), row(attributes={"a": 2})], [1.0, 1.0], id="attributes tell rows apart"),
        pytest.param([row(resource={"a": 1}), row(resource={"a": 2})], [1.0, 1.0], id="so does the resource"),
        pytest.param([row(scope={"a": 1}), row(scope={"a": 2})], [1.0, 1.0], id="and the scope"),
        pytest.param([row(datasource="lmdp.canary"), row(value=5.0)], [5.0], id="canary rows stay out"),
    ],
)
def test_metrics_shows_each_row_once(warehouse: Warehouse, rows: list[Row], expected: list[float]) -> None:
    """A row is the same row when every column but value is the same."""
    assert [value for (value,) in ask(warehouse, rows, "SELECT VALUE FROM METRICS ORDER BY ALL")] == expected


def test_metrics_has_clean_names_and_typed_columns(warehouse: Warehouse) -> None:
    """No name needs quotes, and what lies in the maps comes out as text, number, boolean and time."""
    attributes = {
        "le": "0.5",
        "quantile": "0.99",
        "otlp.monotonic": True,
        "otlp.startTimeUnixMs": T0 - 1,
        "otlp.temporality": "delta",
        "wildAlias": 'the "first"',
    }
    event = row(T0, 2.5, deviceName="core-1", unit="By", attributes=attributes, resource={"r": 1}, scope={"s": 2})
    warehouse.commit(Load([event], [], [], datetime.now(UTC)))
    (shown,) = warehouse.query("SELECT * EXCLUDE (SERIES, HISTOGRAM_SERIES, ATTRIBUTES) FROM METRICS").table.to_pylist()
    assert shown == {
        "ORG_ID": "demo",
        "DEVICE_ID": "1",
        "DEVICE_NAME": "core-1",
        "DATASOURCE": "Interfaces-",
        "INSTANCE": "eth0",
        "METRIC": "InOctets",
        "UNIT": "By",
        "TYPE": "sum",
        "TS": datetime(2026, 1, 1),  # noqa: DTZ001 - the warehouse's times are UTC without a zone
        "TS_UNIX_MS": T0,
        "VALUE": 2.5,
        "HOUR_TS": datetime(2026, 1, 1),  # noqa: DTZ001 - as above
        "RESOURCE": '{"r":1}',
        "SCOPE": '{"s":2}',
        "INSTANCE_LABEL": 'the "first"',
        "LE": 0.5,
        "QUANTILE": 0.99,
        "TEMPORALITY": "delta",
        "IS_MONOTONIC": True,
        "START_TS": datetime(2025, 12, 31, 23, 59, 59, 999000),  # noqa: DTZ001 - as above
    }


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, (None, None, None, None, None)),
        ({"le": "+Inf"}, (math.inf, None, None, None, None)),
        ({"le": "-2.5e-3", "quantile": "1"}, (-0.0025, 1.0, None, None, None)),
        # a source that uses these keys for something else spoils its own row alone
        ({"le": "wide", "quantile": [1], "otlp.monotonic": "perhaps", "otlp.startTimeUnixMs": "then"},
         (None, None, None, None, None)),
        ({"otlp.startTimeUnixMs": "9" * 30}, (None, None, None, None, None)),
    ],
)  # fmt: skip
def test_typed_columns_never_break_the_view(
    warehouse: Warehouse, attributes: dict[str, object], expected: tuple[object, ...]
) -> None:
    """What cannot be read as the column's type is NULL; the last bucket's bound is infinity."""
    sql = "SELECT LE, QUANTILE, TEMPORALITY, IS_MONOTONIC, START_TS FROM METRICS"
    assert ask(warehouse, [row(attributes=attributes)], sql) == [expected]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({"attributes": {"a": 1, "otlp.intValue": "9"}}, {"attributes": {"a": 1}}, True),
        ({"attributes": {"otlp.temporality": "delta"}}, {"attributes": {"otlp.startTimeUnixMs": 5}}, True),
        ({"scope": {"epoch": "1", "name": "x"}}, {"scope": {"epoch": "2", "name": "x"}}, True),
        ({"attributes": {"epoch": "1"}}, {"attributes": {"epoch": "2"}}, False),
        ({"attributes": {"a": 1}}, {"attributes": {"a": "1"}}, False),
        ({"resource": {"a": 1}}, {"resource": {"a": 2}}, False),
        ({"scope": {"name": "x"}}, {"scope": {"name": "y"}}, False),
        ({"unit": "By"}, {}, False),
        ({"instance": "ab", "metric": "c"}, {"instance": "a", "metric": "bc"}, False),
    ],
)
def test_a_series_is_what_the_time_and_its_marks_leave(
    warehouse: Warehouse, one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    """SERIES leaves out time, value, the otlp.* keys, and the scope's epoch (LogicMonitor's time of the poll)."""
    sql = "SELECT count(DISTINCT SERIES) FROM METRICS"
    assert ask(warehouse, [row(T0, **one), row(T0 + MINUTE, **other)], sql) == [(1 if same else 2,)]


RATES = "SELECT TS_UNIX_MS, TEMPORALITY, SECONDS, RATE, RESET FROM METRIC_RATES ORDER BY ALL"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([cumulative(T0, 100)], [], id="nothing for the first point"),
        pytest.param(
            [cumulative(T0, 100), cumulative(T0 + MINUTE, 160), cumulative(T0 + 3 * MINUTE, 160)],
            [(T0 + MINUTE, "cumulative", 60.0, 1.0, False), (T0 + 3 * MINUTE, "cumulative", 120.0, 0.0, False)],
            id="cumulative: growth over seconds",
        ),
        pytest.param(
            [row(T0, 100), row(T0 + MINUTE, 160)],
            [(T0 + MINUTE, "undeclared", 60.0, 1.0, False)],
            id="without temporality: the same, and said",
        ),
        pytest.param(
            [cumulative(T0, 100), cumulative(T0 + MINUTE, 30)],
            [(T0 + MINUTE, "cumulative", 60.0, 0.5, True)],
            id="a monotonic counter that fell began again at 0",
        ),
        pytest.param(
            [cumulative(T0 + i * MINUTE, v, monotonic=False) for i, v in enumerate([100, 40, 100])],
            [(T0 + MINUTE, "cumulative", 60.0, -1.0, False), (T0 + 2 * MINUTE, "cumulative", 60.0, 1.0, False)],
            id="a declared sum that may fall has a negative rate",
        ),
        pytest.param(
            [row(T0, 100), row(T0 + MINUTE, 40)],
            [(T0 + MINUTE, "undeclared", 60.0, None, True)],
            id="an undeclared sum that may fall has no rate where it falls",
        ),
        pytest.param(
            [
                started(T0, 100, T0 - MINUTE),
                started(T0 + MINUTE, 150, T0 + 10_000),
                started(T0 + 2 * MINUTE, 210, T0 + 10_000),
            ],
            [(T0 + MINUTE, "cumulative", 60.0, 2.5, True), (T0 + 2 * MINUTE, "cumulative", 60.0, 1.0, False)],
            id="a start time after the point before is a restart, though the value rose",
        ),
        pytest.param(
            [started(T0, 100, T0 - MINUTE), started(T0 + MINUTE, 120, T0)],
            [(T0 + MINUTE, "cumulative", 60.0, 2.0, True)],
            id="so is one at the time of the point before",
        ),
        pytest.param(
            [started(T0, 100, T0 - MINUTE), started(T0 + MINUTE, 160, T0 - 1)],
            [(T0 + MINUTE, "cumulative", 60.0, 1.0, False)],
            id="another start time before the point before is none",
        ),
        pytest.param(
            [cumulative(T0, 100), started(T0 + MINUTE, 160, T0)],
            [(T0 + MINUTE, "cumulative", 60.0, 1.0, False)],
            id="a point without a start time may have started at its own time",
        ),
        pytest.param(
            [cumulative(T0, 100), started(T0 + MINUTE, 120, T0 + 1)],
            [(T0 + MINUTE, "cumulative", 60.0, 2.0, True)],
            id="a first start time after it is a restart",
        ),
        pytest.param(
            [started(T0, 100, T0 - MINUTE, monotonic=False), started(T0 + MINUTE, 30, T0 + 1, monotonic=False)],
            [(T0 + MINUTE, "cumulative", 60.0, 0.5, True)],
            id="the start time speaks for sums that may fall too",
        ),
        pytest.param(
            [delta(T0, 30, T0 - MINUTE), delta(T0 + MINUTE, 6, T0 + MINUTE // 2)],
            [(T0, "delta", 60.0, 0.5, False), (T0 + MINUTE, "delta", 30.0, 0.2, False)],
            id="delta: value over its own stretch, a fall is none",
        ),
        pytest.param(
            [delta(T0, 30, None), delta(T0 + MINUTE, 30, None), delta(T0 + 2 * MINUTE, 5, T0 + 3 * MINUTE)],
            [],
            id="a delta without a start before it has no rate",
        ),
        pytest.param(
            [cumulative(T0, 100), cumulative(T0 + MINUTE, 160), cumulative(T0 + MINUTE, 160), cumulative(T0, 90)],
            [(T0 + MINUTE, "cumulative", 60.0, 1.0, False)],
            id="repeats make no step",
        ),
        pytest.param(
            [cumulative(T0 + 2 * MINUTE, 220), cumulative(T0, 100), cumulative(T0 + MINUTE, 160)],
            [(T0 + MINUTE, "cumulative", 60.0, 1.0, False), (T0 + 2 * MINUTE, "cumulative", 60.0, 1.0, False)],
            id="a late point takes its place",
        ),
        pytest.param(
            [cumulative(T0, 100, instance="a"), cumulative(T0 + MINUTE, 160, instance="b")],
            [],
            id="another instance is another series",
        ),
        pytest.param(
            [cumulative(T0, 1, scope={"epoch": "1"}), cumulative(T0 + MINUTE, 61, scope={"epoch": "2"})],
            [(T0 + MINUTE, "cumulative", 60.0, 1.0, False)],
            id="the time of the poll in the scope breaks no series",
        ),
        pytest.param(
            [row(T0, 1, type="gauge"), row(T0 + MINUTE, 61, type="gauge")], [], id="a gauge has no rate"
        ),
        pytest.param(
            [cumulative(T0 - MINUTE, 100), cumulative(T0 + MINUTE, 160), cumulative(T0 + 61 * MINUTE, 160)],
            [(T0 + MINUTE, "cumulative", 120.0, 0.5, False), (T0 + 61 * MINUTE, "cumulative", 3600.0, 0.0, False)],
            id="a step goes over midnight, and over the edge of an hour",
        ),
        pytest.param(
            [cumulative(T0 + 59 * MINUTE, 100), cumulative(T0 + 61 * MINUTE, 30)],
            [(T0 + 61 * MINUTE, "cumulative", 120.0, 0.25, True)],
            id="a counter falls over the edge of an hour",
        ),
        pytest.param(
            [started(T0 + 59 * MINUTE, 100, T0), started(T0 + 61 * MINUTE, 120, T0 + 60 * MINUTE)],
            [(T0 + 61 * MINUTE, "cumulative", 120.0, 1.0, True)],
            id="it starts again at the edge of an hour, by its start time alone",
        ),
        pytest.param(
            [cumulative(T0, 0), cumulative(T0 + 47 * HOUR, 169_200)],
            [(T0 + 47 * HOUR, "cumulative", 169_200.0, 1.0, False)],
            id="the point before may be of any hour of the day before",
        ),
        pytest.param(
            [cumulative(T0 + 23 * HOUR, 100), cumulative(T0 + 48 * HOUR, 160)], [],
            id="a series that was silent for a whole day starts again",
        ),
    ],
)  # fmt: skip
def test_rates(warehouse: Warehouse, rows: list[Row], expected: list[tuple[object, ...]]) -> None:
    """A step has a rate or is a reset; what is neither has no row. Windows that end with the hour find the same."""
    assert ask(warehouse, rows, RATES) == expected
    for statement in statements(SPEC):
        if statement.file in {"050_sum_ends.sql", "060_sum_previous.sql", "070_sum_steps.sql"}:
            warehouse._connection.execute(str(to_duckdb(statement.sql)))
    assert ask(warehouse, [], RATES) == expected


def test_two_starts_at_one_time_divide_by_nothing(warehouse: Warehouse) -> None:
    """Points of one series at the same moment make no step of no length."""
    marks = {"otlp.temporality": "cumulative", "otlp.monotonic": True}
    rows = [
        row(T0, 60, attributes=marks | {"otlp.startTimeUnixMs": 1}),
        row(T0, 120, attributes=marks | {"otlp.startTimeUnixMs": 2}),
        row(T0 + MINUTE, 180, attributes=marks | {"otlp.startTimeUnixMs": 2}),
    ]
    assert ask(warehouse, rows, RATES) == [(T0 + MINUTE, "cumulative", 60.0, 1.0, False)]


def _random_rows(seed: int) -> list[Row]:
    """Series of all kinds with repeats, resets, gaps and points out of order."""
    make = random.Random(seed)
    rows: list[Row] = []
    for series in range(40):
        temporality, monotonic = make.choice(["delta", "cumulative", None]), make.choice([True, False])
        value = 0.0
        for step in range(make.randrange(1, 30)):
            ms = T0 + step * MINUTE + make.randrange(1000)
            value = 0.0 if make.random() < 0.1 else value + make.randrange(-5 if not monotonic else 0, 100)
            attributes: dict[str, object] = {"n": series % 7, "otlp.monotonic": monotonic}
            if temporality:
                attributes["otlp.temporality"] = temporality
            if make.random() < 0.8:
                attributes["otlp.startTimeUnixMs"] = ms - make.randrange(1, 2 * MINUTE)
            point = {"instance": f"i{series // 7}", "attributes": attributes, "scope": {"epoch": str(ms)}}
            rows += [row(ms, value - again, **point) for again in range(make.choice([1, 1, 1, 2, 3]))]
    make.shuffle(rows)
    return rows


def _rates(rows: list[Row]) -> list[tuple[Any, ...]]:
    """METRIC_RATES once more, in plain Python over the rows of one device, metric and scope."""
    points: dict[tuple[Any, ...], float] = {}
    for line in rows:
        instance, ms, value, text = line[4], line[9], line[10], line[11]
        points[instance, ms, text] = max(value, points.get((instance, ms, text), -math.inf))
    series = defaultdict(list)
    for (instance, ms, text), value in points.items():
        marks = json.loads(text)
        start, kind = marks.get("otlp.startTimeUnixMs"), marks.get("otlp.temporality", "undeclared")
        series[instance, marks["n"], kind].append((ms, value, start, marks["otlp.monotonic"]))
    found: list[tuple[Any, ...]] = []
    for (instance, n, kind), unordered in series.items():
        ordered = sorted(unordered)
        for index, (ms, value, start, monotonic) in enumerate(ordered):
            before = ordered[index - 1] if index else None
            if kind == "delta":
                step = (ms - start) / 1000 if start is not None else 0
                found += [(instance, n, ms, kind, value / step, False)] if step > 0 else []
            elif before is not None and ms > before[0]:
                step, fell = (ms - before[0]) / 1000, value < before[1]
                known = before[0] if before[2] is None else before[2]
                restarted = start is not None and start >= before[0] and start != known
                whole = restarted or (fell and monotonic)
                unknown = fell and not whole and kind == "undeclared"
                growth = value if whole else value - before[1]
                found.append((instance, n, ms, kind, None if unknown else growth / step, whole or unknown))
    return sorted(found, key=repr)


@pytest.mark.parametrize("seed", range(5))
def test_rates_equal_an_independent_computation(warehouse: Warehouse, seed: int) -> None:
    """Over random series the view gives what a few loops give, to the row."""
    rows = _random_rows(seed)
    sql = """
        SELECT R.INSTANCE, CAST(M.ATTRIBUTES->>'$.n' AS INTEGER), R.TS_UNIX_MS, R.TEMPORALITY, R.RATE, R.RESET
        FROM METRIC_RATES AS R
        JOIN (SELECT SERIES, any_value(ATTRIBUTES) AS ATTRIBUTES FROM METRICS GROUP BY SERIES) AS M USING (SERIES)
    """
    found, expected = sorted(ask(warehouse, rows, sql), key=repr), _rates(rows)
    assert len(expected) > 100
    assert found == expected


def _plan(warehouse: Warehouse, sql: str) -> dict[str, Any]:
    with warehouse._reader.cursor() as cursor:
        answer = cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}").fetchall()
    (plan,) = json.loads(answer[0][1])
    assert isinstance(plan, dict)
    return plan


def _scan_filters(plan: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, tuple[str, ...]]]:
    """Each table scan's filters, and the operators above it."""
    name = plan["name"]
    found = [(json.dumps(plan.get("extra_info", {})), above)] if "SCAN" in name.upper() else []
    for child in plan.get("children", []):
        found += _scan_filters(child, (*above, name))
    return found


@pytest.mark.parametrize(
    ("condition", "column"),
    [
        ("TS >= TIMESTAMP '2026-01-01 05:00:00'", "ts"),
        (f"TS_UNIX_MS >= {T0 + 300 * MINUTE}", "tsUnixMs"),
        ("HOUR_TS >= TIMESTAMP '2026-01-01 05:00:00'", "ts"),
        ("DEVICE_ID = '1'", "deviceId"),
    ],
)
def test_a_filter_passes_below_the_removal_of_repeats(warehouse: Warehouse, condition: str, column: str) -> None:
    """A question about an hour reads an hour: the plan filters in the scan, not after the window over everything."""
    rows = [row(T0 + i * MINUTE, deviceId=str(i % 3)) for i in range(600)]
    warehouse.commit(Load(rows, [], [], datetime.now(UTC)))
    ((scan, above),) = _scan_filters(_plan(warehouse, f"SELECT sum(VALUE) FROM METRICS WHERE {condition}"))
    assert column in json.dumps(json.loads(scan).get("Filters", ""))
    assert set(above) & {"WINDOW", "HASH_GROUP_BY"}


def test_a_filter_on_the_value_stays_above_it(warehouse: Warehouse) -> None:
    """The greatest value is chosen first, and asked about then."""
    rows = [row(T0, 1.0), row(T0, 9.0)]
    assert ask(warehouse, rows, "SELECT count(*) FROM METRICS WHERE VALUE < 5") == [(0,)]
    ((scan, _),) = _scan_filters(_plan(warehouse, "SELECT sum(VALUE) FROM METRICS WHERE VALUE < 5"))
    assert "value <" not in json.dumps(json.loads(scan).get("Filters", ""))


GAPS = "SELECT strftime(HOUR_TS, '%d %H'), ROW_COUNT, REPEATS, GAP_SECONDS FROM DEVICE_HOURS ORDER BY HOUR_TS"


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        pytest.param([0], [("01 00", 1, 0, None)], id="nothing came before"),
        pytest.param([0, 0, 10, 12], [("01 00", 4, 1, 600.0)], id="the longest within the hour; a repeat is no gap"),
        pytest.param([50, 70, 75], [("01 00", 1, 0, None), ("01 01", 2, 0, 1200.0)], id="over the edge of the hour"),
        pytest.param([50, 60, 90], [("01 00", 1, 0, None), ("01 01", 2, 0, 1800.0)], id="a longer one within the hour"),
        pytest.param([0, 40 * 1440], [("01 00", 1, 0, None), ("10 00", 1, 0, 40 * 86_400.0)], id="the month before"),
        pytest.param([0, 70 * 1440], [("01 00", 1, 0, None), ("12 00", 1, 0, None)], id="not two months before"),
    ],
)
def test_gaps(warehouse: Warehouse, minutes: list[int], expected: list[tuple[object, ...]]) -> None:
    """GAP_SECONDS is the longest time without a row that ended in the hour."""
    assert ask(warehouse, [row(T0 + minute * MINUTE) for minute in minutes], GAPS) == expected


def test_without_rows_every_view_is_empty(warehouse: Warehouse) -> None:
    """And answers; PIPELINE_LAG always has its one row."""
    assert [view for view in VIEWS if ask(warehouse, [], f"SELECT * FROM {view}")] == ["PIPELINE_LAG"]
