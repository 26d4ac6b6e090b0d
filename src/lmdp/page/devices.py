"""Catalogue of the warehouse's devices and their series, kept current by reading new rows only."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from lmdp.page.run_client import Json, RunClient

_FRESH_S = 5.0
_DEVICES_KEPT = 64

_MARKS = """
SELECT (SELECT coalesce(max(rowid), -1) FROM ROW_EVENTS) AS LAST, (SELECT count(*) FROM REMOVALS) AS REMOVALS
"""
_DEVICES = """
SELECT "orgId", "deviceId", max("deviceName") AS "deviceName", count(*) AS "rows", max("tsUnixMs") AS "newestMs"
FROM ROW_EVENTS
WHERE rowid > {after} AND rowid <= {last} AND "datasource" <> 'lmdp.canary'
GROUP BY ALL
"""
_SERIES = """
SELECT
  "datasource", "instance", "metric", max("unit") AS "unit", "type", count(*) AS "rows", max("tsUnixMs") AS "newestMs"
FROM ROW_EVENTS
WHERE "orgId" = {org} AND "deviceId" = {device} AND "datasource" <> 'lmdp.canary'
GROUP BY "datasource", "instance", "metric", "type"
ORDER BY ALL
"""


@dataclass(slots=True)
class Catalogue:
    """Devices and their series. Reading all of 10 million rows takes half a second, what is new a few milliseconds."""

    run: RunClient
    _devices: dict[tuple[str, str], Json] = field(default_factory=dict)
    _series: OrderedDict[tuple[str, str], tuple[float, list[Json]]] = field(default_factory=OrderedDict)
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
        return sorted(self._devices.values(), key=lambda one: (one["deviceName"] or one["deviceId"], one["orgId"]))

    async def series(self, org: str, device: str) -> list[Json]:
        """Return a device's series: datasource, instance, metric, unit, type, rows, newestMs, views.

        Raises ApiError.
        """
        read, found = self._series.get((org, device), (-_FRESH_S, []))
        if time.monotonic() - read >= _FRESH_S:
            found = await self.run.rows(_SERIES.format(org=literal(org), device=literal(device)))
            for one in found:
                one["views"] = views(one)
            self._series[org, device] = time.monotonic(), found
            self._series.move_to_end((org, device))
            while len(self._series) > _DEVICES_KEPT:
                self._series.popitem(last=False)
        return found

    async def _read_new(self) -> None:
        """Read the rows after the last one that was read; all of them again after some were removed or moved."""
        (marks,) = await self.run.rows(_MARKS)
        if marks["REMOVALS"] != self._removals or marks["LAST"] < self._after:
            self._devices, self._after, self._removals = {}, -1, marks["REMOVALS"]
        if marks["LAST"] == self._after:
            return
        for one in await self.run.rows(_DEVICES.format(after=self._after, last=marks["LAST"])):
            key = one["orgId"], one["deviceId"]
            before = self._devices.get(key)
            if before is not None:
                one["rows"] += before["rows"]
                one["newestMs"] = max(one["newestMs"], before["newestMs"])
                one["deviceName"] = one["deviceName"] or before["deviceName"]
            self._devices[key] = one
        self._after = marks["LAST"]


def views(series: Json) -> list[str]:
    """Return the views in which a series can be drawn."""
    if series["type"] == "sum":
        return ["raw", "rate"]
    if series["metric"].endswith(".bucket") and series["type"] in ("histogram", "exponential_histogram"):
        return ["percentile", "raw"]
    return ["raw"]


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
