"""Catalogue of the warehouse's devices and their series, kept current by reading new rows only."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lmdp.machine.api.protocol import MAX_ROWS, Query
from lmdp.page.run_client import Json, RunClient
from lmdp.page.search import Index
from lmdp.sql.render import literal

if TYPE_CHECKING:
    from lmdp.page.selection import Selection

_FRESH_S = 5.0
_DEVICES_KEPT = 64
_EXAMPLES_KEPT = 1_000
_PIECE = 1_000
_FALLS = 20  # steps up for each one down: a counter is reset at times

_MARKS = """
SELECT (SELECT coalesce(max(rowid), -1) FROM ROW_EVENTS) AS LAST, (SELECT count(*) FROM REMOVALS) AS REMOVALS
"""
_PLACES = """
SELECT
  "orgId", "deviceId", max("deviceName"), "datasource", "instance", string_agg("metric", chr(31)),
  CAST(sum("rows") AS BIGINT), max("newestMs")
FROM (
  SELECT
    "orgId", "deviceId", max("deviceName") AS "deviceName", "datasource", "instance", "metric", count(*) AS "rows",
    max("tsUnixMs") AS "newestMs"
  FROM ROW_EVENTS
  WHERE rowid > {after} AND rowid <= {last} AND "datasource" <> 'lmdp.canary'
  GROUP BY "orgId", "deviceId", "datasource", "instance", "metric"
)
GROUP BY "orgId", "deviceId", "datasource", "instance"
ORDER BY max("deviceName"), "orgId", "deviceId", "datasource", "instance"
"""
_SERIES = """
SELECT
  "datasource", "instance", "metric", max("unit") AS "unit", "type", count(*) AS "rows", max("tsUnixMs") AS "newestMs",
  any_value("attributes") AS "attributes"
FROM ROW_EVENTS
WHERE "orgId" = {org} AND "deviceId" = {device} AND "datasource" <> 'lmdp.canary'
GROUP BY "datasource", "instance", "metric", "type"
ORDER BY "datasource", "instance", "metric", "type"
"""
_FIRST = """
SELECT "orgId", "deviceId", "datasource", "instance", "metric"
FROM ROW_EVENTS
WHERE "datasource" <> 'lmdp.canary'
LIMIT 1
"""
# How often a sum grew and fell in its newest points.
_STEPS = """
SELECT COUNT(*) FILTER (STEP > 0) AS GREW, COUNT(*) FILTER (STEP < 0) AS FELL
FROM (
  SELECT "value" - LAG("value") OVER (
    PARTITION BY "deviceId", "instance", "attributes" ORDER BY "tsUnixMs", "value"
  ) AS STEP
  FROM (SELECT * FROM ROW_EVENTS WHERE {where} ORDER BY rowid DESC LIMIT 1000)
)
"""
_EXAMPLE = """
SELECT "deviceName", "metric", "unit", "type", "attributes" FROM ROW_EVENTS WHERE {where} LIMIT 1
"""


@dataclass(slots=True)
class Catalogue:
    """Devices and their series. Reading all of 10 million rows takes seconds, what is new a few milliseconds."""

    run: RunClient
    _index: Index = field(default_factory=Index)
    _series: OrderedDict[tuple[str, str], tuple[float, list[Json]]] = field(default_factory=OrderedDict)
    _examples: dict[tuple[str, ...], Json] = field(default_factory=dict)
    _after: int = -1
    _removals: int = 0
    _read: float = -_FRESH_S
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def devices(self) -> list[Json]:
        """Return every device by name: orgId, deviceId, deviceName, rows, newestMs. Raises ApiError."""
        async with self._lock:
            if time.monotonic() - self._read >= _FRESH_S:
                await self._read_new()
                self._read = time.monotonic()
        return self._index.devices()

    async def search(self, text: str, limit: int) -> Json:
        """Return devices, metrics and series that match all words of a text. Raises ApiError."""
        await self.devices()
        return self._index.search(text, limit)

    async def first(self) -> list[str | None]:
        """Return the names of a series to begin with: orgId, deviceId, datasource, instance, metric; else nothing.

        Raises ApiError.
        """
        return [name for one in await self.run.rows(_FIRST) for name in one.values()]

    async def example(self, one: Selection) -> Json:
        """Return the name of the device, unit, type and views of a selection; empty where it has no rows.

        Raises ApiError.
        """
        key = (one.org, one.device, one.datasource, one.metric)
        if key not in self._examples:
            names = zip(('"orgId"', '"deviceId"', '"datasource"', '"metric"'), key, strict=True)
            where = " AND ".join(f"{column} = {literal(name)}" for column, name in names if name)
            found = await self.run.rows(_EXAMPLE.format(where=where))
            if not found:
                return {}
            (steps,) = await self.run.rows(_STEPS.format(where=where)) if found[0]["type"] == "sum" else ({},)
            series = _with_views(found[0], only_grows=steps.get("GREW", 0) > _FALLS * steps.get("FELL", 0))
            if len(self._examples) >= _EXAMPLES_KEPT:
                self._examples.clear()
            if steps.get("GREW") == 0:
                return series  # it may grow later
            self._examples[key] = series
        return self._examples[key]

    async def series(self, org: str, device: str) -> list[Json]:
        """Return a device's series: datasource, instance, metric, unit, type, rows, newestMs, views.

        Raises ApiError.
        """
        read, found = self._series.get((org, device), (-_FRESH_S, []))
        if time.monotonic() - read >= _FRESH_S:
            found = await self.run.rows(_SERIES.format(org=literal(org), device=literal(device)))
            found = [_with_views(one) for one in found]
            self._series[org, device] = time.monotonic(), found
            self._series.move_to_end((org, device))
            while len(self._series) > _DEVICES_KEPT:
                self._series.popitem(last=False)
        return found

    async def _read_new(self) -> None:
        """Read the rows after the last one that was read; all of them again after some were removed or moved."""
        (marks,) = await self.run.rows(_MARKS)
        if marks["REMOVALS"] != self._removals or marks["LAST"] < self._after:
            self._index, self._after, self._removals = Index(), -1, marks["REMOVALS"]
        if marks["LAST"] > self._after:
            places = await self.run.query(Query(_PLACES.format(after=self._after, last=marks["LAST"]), MAX_ROWS, 120))
            for number, (org, device, name, source, instance, metrics, rows, newest) in enumerate(places.rows):
                known = {"orgId": org, "deviceId": device, "deviceName": name, "rows": rows, "newestMs": newest}
                self._index.add(known, source, instance, metrics.split("\x1f"))
                if number % _PIECE == 0:
                    await asyncio.sleep(0)  # others are answered meanwhile
            self._after = marks["LAST"]


def _with_views(series: Json, *, only_grows: bool = False) -> Json:
    attributes = json.loads(series.pop("attributes") or "{}")
    if only_grows and "otlp.temporality" not in attributes:  # the source states nothing
        attributes["otlp.monotonic"] = True
    return series | {"views": views(series | attributes)}


def views(series: Json) -> list[str]:
    """Return the views in which a series can be drawn, the best first: a sum that only grows is drawn as a rate."""
    if series["type"] == "sum":
        return ["rate", "raw"] if series.get("otlp.monotonic") is True else ["raw", "rate"]
    if series["metric"].endswith(".bucket") and series["type"] in ("histogram", "exponential_histogram"):
        return ["percentile", "raw"]
    return ["raw"]
