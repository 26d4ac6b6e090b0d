"""Chart of one metric: its lines, thinned by the warehouse in equal steps, and the SQL that did it.

A rate needs the point before. So rates and percentiles are computed from the rows since an earlier time, chosen so
that every series of the chart has a point between that time and the chart's start, or none before the chart at all.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from textwrap import indent
from typing import Any, Final, Literal

from lmdp.errors import ApiError
from lmdp.machine.api.protocol import MAX_ROWS, Query
from lmdp.page.run_client import Answer, Json, RunClient
from lmdp.sql.render import literal

View = Literal["raw", "rate", "percentile"]
VIEWS: Final[tuple[View, ...]] = ("raw", "rate", "percentile")
ANY: Final = "*"
OVER: Final = {"top": "", "sum": "SUM", "avg": "AVG", "max": "MAX"}
"""The content of a chart over many series: the largest of them, or one line made by a function."""
POINTS: Final = 400
MAX_LINES: Final = 12
TOP: Final = 8
_WIDTHS_MS: Final = [
    1000 * seconds
    for seconds in (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
]
_UNSHOWN: Final = {"otlp.temporality", "otlp.monotonic", "otlp.startTimeUnixMs", "otlp.intValue", "scope epoch"}
_RAW: Final = """  AVG(VALUE) AS VALUE, MIN(VALUE) AS LOW, MAX(VALUE) AS HIGH, COUNT(*) AS POINTS
FROM METRICS"""
_RATE: Final = """  SUM(RATE * SECONDS) / SUM(CASE WHEN RATE IS NOT NULL THEN SECONDS END) AS VALUE,
  MIN(RATE) AS LOW, MAX(RATE) AS HIGH, COUNT(*) AS POINTS
FROM METRIC_RATES_OF(  -- in Snowflake: FROM METRIC_RATES
  {of}
)"""
_PERCENTILE: Final = """  MAX(P50) AS P50, MAX(P90) AS P90, MAX(P95) AS P95, MAX(P99) AS P99, SUM(SAMPLES) AS POINTS
FROM HISTOGRAM_QUANTILES_OF(  -- in Snowflake: FROM HISTOGRAM_QUANTILES
  {of}
)"""
_FROM: Final = {"raw": _RAW, "rate": _RATE, "percentile": _PERCENTILE}

_STEPS: Final = """SELECT
  {keys}, CAST(FLOOR(TS_UNIX_MS / {width}) * {width} AS BIGINT) AS AT_MS,
{source}
WHERE {matches}
GROUP BY {keys}, AT_MS"""
# As METRICS has them, at a third of its cost over many series: to find repeats it compares whole rows.
_WITHOUT_REPEATS: Final = """(
  SELECT {keys}, TS_UNIX_MS, MAX(VALUE) AS VALUE
  FROM POINTS_WITH_REPEATS  -- in Snowflake: FROM METRICS
  WHERE {matches}
  GROUP BY {keys}, TS_UNIX_MS
)"""
_STEPS_OF_MANY: Final = _STEPS.replace("\nWHERE {matches}", "")
_COMBINED: Final = """SELECT
  {keys}AT_MS, {function}(VALUE) AS VALUE, MIN(VALUE) AS LOW, MAX(VALUE) AS HIGH, COUNT(*) AS POINTS
FROM STEPS
GROUP BY {keys}AT_MS"""
_TOP: Final = """SELECT {keys}, AT_MS, VALUE, LOW, HIGH, POINTS
FROM (SELECT *, AVG(VALUE) OVER (PARTITION BY {keys}) AS MEAN FROM {of})
QUALIFY DENSE_RANK() OVER (ORDER BY MEAN DESC NULLS LAST, {keys}) <= {top}
ORDER BY {keys}, AT_MS"""
_DEVICE: Final = "ORG_ID, DEVICE_ID, DEVICE_NAME"
_LINE: Final = f"{_DEVICE}, INSTANCE"

# The first and the last time in the range, and the usual time between two points of a series of one device.
_DENSITY: Final = """WITH FOUND AS (
  SELECT "deviceId", "instance", "tsUnixMs"
  FROM ROW_EVENTS
  WHERE {matches}
)
SELECT
  (SELECT MIN("tsUnixMs") FROM FOUND) AS FIRST_MS,
  (SELECT MAX("tsUnixMs") FROM FOUND) AS LAST_MS,
  (SELECT COUNT(*) FROM FOUND) AS ROWS,
  (
    SELECT MEDIAN(STEP_MS) FROM (
      SELECT "tsUnixMs" - LAG("tsUnixMs") OVER (PARTITION BY "instance" ORDER BY "tsUnixMs") AS STEP_MS
      FROM FOUND
      WHERE "deviceId" = (SELECT MAX("deviceId") FROM FOUND)
    )
    WHERE STEP_MS > 0
  ) AS STEP_MS"""
# What distinguishes the series of a chart; attributes alone would not do, where the scope or resource differs.
_NAMES: Final = """SELECT {series} AS SERIES, ANY_VALUE(ATTRIBUTES), ANY_VALUE(SCOPE), ANY_VALUE(RESOURCE)
FROM METRICS
WHERE {matches}
GROUP BY {series}"""

# Series of the chart that have no point between {since} and its beginning. A delta needs none.
_ALONE: Final = """SELECT COUNT(*) AS FOUND FROM (
  SELECT 1
  FROM METRICS
  WHERE {matches}
  AND TEMPORALITY IS DISTINCT FROM 'delta'
  GROUP BY DEVICE_NAME, UNIT, TYPE, {series}, TEMPORALITY
  HAVING MIN(TS) >= {begin}
)"""
_OLDER: Final = 'SELECT COUNT(*) AS FOUND FROM (SELECT 1 FROM ROW_EVENTS WHERE "ts" < {since} LIMIT 1)'
_LEAST_REACH_MS: Final = 900_000
_MOST_ROWS: Final = {"raw": 1_000_000, "rate": 200_000, "percentile": 0}
_DAY_MS: Final = 86_400_000
_LAST_MS: Final = 253_402_300_799_999  # of the year 9999


@dataclass(frozen=True, slots=True)
class ChartQuery:
    """A metric of an instance (None: of the device itself), and the times (Unix ms) between which it is drawn.

    With `over` it is drawn over all instances, and where `device` is empty over all devices. A sum, a mean or a maximum
    is one line, or one for each device (`by`).
    """

    org: str
    device: str
    datasource: str
    instance: str | None
    metric: str
    view: View
    from_ms: int
    to_ms: int
    points: int = POINTS
    over: str = ""
    by: str = ""

    def check(self) -> None:
        """Raise ApiError when no chart can be drawn from it."""
        if not 0 <= self.from_ms < self.to_ms <= _LAST_MS:
            raise _wrong("fromMs and toMs must be Unix milliseconds up to the year 9999, and fromMs before toMs")
        if not 2 <= self.points <= 5_000:
            raise _wrong("points must be a number from 2 to 5000")
        if self.over not in ("", *OVER) or self.by not in ("", "device"):
            raise _wrong(f"over must be one of {', '.join(OVER)}, and by device or nothing")
        if self.over and self.view == "percentile":
            raise _wrong("percentiles are of one instance, so they have no over")
        if not (self.over or self.device):
            raise _wrong("deviceId is missing")

    def check_rows(self, rows: int) -> None:
        """Raise ApiError where a chart over many series would read more rows than it can in time."""
        if self.over and rows > _MOST_ROWS[self.view]:
            text = f"the chart would read {rows:,} rows, and {_MOST_ROWS[self.view]:,} are the most over many series"
            raise ApiError(422, f"{text}. Choose a shorter range, or a device", "GET /api/search finds the devices")

    def width_ms(self, first_ms: int | None, last_ms: int | None, step_ms: float | None) -> int:
        """Return the length of a step: about `points` of them in the data, each with a point of every series.

        A step of several series takes two of their own, so that none is missing in it by a moment.
        """
        span = self.to_ms - self.from_ms if first_ms is None or last_ms is None else last_ms - first_ms
        least = (step_ms or 0) * (1.8 if self.over and self.over != "top" else 0.9)
        wanted = max(span / self.points, least)
        return next((width for width in _WIDTHS_MS if width >= wanted), int(wanted) + 1)

    def sql(self, since_ms: int, width: int) -> str:
        """Return the SELECT, its rates computed since `since_ms`. Filters on columns pass METRICS down to rows."""
        names = ", ".join(map(_literal, (*self._place(), self._metric())))
        keys = f"{_LINE}, SERIES" if self.over else self.series_column()
        matches = self._where(self._shown(), self.from_ms, self._end_ms(width))
        source = _FROM[self.view].format(of=f"{names},\n  {_moment(since_ms)}, {_moment(self.to_ms)}")
        template = _STEPS
        if self.over and self.view == "raw":
            template = _STEPS_OF_MANY
            source = source.removesuffix("METRICS") + _WITHOUT_REPEATS.format(
                keys=keys, matches=indent(matches, "  ").strip()
            )
        steps = template.format(keys=keys, width=width, source=source, matches=matches)
        if not self.over:
            return f"{steps}\nORDER BY {self.series_column()}, AT_MS"
        return f"WITH STEPS AS (\n{indent(steps, '  ')}\n)" + self._over_sql()

    def _over_sql(self) -> str:
        """Return what follows the steps of each series."""
        if self.over == "top":
            return "\n" + _TOP.format(keys=f"{_LINE}, SERIES", of="STEPS", top=TOP)
        if not self.by:
            return "\n" + _COMBINED.format(keys="", function=OVER[self.over]) + "\nORDER BY AT_MS"
        combined = _COMBINED.format(keys=f"{_DEVICE}, ", function=OVER[self.over])
        return f",\nDEVICES AS (\n{indent(combined, '  ')}\n)\n" + _TOP.format(keys=_DEVICE, of="DEVICES", top=TOP)

    def density_sql(self) -> str:
        """Return the SELECT by which the length of a step is chosen."""
        columns = ('"orgId"', '"deviceId"', '"datasource"', '"instance"', '"metric"')
        named = dict(zip(columns, self._names(self._metric()), strict=True))
        return _DENSITY.format(matches=_matches(named, '"ts"', self.from_ms, self.to_ms))

    def names_sql(self) -> str:
        """Return the SELECT of what distinguishes the series."""
        return _NAMES.format(series=self.series_column(), matches=self._where(self._metric(), self.from_ms, self.to_ms))

    def alone_sql(self, since_ms: int) -> str:
        """Return the SELECT of how many series have their first point since `since_ms` in the chart."""
        buckets = "\n  AND LE IS NOT NULL" if self.view == "percentile" else ""
        matches = self._where(self._metric(), since_ms, self.to_ms) + buckets
        return _ALONE.format(matches=matches, series=self.series_column(), begin=_moment(self.from_ms))

    def series_column(self) -> str:
        """Return the column that names a line."""
        return "HISTOGRAM_SERIES" if self.view == "percentile" else "SERIES"

    def _end_ms(self, width: int) -> int:
        """Return the end of the last step; a sum takes no step that is not over, for its later series are missing."""
        end = self.to_ms // width * width
        return end if self.over in ("sum", "avg", "max") and end > self.from_ms else self.to_ms

    def _place(self) -> tuple[str | None, ...]:
        if not self.over:
            return self.org, self.device, self.datasource, self.instance
        return self.org or ANY, self.device or ANY, self.datasource, ANY if self.instance is None else self.instance

    def _names(self, metric: str) -> tuple[str | None, ...]:
        return (*self._place(), metric)

    def _metric(self) -> str:
        """Return the metric's name in its rows."""
        return f"{self._shown()}.bucket" if self.view == "percentile" else self.metric

    def _shown(self) -> str:
        """Return the metric's name in the view that is drawn."""
        return self.metric.removesuffix(".bucket") if self.view == "percentile" else self.metric

    def _where(self, metric: str, from_ms: int, to_ms: int) -> str:
        columns = ("ORG_ID", "DEVICE_ID", "DATASOURCE", "INSTANCE", "METRIC")
        return _matches(dict(zip(columns, self._names(metric), strict=True)), "TS", from_ms, to_ms)


async def draw(run: RunClient, query: ChartQuery) -> Json:
    """Return lines of [Unix ms, value, lowest, highest, points]; percentiles have no lowest and highest.

    Raises ApiError.
    """
    query.check()
    begun = time.monotonic()
    (density,) = await run.rows(query.density_sql())
    query.check_rows(density["ROWS"])
    width = query.width_ms(density["FIRST_MS"], density["LAST_MS"], density["STEP_MS"])
    sql = query.sql(await _since(run, query, density["STEP_MS"]), width)
    answer = await run.query(Query(sql, query.points * 40))
    lines = await _lines(run, query, answer)
    return {
        "view": query.view,
        "sql": sql,
        "fromMs": query.from_ms,
        "toMs": query.to_ms,
        "widthMs": width,
        "seconds": round(time.monotonic() - begun, 3),
        "lines": lines[:MAX_LINES],
        "linesLeftOut": max(0, len(lines) - MAX_LINES),
        "truncated": answer.truncated,
    }


async def _since(run: RunClient, query: ChartQuery, step_ms: float | None) -> int:
    """Return the time (Unix ms) since which the rows contain every step of the chart.

    Two tries, then the midnight (UTC) before the day before: no step is longer. A chart over many series is drawn
    since a few of their steps before it; one that was silent for longer begins with its first point in the chart.
    """
    reach = max(_LEAST_REACH_MS, (query.to_ms - query.from_ms) // 4)
    longest = query.from_ms // _DAY_MS * _DAY_MS - _DAY_MS
    if query.view == "raw":
        return query.from_ms
    if query.over:
        return max(longest, query.from_ms - max(_LEAST_REACH_MS, 3 * round(step_ms or 0)))
    for since_ms in (query.from_ms - times * reach for times in (1, 8)):
        if since_ms <= longest:
            break
        for sql in (_OLDER.format(since=_moment(since_ms)), query.alone_sql(since_ms)):
            ((found,),) = [row.values() for row in await run.rows(sql)]
            if not found:
                return since_ms
    return longest


async def _lines(run: RunClient, query: ChartQuery, answer: Answer) -> list[Json]:
    """Return the lines of an answer, each named by what distinguishes it."""
    names = [column["name"] for column in answer.columns]
    first = names.index("AT_MS")
    groups = [(key, list(rows)) for key, rows in groupby(answer.rows, key=lambda row: tuple(row[:first]))]
    keys = [dict(zip(names, key, strict=False)) for key, _ in groups]
    labels = unique_labels(await _labels(run, query, keys))
    if query.view == "percentile":
        return _percentiles(labels, [rows for _, rows in groups])
    return [
        {"name": label, "points": [row[first:] for row in rows]}
        for label, (_, rows) in zip(labels, groups, strict=True)
    ]


async def _labels(run: RunClient, query: ChartQuery, keys: list[Json]) -> list[Json]:
    """Return for each line its device and instance, and the attributes, scope and resource where these do not do."""
    labels = [{"": key.get("DEVICE_NAME") or "", " ": key.get("INSTANCE") or ""} for key in keys]
    if len({tuple(label.values()) for label in labels}) == len(labels):
        return labels
    found = {series: texts for series, *texts in (await run.query(Query(query.names_sql(), MAX_ROWS))).rows}
    unshown = _UNSHOWN | ({"le"} if query.view == "percentile" else set())
    for label, key in zip(labels, keys, strict=True):
        texts = found.get(key[query.series_column()], ())
        for prefix, text in zip(("", "scope ", "resource "), texts, strict=False):
            label |= {prefix + name: value for name, value in json.loads(text or "{}").items()}
        for name in unshown & label.keys():
            del label[name]
    return labels


def _percentiles(labels: list[str], groups: list[list[list[Any]]]) -> list[Json]:
    return [
        {
            "name": f"p{percent}, {label}" if label else f"p{percent}",
            "points": [[row[1], row[at], None, None, int(row[6])] for row in rows],
        }
        for label, rows in zip(labels, groups, strict=True)
        for at, percent in enumerate((50, 90, 95, 99), start=2)
    ]


def unique_labels(lines: list[Json]) -> list[str]:
    """Return a label for each line: what differs, a value alone where its key is blank. A single line needs none."""
    if len(lines) <= 1:
        return [""] * len(lines)
    keys = dict.fromkeys(key for line in lines for key in line)
    differ = [key for key in keys if len({json.dumps(line.get(key)) for line in lines}) > 1]
    found = [
        " \u00b7 ".join(f"{key}={line[key]}" if key.strip() else line[key] for key in differ if line.get(key, "") != "")
        or " \u00b7 ".join(f"{key}=\u2013" for key in differ if key.strip())
        for line in lines
    ]
    return [label or f"({number})" for number, label in enumerate(found, start=1)]


def _matches(named: dict[str, str | None], at: str, from_ms: int, to_ms: int) -> str:
    parts = [
        f"{column} IS NULL" if name is None else f"{column} = {literal(name)}"
        for column, name in named.items()
        if name != ANY
    ]
    return "\n  AND ".join([*parts, f"{at} >= {_moment(from_ms)} AND {at} < {_moment(to_ms)}"])


def _moment(ms: int) -> str:
    text = (datetime(1970, 1, 1) + timedelta(milliseconds=ms)).isoformat(" ", "milliseconds")  # noqa: DTZ001 - UTC
    return f"TIMESTAMP '{text}'"


def _literal(name: str | None) -> str:
    return "NULL" if name is None else literal(name)


def _wrong(text: str) -> ApiError:
    return ApiError(400, text, "GET /api/series lists what can be drawn")
