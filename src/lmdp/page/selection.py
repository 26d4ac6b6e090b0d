"""Content of a chart: selected series and a time range, as the address and the board have them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from lmdp.page import formats
from lmdp.page.address import State
from lmdp.page.chart import VIEWS, ChartQuery, View

PRESETS: Final = {"15m": 900, "1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
"""Ranges that end now, and their seconds."""

MAX_SELECTIONS: Final = 8
_MOMENT: Final = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)[ T](\d\d?):(\d\d)(?::(\d\d)(?:\.\d+)?)?")


class Selection(msgspec.Struct, frozen=True, array_like=True):
    """A series and its view; with `over`, all that match: an empty device is every device, no instance every instance.

    An empty view is the best one for the metric.
    """

    org: str
    device: str
    datasource: str
    instance: str | None
    metric: str
    view: str = ""
    over: str = ""
    by: str = ""

    def query(self, from_ms: int, to_ms: int, view: View) -> ChartQuery:
        """Return the query of its chart."""
        place = (self.org, self.device, self.datasource, self.instance, self.metric)
        return ChartQuery(*place, view, from_ms, to_ms, over=self.over, by=self.by)


@dataclass(frozen=True, slots=True)
class Picture:
    """The selections of a chart, and its range: one that ends now, or Unix ms from and to."""

    selections: tuple[Selection, ...] = ()
    preset: str = "1h"
    span: tuple[int, int] | None = None

    def times(self, now_ms: int) -> tuple[int, int]:
        """Return when it begins and ends, in Unix ms."""
        return self.span or (now_ms - PRESETS[self.preset] * 1000, now_ms)

    def state(self) -> State:
        """Return the state by which an address names it."""
        series = msgspec.json.encode(self.selections).decode() if self.selections else ""
        span = ",".join(map(_written, self.span)) if self.span else self.preset
        return {"range": span, "s": series}

    @classmethod
    def of(cls, state: State) -> Picture:
        """Return what a state names. What cannot be read in it is as at first."""
        try:
            found = msgspec.json.decode(state.get("s", "[]"), type=tuple[Selection, ...])[:MAX_SELECTIONS]
        except (msgspec.MsgspecError, RecursionError):
            found = ()
        kept = tuple(one if one.view in ("", *VIEWS) else msgspec.structs.replace(one, view="") for one in found)
        text = state.get("range", "")
        span = tuple(at for part in text.split(",") if (at := moment_ms(part, UTC)) is not None)
        if len(span) == 2 and span[0] < span[1]:
            return cls(kept, span=span)
        return cls(kept, text if text in PRESETS else "1h")


def moment_ms(text: str, zone: tzinfo) -> int | None:
    """Return a time of a zone, such as 2026-11-28 14:05, in Unix ms; None for any other text."""
    if not (found := _MOMENT.fullmatch(text.strip().removesuffix("Z"))):
        return None
    try:
        at = datetime(*(int(part or 0) for part in found.groups()), tzinfo=zone)  # type: ignore[misc, arg-type]
        return round(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def written(ms: int, zone: tzinfo) -> str:
    """Return a time as `moment_ms` reads it, to the second where it has any."""
    text = datetime.fromtimestamp(ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")
    return text.removesuffix(":00")


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its IANA name; UTC where this machine does not know it."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return UTC


def _written(ms: int) -> str:
    return formats.iso(ms // 1000 * 1000)
