"""The chart of selected series: drawn from the warehouse, and taken away as CSV, PNG or SQL."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from lmdp.page import echarts, formats
from lmdp.page.chart import VIEWS, View, unique_labels
from lmdp.page.run_client import Json
from lmdp.page.selection import Picture, Selection

if TYPE_CHECKING:
    from lmdp.page.layout import Session

_OVER = {"top": "largest", "sum": "sum", "avg": "average", "max": "maximum"}


@dataclass(frozen=True, slots=True)
class PlottedSelection:
    """A selection as it is drawn: the device's name, the unit, its views, and the answer with its lines."""

    selection: Selection
    device_name: str
    unit: str
    views: list[View]
    view: View
    answer: Json

    def label(self) -> dict[str, str]:
        """Return what names the selection, by kind."""
        one = self.selection
        metric = one.metric.removesuffix(".bucket") if self.view == "percentile" else one.metric
        return {
            "": self.device_name or "every device",
            " ": one.instance or (one.datasource if not one.over else f"{one.datasource}, every instance"),
            "  ": f"{metric} per second" if self.view == "rate" else metric,
            "   ": (_OVER[one.over] if one.over else "") + (" by device" if one.by else ""),
        }


class SeriesChart:
    """A chart of a picture.

    `zoomed` is called with the Unix ms of a range that the user drags over, `reset` on a double click.
    """

    def __init__(
        self,
        session: Session,
        zoomed: Callable[[int, int], Awaitable[None]] | None = None,
        reset: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._session, self._zoomed, self._reset = session, zoomed, reset
        self._newest = 0
        self.drawn: list[PlottedSelection] = []
        self.span = (0, 1)
        self.seconds = 0.0
        session.redraw.append(self.paint)

    def build(self, name: str) -> None:
        """Build the chart, empty."""
        self._title = ui.label().classes("lm-note lm-title")
        self._chart = ui.echart(echarts.lines([], self._session.colours)).classes("lm-chart")
        self._chart.props(f'role=img data-testid={name} aria-label="Chart of the selected series"')
        if self._zoomed:
            self._chart.on("chart:brushEnd", self._brushed, ["areas"])
            self._chart.on("dblclick", self._reset, [])

    async def draw(self, picture: Picture) -> bool:
        """Query every selection again. False where a later call has overtaken this one. Raises ApiError."""
        self._newest += 1
        number, begun = self._newest, time.monotonic()
        span = picture.times(int(time.time() * 1000))
        drawn = await asyncio.gather(*(self._drawn(one, *span) for one in picture.selections))
        if number == self._newest:
            self.drawn, self.span, self.seconds = drawn, span, time.monotonic() - begun
            self.paint()
        return number == self._newest

    async def _drawn(self, one: Selection, from_ms: int, to_ms: int) -> PlottedSelection:
        catalogue = self._session.api.catalogue
        known = await catalogue.example(one)
        views = [view for view in known.get("views", ["raw"]) if not (one.over and view == "percentile")]
        view = next((view for view in VIEWS if view == one.view and view in views), views[0])
        answer = await self._session.api.draw(one.query(from_ms, to_ms, view))
        name = (known.get("deviceName") if one.device else "") or one.device
        return PlottedSelection(one, name, known.get("unit") or "", views, view, answer)

    def lines(self) -> list[tuple[str, list[list[Any]]]]:
        """Return the lines that are drawn, each with its name."""
        names = unique_labels([one.label() for one in self.drawn])
        named = [
            (" \u00b7 ".join(part for part in (name, line["name"]) if part), line["points"])
            for name, one in zip(names, self.drawn, strict=True)
            for line in one.answer["lines"]
        ]
        return [(name or self._shared()[-1], points) for name, points in named]

    def _shared(self) -> list[str]:
        """Return what all selections have in common."""
        labels = [one.label() for one in self.drawn]
        return [text for key, text in labels[0].items() if text and len({label[key] for label in labels}) == 1]

    def title(self) -> str:
        """Return what all lines have in common."""
        return " \u00b7 ".join(self._shared()) if self.drawn else ""

    def width_ms(self) -> int:
        """Return the longest step of the chart."""
        return max((one.answer["widthMs"] for one in self.drawn), default=0)

    def paint(self) -> None:
        """Show the last answers, in the theme's colours."""
        unit = _unit(self.drawn)
        self._title.set_text(f"{self.title()} ({unit})" if unit else self.title())
        named = [(name, with_gaps(points, 2.5 * self.width_ms())) for name, points in self.lines()]
        options = echarts.lines(named, self._session.colours, span=self.span, utc=self._session.zone is UTC, unit=unit)
        self._chart.options.clear()
        self._chart.options.update(options)
        self._chart.update()
        if self._zoomed:
            self._chart.run_chart_method("dispatchAction", echarts.DRAG)

    async def _brushed(self, event: GenericEventArguments) -> None:
        areas = event.args.get("areas") or []
        span = areas[0].get("coordRange") if areas else None
        if self._zoomed and span and span[1] - span[0] >= 1000:
            await self._zoomed(round(span[0]), round(span[1]))

    def save_csv(self) -> None:
        """Give the browser the points as CSV: a row for each point of each line."""
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["time", "unix_ms", "series", "value"])
        shared = self._shared() if self.drawn else []
        for name, points in self.lines():
            series = " \u00b7 ".join(dict.fromkeys([*shared, name]))
            rows.writerows([formats.iso(at), at, series, value] for at, value, *_ in points)
        ui.download.content(text.getvalue().encode(), "chart.csv", "text/csv")

    def save_png(self) -> None:
        """Give the browser the chart as a picture."""
        options = {"type": "png", "pixelRatio": 2, "backgroundColor": self._session.colours.surface}
        ui.run_javascript(
            "const link = document.createElement('a'); link.download = 'chart.png';"
            f"link.href = getElement({self._chart.id}).chart.getDataURL({json.dumps(options)}); link.click()"
        )


def with_gaps(points: list[list[Any]], longest_ms: float) -> list[list[Any]]:
    """Return time and value of the points, and a break where no point is for longer."""
    found: list[list[Any]] = []
    for at, value, *_ in points:
        if found and at - found[-1][0] > longest_ms:
            found.append([(found[-1][0] + at) // 2, None])
        found.append([at, value])
    return found


def _unit(drawn: list[PlottedSelection]) -> str:
    units = {f"{one.unit}/s" if one.view == "rate" else one.unit for one in drawn}
    return units.pop().removeprefix("/") if len(units) == 1 and units != {"/s"} else ""
