"""Spread, trend, limits and the pipeline's lag: literal points, and the numbers that a report shows of them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.machine.sink import Load
from new_warehouse import open_warehouse
from simulated_day import Row, row

SPEC = load_spec()
HOUR = 3_600_000
DAY = 24 * HOUR
T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
NOW = datetime.now(UTC)
LAST = int(NOW.timestamp() * 1000) - HOUR


def ask(folder: Path, rows: list[Row], sql: str) -> list[tuple[Any, ...]]:
    """Return the answer over these rows."""
    with open_warehouse(folder / "w.duckdb") as warehouse:
        warehouse.commit(Load(rows, [], [], NOW))
        return [tuple(line.values()) for line in warehouse.query(sql).table.to_pylist()]


def gauge(ms: int, value: float, metric: str = "FreeSpace", **fields: object) -> Row:
    """Return a point of a gauge."""
    return row(ms, value, type="gauge", metric=metric, **fields)


BUCKETS = {
    0.0: 0, 9e-7: 0, -9e-7: 0, 1e-6: 1, 0.001: 136, 1.0: 271, 1.05: 271, 1.06: 272, 10.0: 316, 1000.0: 406,
    999_999.0: 540, 1e6: 541, 1e15: 945, 1e300: 945, -1.0: -271, -1e300: -945,
}  # fmt: skip


def test_a_value_is_in_the_bucket_of_its_magnitude(tmp_path: Path) -> None:
    """A bucket is a forty-fifth of a decade; powers of ten begin one; what is beyond is in the last one."""
    rows = [gauge(T0, value, instance=str(value)) for value in BUCKETS]
    found = ask(tmp_path, rows, "SELECT AVERAGE_MIN, BUCKET FROM METRIC_SPREAD WHERE HOURS = 1")
    assert dict(found) == BUCKETS


def test_the_spread_counts_hours_by_day_and_merges(tmp_path: Path) -> None:
    """Two points of an hour are one average; a bound of a histogram's bucket is no value of the metric."""
    rows = [gauge(T0, 1), gauge(T0 + 1, 3), gauge(T0 + HOUR, 2), gauge(T0 + DAY, 2)]
    rows.append(gauge(T0, 5, attributes={"le": "1"}))
    found = ask(
        tmp_path, rows, "SELECT DATE_KEY, BUCKET, HOURS, AVERAGE_MIN, AVERAGE_MAX FROM METRIC_SPREAD ORDER BY ALL"
    )
    assert found == [(20260101, 284, 2, 2.0, 2.0), (20260102, 284, 1, 2.0, 2.0)]


def test_a_percentile_of_the_spread_is_near_to_that_of_the_hours(tmp_path: Path) -> None:
    """The middle of the bucket in which so many hours are reached is within 2.6 percent of the exact one."""
    make = random.Random(1)
    rows = [gauge(T0 + hour * HOUR, make.lognormvariate(3, 2)) for hour in range(300)]
    found = ask(
        tmp_path,
        rows,
        """WITH REACHED AS (
          SELECT BUCKET, SUM(SUM(HOURS)) OVER (ORDER BY BUCKET) AS UP_TO, SUM(SUM(HOURS)) OVER () AS N
          FROM METRIC_SPREAD GROUP BY BUCKET
        )
        SELECT
          (SELECT POWER(10, (MIN(BUCKET) - 270.5) / 45) FROM REACHED WHERE UP_TO >= N * SHARE),
          (SELECT LIST_SORT(LIST(VALUE_AVG))[CAST(CEIL(300 * SHARE) AS INTEGER)] FROM METRIC_HOURLY)
        FROM (VALUES (0.5), (0.95), (0.99)) AS SHARES (SHARE)""",
    )
    assert len(found) == 3
    for near, exact in found:
        assert near == pytest.approx(exact, rel=0.026)


def below(today: float, step: float) -> list[float]:
    """Return 40 days' values, the newest first, of which each is `step` less than the day after it."""
    return [today - step * ago for ago in range(40)]


CASES: list[tuple[str, list[float], str, list[float], tuple[Any, ...]]] = [
    # metric and its days, its instance's capacity and its days: slope, capacity, used, days to full, state
    ("FreeSpace", below(200, -10), "Capacity", [1000], (-10, 1000, 0.8, 20, "filling")),
    ("FreeSpace", below(50, 0), "Capacity", [1000], (0, 1000, 0.95, None, "hot")),
    ("FreeSpace", below(0, 0), "Capacity", [1000], (0, 1000, 1, 0, "hot")),
    ("FreeSpace", below(500, -10), "other", [1], (-10, None, None, None, None)),
    ("hrStorageUsed", below(800, 1), "hrStorageSize", [1000], (1, 1000, 0.8, 200, None)),
    ("hrStorageUsed", below(800, 0.001), "hrStorageSize", [1000], (0.001, 1000, 0.8, None, None)),
    ("DiskPercentUsed", below(80, 1), "other", [1], (1, 100, 0.8, 20, "filling")),
    ("PercentFree", below(5, -1), "other", [1], (-1, 100, 0.95, 5, "hot")),
    ("system.memory.utilization", below(0.5, 0), "other", [1], (0, 1, 0.5, None, None)),
    ("cacheHitPercent", below(99, 1), "other", [1], (1, None, None, None, None)),
    ("average", below(80, 1), "other", [1], (1, None, None, None, None)),
    # Fewer than seven days show no trend.
    ("PercentUsed", below(80, 1)[:6], "other", [1], (None, 100, 0.8, None, None)),
    # Silent for two days.
    ("PercentUsed", [95.0] * 3, "silent", [1], (None, 100, 0.95, None, None)),
]


def test_a_metric_has_its_limit_by_name_and_a_date_by_its_trend(tmp_path: Path) -> None:
    """The limit is the instance's capacity, or 100 percent, or a share of 1."""
    rows = []
    for number, (metric, days, other, others, _) in enumerate(CASES):
        for name, values in ((metric, days), (other, others)):
            late = 2 * DAY if other == "silent" else 0
            rows += [gauge(LAST - late - ago * DAY, v, name, instance=str(number)) for ago, v in enumerate(values)]
    found = ask(
        tmp_path,
        rows,
        """SELECT INSTANCE, METRIC, SLOPE_30, CAPACITY, USED_SHARE, DAYS_TO_FULL, STATE, EPOCH_MS(FULL_AT) - TS_MS
        FROM (SELECT *, EPOCH_MS(TS) AS TS_MS FROM METRIC_TREND)""",
    )
    shown = {(int(line[0]), line[1]): line[2:] for line in found}
    for number, (metric, _, _, _, expected) in enumerate(CASES):
        *numbers, state, until = shown[number, metric]
        assert [*numbers, state] == [*(pytest.approx(one, abs=1e-6) for one in expected[:4]), expected[4]], CASES[
            number
        ]
        left = expected[3]
        assert until is left is None or abs(until - left * DAY) <= 60_000


def test_the_slopes_look_back_30_and_90_days(tmp_path: Path) -> None:
    """It rose by 3 a day until 31 days ago, and is flat since."""
    rows = [gauge(LAST - ago * DAY, -3 * max(ago - 30, 0), "average") for ago in range(80)]
    ((near, far, days),) = ask(tmp_path, rows, "SELECT SLOPE_30, SLOPE_90, DAYS_30 FROM METRIC_TREND")
    assert near == pytest.approx(0)
    assert 1 < far < 3
    assert 21 <= days <= 30


@pytest.mark.parametrize(
    ("minutes", "landed", "rolled_up"), [([5, 90], 5, 5), ([240], None, 240), ([-60, 20], 20, 20), ([], None, None)]
)
def test_the_lag_is_that_of_the_newest_measurement(
    tmp_path: Path, minutes: list[int], landed: float | None, rolled_up: float | None
) -> None:
    """Of the last three hours in the landing table; a time that is yet to come is none."""
    rows = [row(int(datetime.now(UTC).timestamp() * 1000) - m * 60_000, 1.0) for m in minutes]
    found = ask(tmp_path, rows, "SELECT LANDED_MINUTES, ROLLED_UP_MINUTES FROM PIPELINE_LAG")
    assert found == [(pytest.approx(landed, abs=1), pytest.approx(rolled_up, abs=1))]
