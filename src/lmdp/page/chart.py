"""One series as lines for a chart, made few enough by the warehouse itself, with the SQL that did it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

from lmdp.page.catalogue import literal
from lmdp.page.pipe import Fault, Json, Pipe

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
WHERE {where}
GROUP BY SERIES, FLOOR(TS_UNIX_MS / {width})
ORDER BY SERIES, AT_MS"""

_RATE = """SELECT
  SERIES, MIN(TS_UNIX_MS) AS AT_MS,
  SUM(RATE * SECONDS) / SUM(SECONDS) AS VALUE, MIN(RATE) AS LOW, MAX(RATE) AS HIGH, COUNT(*) AS POINTS
FROM METRIC_RATES
WHERE {where}
  AND RATE IS NOT NULL
GROUP BY SERIES, FLOOR(TS_UNIX_MS / {width})
ORDER BY SERIES, AT_MS"""

_PERCENTILE = """SELECT
  HISTOGRAM_SERIES AS SERIES, MIN(TS_UNIX_MS) AS AT_MS,
  MAX(P50) AS P50, MAX(P90) AS P90, MAX(P95) AS P95, MAX(P99) AS P99, SUM(SAMPLES) AS POINTS
FROM HISTOGRAM_QUANTILES
WHERE {where}
GROUP BY HISTOGRAM_SERIES, FLOOR(TS_UNIX_MS / {width})
ORDER BY SERIES, AT_MS"""

_SQL = {"raw": _RAW, "rate": _RATE, "percentile": _PERCENTILE}


@dataclass(frozen=True, slots=True)
class Picked:
    """What is drawn: a metric of an instance (None: of the device itself), `from_ms` up to `to_ms` (Unix ms)."""

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
        """Raise Fault when it makes no chart."""
        if not 0 <= self.from_ms < self.to_ms <= 253_402_300_800_000:
            raise _wrong("from and to are Unix milliseconds, and from comes first")
        if not 2 <= self.points <= 5_000:
            raise _wrong("points is a number from 2 to 5000")

    def width_ms(self) -> int:
        """How much time a point stands for, so that there are about as many as wanted."""
        wanted = (self.to_ms - self.from_ms) / self.points
        return next((width for width in _WIDTHS_MS if width >= wanted), int(wanted) + 1)

    def sql(self) -> str:
        """The question. METRICS and its kin pass a filter on plain columns down to the rows."""
        metric = self.metric.removesuffix(".bucket") if self.view == "percentile" else self.metric
        where = [
            f"ORG_ID = {literal(self.org)} AND DEVICE_ID = {literal(self.device)}",
            f"DATASOURCE = {literal(self.datasource)}",
            "INSTANCE IS NULL" if self.instance is None else f"INSTANCE = {literal(self.instance)}",
            f"METRIC = {literal(metric)}",
            f"TS >= TIMESTAMP '{_text(self.from_ms)}' AND TS < TIMESTAMP '{_text(self.to_ms)}'",
        ]
        return _SQL[self.view].format(where="\n  AND ".join(where), width=self.width_ms())


async def draw(pipe: Pipe, picked: Picked) -> Json:
    """Lines of [Unix ms, value, lowest, highest, points]; a percentile has no lowest and highest. Raises Fault."""
    picked.check()
    begun = time.monotonic()
    answer = await pipe.ask(picked.sql(), limit_rows=picked.points * 40)
    rows = answer.table.to_pylist()
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row["SERIES"])]
    lines = _percentiles(groups) if picked.view == "percentile" else _lines(groups)
    return {
        "view": picked.view,
        "sql": picked.sql(),
        "fromMs": picked.from_ms,
        "toMs": picked.to_ms,
        "widthMs": picked.width_ms(),
        "seconds": round(time.monotonic() - begun, 3),
        "lines": lines[:MAX_LINES],
        "linesLeftOut": max(0, len(lines) - MAX_LINES),
        "truncated": answer.truncated,
    }


def _lines(groups: list[list[Json]]) -> list[Json]:
    names = _told_apart([_attributes(group[0].get("ATTRIBUTES")) for group in groups])
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


def _told_apart(lines: list[Json]) -> list[str]:
    """For each line what no other has: the attributes that differ. Nothing for a line that is alone."""
    if len(lines) == 1:
        return [""]
    keys = sorted({key for line in lines for key in line})
    differ = [key for key in keys if len({json.dumps(line.get(key)) for line in lines}) > 1]
    return [
        ", ".join(f"{key}={line[key]}" for key in differ if key in line) or f"({number})"
        for number, line in enumerate(lines, start=1)
    ]


def _text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _wrong(text: str) -> Fault:
    return Fault(400, f"{text}; nothing was asked", "GET /api/series tells what there is")
