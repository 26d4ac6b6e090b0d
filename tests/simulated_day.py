"""One day of rows with everything that goes wrong made on purpose, and what each view has to say of it.

The answers are loops over dicts: nothing here knows SQL. Values are whole quarters: sums are exact in any order.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from lmdp.core.specification import load_spec

SPEC = load_spec()
NAMES = [field.name for field in SPEC.fields]
BEGIN = 1_767_139_200_000  # 2025-12-31T00:00:00Z: the next day is another year
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
Row = tuple[Any, ...]
Answer = list[tuple[Any, ...]]


def text(value: object) -> str:
    """A map as the core writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def moment(ms: int) -> datetime:
    """A time without a zone, as the warehouse has it."""
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None)


def row(ms: int, value: float, **fields: object) -> Row:
    """One row event; maps are given as dicts."""
    event: dict[str, object] = {
        "orgId": "demo", "deviceId": "1", "deviceName": "core-1", "datasource": "Interfaces-", "instance": "eth0",
        "metric": "InOctets", "type": "gauge", "ts": moment(ms).isoformat(timespec="milliseconds") + "Z",
        "tsUnixMs": ms, "value": value, "attributes": {}, "resource": {}, "scope": {"name": "Interfaces-"}, **fields,
    }  # fmt: skip
    return tuple(text(value) if isinstance(value, dict) else value for value in (event.get(name) for name in NAMES))


def simulated_day(step: int = 10 * MINUTE) -> list[Row]:
    """A day of four devices in the order in which the rows arrive; always the same."""
    make = random.Random(4)
    rows: list[Row] = []
    for device in range(1, 5):
        rows += _gauges(make, device, step)
        rows += _sums(make, device, step)
    rows += _histograms(make, step) + _exponential(make, step)
    rows += [row(BEGIN + n * HOUR, 1, deviceId="lmdp.canary", deviceName=None, datasource="lmdp.canary",
                 metric="lmdp.canary", instance=f"mark-{n}") for n in range(3)]  # fmt: skip
    rows += [row(BEGIN + HOUR, 1, deviceId="lmdp.canary", deviceName=None, datasource="lmdp.canary",
                 metric="lmdp.canary", instance="mark-1")]  # fmt: skip
    rows += [_again(make, one) for one in make.sample(rows, len(rows) // 20)]
    # Late points: everything is a little out of order, and some of it by hours.
    order = {
        id(one): index + make.random() * 40 + (2000 if make.random() < 0.02 else 0) for index, one in enumerate(rows)
    }
    return sorted(rows, key=lambda one: order[id(one)])


def _again(make: random.Random, one: Row) -> Row:
    """A repeat, whose value may differ."""
    return (*one[:10], one[10] + make.choice([0, 0, 0.5, -0.5]), *one[11:])


def _gauges(make: random.Random, device: int, step: int) -> list[Row]:
    """Gauges; device 2 is silent for three hours, is renamed, and has no name at first; device 3 has no instances."""
    rows = []
    for ms in range(BEGIN, BEGIN + DAY, step):
        if device == 2 and BEGIN + 9 * HOUR <= ms < BEGIN + 12 * HOUR:
            continue
        name = f"core-{device}" if device != 2 else None if ms < BEGIN + HOUR else f"edge-{ms // (8 * HOUR) % 2}"
        for instance in ["eth0", "eth1"] if device != 3 else [None]:
            label = {"wildAlias": f"{instance} ({'new' if ms > BEGIN + 20 * HOUR else 'old'})"} if instance else {}
            rows.append(
                row(
                    ms + make.randrange(1000), make.randrange(400) / 4, deviceId=str(device), deviceName=name,
                    instance=instance, metric="Usage", unit="%", attributes=label,
                    scope={"name": "Interfaces-", "epoch": str(ms)},
                )
            )  # fmt: skip
    return rows


def _sums(make: random.Random, device: int, step: int) -> list[Row]:
    """Counters of every temporality, with resets; device 2 is as silent as its gauges.

    The cumulative ones restart by falling, by their start time, or by both; device 3's may fall without a restart.
    """
    rows = []
    for kind in ("delta", "cumulative", "undeclared"):
        value, start = 0.0, BEGIN - step
        for ms in range(BEGIN, BEGIN + DAY, step):
            if device == 2 and BEGIN + 9 * HOUR <= ms < BEGIN + 12 * HOUR:
                continue
            at = ms + make.randrange(1000)
            grown = make.randrange(1, 200)
            restarted = make.random() < 0.05
            value = float(grown) if kind == "delta" or make.random() < 0.03 else value + grown
            start = ms - step + make.randrange(1000) if kind == "delta" else ms - step // 2 if restarted else start
            marks: dict[str, object] = {} if kind == "undeclared" else {"otlp.temporality": kind}
            marks["otlp.monotonic"] = kind != "undeclared" and (kind == "delta" or device != 3)
            if kind != "undeclared":
                marks["otlp.startTimeUnixMs"] = start
            rows.append(row(at, value, deviceId=str(device), deviceName=f"core-{device}" if device != 2 else None,
                            metric=f"Sum.{kind}", type="sum", attributes=marks))  # fmt: skip
    return rows


def _buckets(ms: int, counts: list[int], bounds: list[float], **fields: Any) -> list[Row]:
    total, rows = 0, []
    for count, bound in zip(counts, [*bounds, math.inf], strict=True):
        total += count
        le = "+Inf" if bound == math.inf else repr(bound).removesuffix(".0")
        rows.append(row(ms, total, **{**fields, "attributes": {**fields["attributes"], "le": le}}))
    return rows


def _histograms(make: random.Random, step: int) -> list[Row]:
    """Histograms of either temporality, some steps of which count nothing.

    The cumulative one falls twice, begins again once by its start time alone, and has other bounds in the last hours.
    """
    rows = []
    for kind in ("delta", "cumulative"):
        counts, start = [0] * 5, BEGIN - step
        for ms in range(BEGIN, BEGIN + DAY, step):
            bounds = [-1.0, 0.5, 2.5, 10.0] if ms < BEGIN + 21 * HOUR else [-1.0, 0.5, 5.0, 10.0]
            grown = [0] * 5 if make.random() < 0.1 else [make.randrange(8) for _ in range(5)]
            fresh = kind == "delta" or ms in (BEGIN + 30 * step, BEGIN + 61 * step)
            counts = grown if fresh else [a + b for a, b in zip(counts, grown, strict=True)]
            start = ms - 1000 if ms == BEGIN + 12 * step else start
            marks = {"otlp.temporality": kind, "path": "/", "otlp.startTimeUnixMs": start}
            fields: dict[str, Any] = {"metric": f"wait.{kind}.bucket", "unit": "s", "type": "histogram",
                                      "attributes": marks}  # fmt: skip
            rows += _buckets(ms, counts, bounds, **fields)
    return rows


def _exponential(make: random.Random, step: int) -> list[Row]:
    """A cumulative exponential histogram whose range widens both ways; its scale falls at noon, and rises at 21 h."""
    rows = []
    counts: defaultdict[int, int] = defaultdict(int)
    for ms in range(BEGIN, BEGIN + DAY, 3 * step):
        coarse = BEGIN + 12 * HOUR <= ms < BEGIN + 21 * HOUR
        for _ in range(20):
            wider = (ms - BEGIN) // (6 * HOUR)
            counts[make.randrange(4 - wider, 8 + wider)] += 1
        width = 2 if coarse else 1
        cells: defaultdict[int, int] = defaultdict(int)
        for index, count in counts.items():
            cells[index // width] += count
        first, last = min(cells), max(cells)
        bounds = [0.0] + [2.0 ** (width * (index + 1)) for index in range(first, last + 1)]
        fields: dict[str, Any] = {"metric": "size.bucket", "unit": "By", "type": "exponential_histogram",
                                  "attributes": {"otlp.temporality": "cumulative"}, "deviceId": "4"}  # fmt: skip
        rows += _buckets(ms, [0, *(cells[index] for index in range(first, last + 1)), 0], bounds, **fields)
    return rows


# What the views have to say.


@dataclass(frozen=True)
class Point:
    """A row of METRICS."""

    columns: tuple[Any, ...]  # orgId … type
    ms: int
    value: float
    marks: dict[str, Any]
    series: str
    histogram: str | None

    @property
    def hour(self) -> int:
        """The hour's begin in ms."""
        return self.ms // HOUR * HOUR

    @property
    def label(self) -> str | None:
        """INSTANCE_LABEL."""
        return self.marks.get("wildAlias")

    @property
    def le(self) -> float | None:
        """LE."""
        le = self.marks.get("le")
        return None if le is None else math.inf if le == "+Inf" else float(le)

    @property
    def keys(self) -> tuple[int, int, int, int]:
        """Keys of device, datasource, metric, instance."""
        return keys(self.columns)


def key(*columns: str | None) -> int:
    """A signed 64-bit key: the lower half of an MD5."""
    digest = hashlib.md5("\x1f".join(name or "" for name in columns).encode()).digest()
    return int.from_bytes(digest[8:], "big", signed=True)


def keys(columns: tuple[Any, ...]) -> tuple[int, int, int, int]:
    """Keys of device, datasource, metric, instance."""
    org, device, _, source, instance, metric, unit, kind = columns
    return key(org, device), key(source), key(source, metric, unit, kind), key(org, device, source, instance)


def date_key(ms: int) -> int:
    """YYYYMMDD."""
    return int(moment(ms).strftime("%Y%m%d"))


def points(rows: list[Row]) -> list[Point]:
    """METRICS: each identity once, with its greatest value; no canaries."""
    best: dict[tuple[Any, ...], float] = {}
    for one in rows:
        if one[3] != "lmdp.canary":
            identity = (*one[:10], *one[11:])
            best[identity] = max(one[10], best.get(identity, -math.inf))
    return [_point(identity, value) for identity, value in best.items()]


def _point(identity: tuple[Any, ...], value: float) -> Point:
    columns, ms = identity[:8], identity[9]
    marks, resource, scope = (json.loads(part) for part in identity[10:])
    plain = {name: mark for name, mark in marks.items() if not name.startswith("otlp.")}
    rest = text(resource) + text({name: mark for name, mark in scope.items() if name != "epoch"})
    begin = "\x1f".join(column or "" for column in columns)
    series = hashlib.md5((begin + text(plain) + rest).encode()).hexdigest()
    no_le = {name: mark for name, mark in plain.items() if name != "le"}
    histogram = hashlib.md5((begin + text(no_le) + rest).encode()).hexdigest() if "le" in marks else None
    return Point(columns, ms, float(value), marks, series, histogram)


def rates(rows: list[Row]) -> list[tuple[Point, str, float, float | None, bool]]:
    """METRIC_RATES: point, temporality, seconds, rate, reset."""
    lines = defaultdict(list)
    for point in points(rows):
        if point.columns[7] == "sum":
            lines[point.series, point.marks.get("otlp.temporality", "undeclared")].append(point)
    found = []
    for (_, kind), line in lines.items():
        ordered = sorted(line, key=lambda one: (one.ms, one.value))
        for before, point in zip([None, *ordered], ordered, strict=False):
            begin: Any = point.marks.get("otlp.startTimeUnixMs") if kind == "delta" else before and before.ms
            if begin is None or point.ms <= begin:
                continue
            seconds = (point.ms - begin) / 1000
            growth, reset = (point.value, False) if before is None else _counted_on(before, point, kind)
            found.append((point, kind, seconds, None if growth is None else growth / seconds, reset))
    return found


def _counted_on(before: Point, point: Point, kind: str) -> tuple[float | None, bool]:
    """What a sum grew by, and whether it began again, in the words of the contract's section on restarts."""
    if kind == "delta":
        return point.value, False
    fell = point.value < before.value
    if restarted(before.ms, before.marks.get("otlp.startTimeUnixMs"), point.marks.get("otlp.startTimeUnixMs")):
        return point.value, True
    if fell and point.marks["otlp.monotonic"]:
        return point.value, True
    if fell and kind == "undeclared":
        return None, True
    return point.value - before.value, False


def restarted(before_ms: int, before_start: int | None, start: int | None) -> bool:
    """Whether the start time says that the series began again; a start time at the point's own time is left out."""
    known = before_ms if before_start is None else before_start
    return start is not None and start >= before_ms and start != known


def rates_hourly(rows: list[Row]) -> Answer:
    """METRIC_RATES_HOURLY: SERIES, TEMPORALITY, HOUR_TS, SECONDS, GROWTH, RATE_MAX, RESETS (the first four rounded)."""
    hours = defaultdict(list)
    for point, kind, seconds, rate, reset in rates(rows):
        hours[point.series, kind, point.hour].append((seconds, rate, reset))
    return [
        (
            series, kind, moment(hour),
            _sum(s for s, rate, _ in steps if rate is not None),
            _sum(s * rate for s, rate, _ in steps if rate is not None),
            max((rate for _, rate, _ in steps if rate is not None), default=None), sum(reset for *_, reset in steps),
        )
        for (series, kind, hour), steps in hours.items()
    ]  # fmt: skip


def _sum(values: Any) -> float | None:
    found = list(values)
    return round(sum(found), 6) if found else None


def hourly(rows: list[Row], length: int = HOUR) -> Answer:
    """METRIC_HOURLY, or METRIC_DAILY: the whole row."""
    parts = defaultdict(list)
    for point in points(rows):
        parts[point.series, point.ms // length * length].append(point)
    found = []
    for (series, begin), part in parts.items():
        first, last = part[0], max(part, key=lambda one: (one.ms, one.value))
        values = [point.value for point in part]
        found.append(
            (
                date_key(begin), *first.keys, *first.columns, first.label, first.le, None, series, moment(begin),
                len(part), min(values), max(values), sum(values), sum(values) / len(values), last.value,
                moment(min(point.ms for point in part)), moment(last.ms),
            )
        )  # fmt: skip
    return found


def spread(rows: list[Row]) -> Answer:
    """METRIC_SPREAD: the whole row. The averages of METRIC_HOURLY by instance, metric, day and bucket."""
    parts = defaultdict(list)
    for hour in hourly(rows):
        average, begin, le = hour[-4], hour[-9], hour[-12]
        if le is None:
            parts[hour[:5], begin.replace(hour=0), _bucket(average)].append(average)
    return [(*keys, day, bucket, len(part), min(part), max(part)) for ((keys, day, bucket), part) in parts.items()]


def _bucket(value: float) -> int:
    """Return the forty-fifth of a decade that a value is in, from a millionth on; the simulated day is below 10^15."""
    if abs(value) < 1e-6:
        return 0
    return int(math.copysign(math.floor(45 * math.log10(abs(value)) + 1e-9) + 271, value))


def trend_sums(rows: list[Row]) -> Answer:
    """TREND_SUMS, with the sums of values in thousandths; none is rounded from the middle between two."""
    parts = defaultdict(list)
    for line in hourly(rows, DAY):
        average, begin, series, le = line[-4], line[-9], line[-10], line[-12]
        x = (begin.date() - date(1970, 1, 1)).days
        if le is None:
            parts[series, x // 10].append((x, average))
    return [
        (
            series, period, len(part), sum(x for x, _ in part), sum(x * x for x, _ in part),
            round(sum(y for _, y in part) + 1e-5, 3), round(sum(x * y for x, y in part) + 1e-5, 3),
        )
        for (series, period), part in parts.items()
    ]  # fmt: skip


def trend(rows: list[Row]) -> Answer:
    """METRIC_TREND: SERIES, TS, VALUE, SLOPE_30, CAPACITY, STATE; of a day long ago, when a percentage had a limit."""
    newest = {series: (moment(ms), value) for series, ms, value, *_ in latest(rows)}
    limits = {point.series: 100.0 if point.columns[-2:] == ("%", "gauge") else None for point in points(rows)}
    buckets = {point.series for point in points(rows) if point.le is not None}
    return [(series, *newest[series], None, limits[series], None) for series in newest.keys() - buckets]


def latest(rows: list[Row]) -> Answer:
    """METRIC_LATEST: SERIES, TS_UNIX_MS, VALUE, DEVICE_KEY, INSTANCE_KEY."""
    best: dict[str, Point] = {}
    for point in points(rows):
        old = best.get(point.series)
        if old is None or (point.ms, point.value) > (old.ms, old.value):
            best[point.series] = point
    return [(p.series, p.ms, p.value, p.keys[0], p.keys[3]) for p in best.values()]


def fact(rows: list[Row]) -> Answer:
    """FACT_METRIC, whole rows."""
    return [
        (date_key(p.ms), *p.keys, p.series, moment(p.ms), p.ms, moment(p.hour), p.le, None, p.value)
        for p in points(rows)
    ]


def devices(rows: list[Row]) -> Answer:
    """DIM_DEVICE: the newest name that was given."""
    named, seen = {}, defaultdict(list)
    for point in sorted(points(rows), key=lambda one: one.ms):
        org, device, name = point.columns[:3]
        seen[org, device].append(point.ms)
        if name is not None:
            named[org, device] = name
    return [
        (key(org, device), org, device, named.get((org, device), device), moment(min(at)), moment(max(at)))
        for (org, device), at in seen.items()
    ]


def datasources(rows: list[Row]) -> Answer:
    """DIM_DATASOURCE."""
    seen = defaultdict(list)
    for point in points(rows):
        seen[point.columns[3]].append(point.ms)
    return [(key(name), name, moment(min(at)), moment(max(at))) for name, at in seen.items()]


def metrics(rows: list[Row]) -> Answer:
    """DIM_METRIC."""
    seen = defaultdict(list)
    for point in points(rows):
        seen[point.columns[3], *point.columns[5:]].append(point.ms)
    return [(key(*of), key(of[0]), *of, moment(min(at)), moment(max(at))) for of, at in seen.items()]


def instances(rows: list[Row]) -> Answer:
    """DIM_INSTANCE: the newest label that was given."""
    named, seen = {}, defaultdict(list)
    for point in sorted(points(rows), key=lambda one: one.ms):
        org, device, _, source, instance, *_ = point.columns
        of = (org, device, source, instance)
        seen[of].append(point.ms)
        if point.label is not None:
            named[of] = point.label
    return [
        (key(*of), key(*of[:2]), key(of[2]), *of, named.get(of, of[3]), moment(min(at)), moment(max(at)))
        for of, at in seen.items()
    ]


def dates(rows: list[Row]) -> Answer:
    """DIM_DATE: DATE_KEY, date, year, quarter, month, day, ISO weekday, ISO week, month's start, weekend, names."""
    days = {moment(point.ms).date() for point in points(rows)}
    years = {day.year for day in days} | {(day + timedelta(days=31)).year for day in days}
    found = []
    for year in years:
        day = date(year, 1, 1)
        while day.year == year:
            found.append(
                (
                    int(day.strftime("%Y%m%d")), day, year, (day.month + 2) // 3, day.month, day.day, day.isoweekday(),
                    day.isocalendar().week, day.replace(day=1), day.isoweekday() >= 6,
                    day.strftime("%B"), day.strftime("%A"), year * 100 + day.month,
                )
            )  # fmt: skip
            day += timedelta(days=1)
    return found


def health(rows: list[Row]) -> Answer:
    """PIPELINE_HEALTH without what depends on now: device key, org, device, canary, hour, rows, repeats, gap, times."""
    counted: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for one in rows:
        counted[(*one[:10], *one[11:])] += 1
    moments: defaultdict[tuple[Any, ...], defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for identity, count in counted.items():
        moments[identity[0], identity[1], identity[3] == "lmdp.canary"][identity[9]].append(count)
    found = []
    for (org, device, canary), at in moments.items():
        hours: defaultdict[int, list[tuple[int, list[int], float | None]]] = defaultdict(list)
        times = sorted(at)
        for before, ms in zip([None, *times], times, strict=False):
            silence = None if before is None else (ms - before) / 1000
            hours[ms // HOUR * HOUR].append((ms, at[ms], silence))
        for hour, parts in hours.items():
            rows_there = sum(sum(counts) for _, counts, _ in parts)
            distinct = sum(len(counts) for _, counts, _ in parts)
            gap = max((silence for *_, silence in parts if silence is not None), default=None)
            seen = [ms for ms, *_ in parts]
            found.append(
                (
                    key(org, device), org, device, canary, moment(hour), rows_there, rows_there - distinct, gap,
                    moment(min(seen)), moment(max(seen)), moment(times[-1]),
                )
            )  # fmt: skip
    return found


def quantiles(rows: list[Row]) -> Answer:
    """HISTOGRAM_QUANTILES: series, metric, temporality, ms, seconds, reset, samples, p50, p90, p95, p99."""
    lines: defaultdict[tuple[Any, ...], defaultdict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    starts: dict[tuple[str, int], int] = {}
    for point in points(rows):
        if point.histogram is not None and point.le is not None:
            of = point.histogram, point.columns[5].removesuffix(".bucket"), point.marks["otlp.temporality"]
            cells = lines[(*of, point.columns[7])][point.ms]
            cells[point.le] = max(point.value, cells.get(point.le, -math.inf))
            if "otlp.startTimeUnixMs" in point.marks:
                starts[point.histogram, point.ms] = point.marks["otlp.startTimeUnixMs"]
    found = []
    for (series, metric, kind, type_), line in lines.items():
        times = sorted(line)
        for before, ms in zip([None, *times], times, strict=False):
            if kind != "delta" and before is None:
                continue
            earlier = {} if kind == "delta" or before is None else line[before]
            reset = bool(earlier) and before is not None and (
                restarted(before, starts.get((series, before)), starts.get((series, ms)))
                or _began_again(line[ms], earlier, type_)
            )  # fmt: skip
            grown = _grown(line[ms], {} if reset else earlier)
            if grown[-1][1] > 0:
                seconds = None if before is None else (ms - before) / 1000
                shown = tuple(_quantile(grown, percent) for percent in (50, 90, 95, 99))
                found.append((series, metric, kind, ms, seconds, reset, grown[-1][1], *shown))
    return found


def _began_again(now: dict[float, float], earlier: dict[float, float], type_: str) -> bool:
    """Whether a cumulative bucket fell, or the bounds changed so that they cannot be compared."""
    for bound, count in now.items():
        below = {known: was for known, was in earlier.items() if known <= bound}
        above = [was for known, was in earlier.items() if known >= bound]
        at_least = max(below.values(), default=0.0)
        if count < at_least:
            return True
        widened = type_ == "exponential_histogram" and (not below or max(below) <= 0 < bound)
        if not widened and min(above, default=at_least) > at_least:
            return True
    return False


def _grown(now: dict[float, float], earlier: dict[float, float]) -> list[tuple[float, float]]:
    """Cumulative counts of a step by bound; neither point's fall as its bounds rise."""
    found, top = [], 0.0
    for bound in sorted(now):
        below = [count for known, count in earlier.items() if known <= bound]
        top = max(top, now[bound] - max(below, default=0.0))
        found.append((bound, top))
    return found


def _quantile(cells: list[tuple[float, float]], percent: int) -> float | None:
    rank = cells[-1][1] * percent / 100
    low, counted = None, 0.0
    for bound, up_to in cells:
        if up_to >= rank:
            if bound == math.inf:
                return low
            if low is None and bound <= 0:
                return bound
            begin = low or 0.0
            return begin + (bound - begin) * ((rank - counted) / (up_to - counted))
        low, counted = bound, up_to
    raise AssertionError("the last bucket holds everything")
