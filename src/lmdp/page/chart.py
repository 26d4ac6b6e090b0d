"""Chart of one series: its lines, thinned by the warehouse, and the SQL that did it.

A step needs the point before it. So rates and percentiles are computed from the rows since an earlier time, chosen so
that every series of the chart has a point between that time and the chart's start, or none before the chart at all.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal

from lmdp.errors import ApiError
from lmdp.machine.api.protocol import Query
from lmdp.page.devices import literal
from lmdp.page.run_client import Json, RunClient

View = Literal["raw", "rate", "percentile"]
VIEWS: tuple[View, ...] = ("raw", "rate", "percentile")
POINTS = 400
MAX_LINES = 12
_WIDTHS_MS = [
    1000 * seconds
    for seconds in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
]
_RESERVED = ("otlp.temporality", "otlp.monotonic", "otlp.startTimeUnixMs", "otlp.intValue")

_RAW = """SELECT
  SERIES, ANY_VALUE(ATTRIBUTES) AS ATTRIBUTES, MIN(TS_UNIX_MS) AS AT_MS,
  AVG(VALUE) AS VALUE, MIN(VALUE) AS LOW, MAX(VALUE) AS HIGH, COUNT(*) AS POINTS
FROM METRICS
WHERE {matches}
  AND {times}
GROUP BY SERIES, FLOOR(TS_UNIX_MS / {width})
ORDER BY SERIES, AT_MS"""

_RATE = """SELECT
  SERIES, MIN(TS_UNIX_MS) AS AT_MS,
  SUM(RATE * SECONDS) / SUM(SECONDS) AS VALUE, MIN(RATE) AS LOW, MAX(RATE) AS HIGH, COUNT(*) AS POINTS
FROM METRIC_RATES_OF(  -- in Snowflake: FROM METRIC_RATES
  {of}
)
WHERE {matches}
  AND {times}
  AND RATE IS NOT NULL
GROUP BY SERIES, FLOOR(TS_UNIX_MS / {width})
ORDER BY SERIES, AT_MS"""

_PERCENTILE = """SELECT
  HISTOGRAM_SERIES AS SERIES, MIN(TS_UNIX_MS) AS AT_MS,
  MAX(P50) AS P50, MAX(P90) AS P90, MAX(P95) AS P95, MAX(P99) AS P99, SUM(SAMPLES) AS POINTS
FROM HISTOGRAM_QUANTILES_OF(  -- in Snowflake: FROM HISTOGRAM_QUANTILES
  {of}
)
WHERE {matches}
  AND {times}
GROUP BY HISTOGRAM_SERIES, FLOOR(TS_UNIX_MS / {width})
ORDER BY SERIES, AT_MS"""

_SQL = {"raw": _RAW, "rate": _RATE, "percentile": _PERCENTILE}

# Series of the chart that have no point between {since} and its beginning. A delta needs none.
_ALONE = """SELECT COUNT(*) AS FOUND FROM (
  SELECT 1
  FROM METRICS
  WHERE {matches}
    AND TS >= {since} AND TS < {until} AND TEMPORALITY IS DISTINCT FROM 'delta'
  GROUP BY DEVICE_NAME, UNIT, TYPE, {series}, TEMPORALITY
  HAVING MIN(TS) >= {begin}
)"""
_OLDER = 'SELECT COUNT(*) AS FOUND FROM (SELECT 1 FROM ROW_EVENTS WHERE "ts" < {since} LIMIT 1)'
_LEAST_REACH_MS = 900_000
_LAST_MS = 253_402_300_799_999  # of the year 9999
_EVER_MS = -62_135_596_800_000  # the year 1, the first that a row may be of


@dataclass(frozen=True, slots=True)
class ChartQuery:
    """A metric of an instance (None: of the device itself), and the times (Unix ms) between which it is drawn."""

    org: str
    device: str
    datasource: str
    instance: str | None
    metric: str
    view: View
    from_ms: int
    to_ms: int
    points: int = POINTS

    def check(self) -> None:
        """Raise ApiError when no chart can be drawn from it."""
        if not 0 <= self.from_ms < self.to_ms <= _LAST_MS:
            raise _wrong("fromMs and toMs must be Unix milliseconds up to the year 9999, and fromMs before toMs")
        if not 2 <= self.points <= 5_000:
            raise _wrong("points must be a number from 2 to 5000")

    def width_ms(self) -> int:
        """Return the time that one point covers, so that there are about `points` of them."""
        wanted = (self.to_ms - self.from_ms) / self.points
        return next((width for width in _WIDTHS_MS if width >= wanted), int(wanted) + 1)

    def sql(self, since_ms: int) -> str:
        """Return the SELECT, its steps computed since `since_ms`. Filters on columns pass METRICS down to rows."""
        names = ", ".join(map(_literal, (*self._place(), self._metric())))
        return _SQL[self.view].format(
            of=f"{names},\n  {_moment(since_ms)}, {_moment(self.to_ms)}",
            matches=self._where(self._metric().removesuffix(".bucket") if self.view == "percentile" else self.metric),
            times=f"TS >= {_moment(self.from_ms)} AND TS < {_moment(self.to_ms)}",
            width=self.width_ms(),
        )

    def alone_sql(self, since_ms: int) -> str:
        """Return the SELECT of how many series have their first point since `since_ms` in the chart."""
        return _ALONE.format(
            matches=self._where(self._metric()) + ("\n    AND LE IS NOT NULL" if self.view == "percentile" else ""),
            series="HISTOGRAM_SERIES" if self.view == "percentile" else "SERIES",
            since=_moment(since_ms),
            begin=_moment(self.from_ms),
            until=_moment(self.to_ms),
        )

    def _place(self) -> tuple[str, str, str, str | None]:
        return self.org, self.device, self.datasource, self.instance

    def _metric(self) -> str:
        """Return the metric's name in its rows."""
        return f"{self.metric.removesuffix('.bucket')}.bucket" if self.view == "percentile" else self.metric

    def _where(self, metric: str) -> str:
        columns = ("ORG_ID", "DEVICE_ID", "DATASOURCE", "INSTANCE", "METRIC")
        return "\n  AND ".join(
            f"{column} IS NULL" if name is None else f"{column} = {_literal(name)}"
            for column, name in zip(columns, (*self._place(), metric), strict=True)
        )


async def draw(run: RunClient, query: ChartQuery) -> Json:
    """Return lines of [Unix ms, value, lowest, highest, points]; percentiles have no lowest and highest.

    Raises ApiError.
    """
    query.check()
    begun = time.monotonic()
    sql = query.sql(query.from_ms if query.view == "raw" else await _since(run, query))
    answer = await run.query(Query(sql, query.points * 40))
    groups = [list(group) for _, group in groupby(answer.named(), key=lambda row: row["SERIES"])]
    lines = _percentiles(groups) if query.view == "percentile" else _lines(groups)
    return {
        "view": query.view,
        "sql": sql,
        "fromMs": query.from_ms,
        "toMs": query.to_ms,
        "widthMs": query.width_ms(),
        "seconds": round(time.monotonic() - begun, 3),
        "lines": lines[:MAX_LINES],
        "linesLeftOut": max(0, len(lines) - MAX_LINES),
        "truncated": answer.truncated,
    }


async def _since(run: RunClient, query: ChartQuery) -> int:
    """Return the time (Unix ms) since which the rows contain every step of the chart: two tries, then all rows."""
    reach = max(_LEAST_REACH_MS, (query.to_ms - query.from_ms) // 4)
    for since_ms in (max(_EVER_MS, query.from_ms - times * reach) for times in (1, 8)):
        for sql in (_OLDER.format(since=_moment(since_ms)), query.alone_sql(since_ms)):
            ((found,),) = [row.values() for row in await run.rows(sql)]
            if not found:
                return since_ms
    return _EVER_MS


def _lines(groups: list[list[Json]]) -> list[Json]:
    names = _unique_labels([_attributes(group[0].get("ATTRIBUTES")) for group in groups])
    return [
        {
            "name": name,
            "points": [[row["AT_MS"], row["VALUE"], row["LOW"], row["HIGH"], row["POINTS"]] for row in group],
        }
        for name, group in zip(names, groups, strict=True)
    ]


def _percentiles(groups: list[list[Json]]) -> list[Json]:
    many = len(groups) > 1
    return [
        {
            "name": f"{name.lower()} ({number})" if many else name.lower(),
            "points": [[row["AT_MS"], row[name], None, None, int(row["POINTS"])] for row in group],
        }
        for number, group in enumerate(groups, start=1)
        for name in ("P50", "P90", "P95", "P99")
    ]


def _attributes(text: str | None) -> Json:
    found = json.loads(text) if text else {}
    return {key: value for key, value in found.items() if key not in _RESERVED}


def _unique_labels(lines: list[Json]) -> list[str]:
    """Return a label for each line: the attributes that differ. A single line needs none."""
    if len(lines) == 1:
        return [""]
    keys = sorted({key for line in lines for key in line})
    differ = [key for key in keys if len({json.dumps(line.get(key)) for line in lines}) > 1]
    return [
        ", ".join(f"{key}={line[key]}" for key in differ if key in line) or f"({number})"
        for number, line in enumerate(lines, start=1)
    ]


def _moment(ms: int) -> str:
    text = (datetime(1970, 1, 1) + timedelta(milliseconds=ms)).isoformat(" ", "milliseconds")  # noqa: DTZ001 - UTC
    return f"TIMESTAMP '{text}'"


def _literal(name: str | None) -> str:
    return "NULL" if name is None else literal(name)


def _wrong(text: str) -> ApiError:
    return ApiError(400, text, "GET /api/series lists what can be drawn")
