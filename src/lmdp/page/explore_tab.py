"""Explore tab: pick a device and a metric, see one or several series on a chart, with the SQL behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec
from nicegui import ui

from lmdp.errors import ApiError
from lmdp.page import chart, echarts, formats
from lmdp.page.address import State
from lmdp.page.run_client import Json
from lmdp.page.widgets import code, heading
from lmdp.support.program import program

if TYPE_CHECKING:
    from lmdp.page.layout import Session

RANGES = {"15m": 900, "1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
_RANGE_NAMES = {
    "15m": "15 min",
    "1h": "1 h",
    "6h": "6 h",
    "24h": "24 h",
    "7d": "7 d",
    "30d": "30 d",
    "own": "From \u2026 to",
}
_VIEWS = {"raw": "Raw", "rate": "Rate", "percentile": "Percentile"}
_DOT = " \u00b7 "
_MAX_SERIES = 8
_REFRESH_S = 10.0
_SHARE = 20  # redrawing takes a twentieth of the time at most


class Series(msgspec.Struct, frozen=True, array_like=True):
    """A series and its view, as the page's address carries them."""

    org: str
    device: str
    datasource: str
    instance: str | None
    metric: str
    view: str


@dataclass(frozen=True, slots=True)
class _Line:
    """A series with its display name and unit."""

    series: Series
    device_name: str
    unit: str

    def parts(self) -> tuple[str, str, str]:
        """Return device, instance, and metric with the view where it is not raw."""
        series = self.series
        metric = series.metric.removesuffix(".bucket") if series.view == "percentile" else series.metric
        return (
            self.device_name,
            series.instance or series.datasource,
            f"{metric} per second" if series.view == "rate" else metric,
        )


class ExploreTab:
    """The explore tab."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._devices: list[Json] = []
        self._series: list[Json] = []
        self._kept: list[_Line] = []
        self._drawn: list[tuple[_Line, Json]] = []
        self._is_touched = False  # what the user has not changed has the plain address
        self._is_updating = False  # while the program sets the pickers
        self._next = 0.0
        self._newest = 0
        session.redraw.append(self._paint)

    def build(self) -> None:
        """Build the pickers, the chart, and the section for the SQL."""
        heading("Explore", "pick a device, then a metric")
        with ui.element("section").classes("lm-card lm-pickers").props('aria-label="What to draw"'):
            self._device = self._picker("Device", "device", self._on_user_change(self._device_picked))
            self._datasource = self._picker("DataSource", "datasource", self._on_user_change(self._picked))
            self._instance = self._picker("Instance", "instance", self._on_user_change(self._picked))
            self._metric = self._picker("Metric", "metric", self._on_user_change(self._picked))
        with ui.element("section").classes("lm-card").props('aria-label="Chart"'):
            with ui.element("div").classes("lm-row lm-spread"):
                self._as = ui.toggle({"raw": "Raw"}, value="raw", on_change=self._on_user_change(self._changed))
                self._as.props('no-caps unelevated dense data-testid=view aria-label="How to draw it"')
                self._range = ui.toggle(_RANGE_NAMES, value="1h", on_change=self._on_user_change(self._range_picked))
                self._range.props('no-caps unelevated dense data-testid=range aria-label="Time range"')
            with ui.element("div").classes("lm-row") as self._own:
                self._from = self._time("From (UTC)", -3_600)
                self._to = self._time("To (UTC)", 0)
            self._own.visible = False
            self._chips = ui.element("div").classes("lm-row lm-chips").props("data-testid=chips")
            self._title = ui.label().classes("lm-note lm-title")
            self._chart = ui.echart(echarts.lines([], self._session.colours)).classes("lm-chart")
            self._chart.props('role=img data-testid=chart aria-label="Chart of the chosen series"')
            with ui.element("div").classes("lm-row lm-spread"):
                self._status = ui.label(" ").classes("lm-note").props('role="status" data-testid=explore-status')
                self._keep = ui.button("Add to comparison", on_click=self._keep_it)
                self._keep.props("outline no-caps data-testid=keep")
        heading(
            "The SQL it ran",
            f"works in {program()} query; for Snowflake use the view named in the comment",
        )
        self._sql = ui.element("section").classes("lm-card lm-sqls").props('data-testid=sql aria-label="SQL"')

    async def open(self, query: State) -> None:
        """Show the series that the page's address names, else the first one."""
        self._is_touched = bool(query)
        if query.get("range") in RANGES:
            self._is_updating = True
            self._range.set_value(query["range"])
            self._is_updating = self._own.visible = False
        self._kept.clear()
        try:
            wanted = msgspec.json.decode(query.get("s", "[]"), type=list[Series])[:_MAX_SERIES]
        except msgspec.MsgspecError:
            wanted = []
        await self._load(wanted)

    async def _load(self, wanted: list[Series]) -> None:
        try:
            self._devices = (await self._session.api.devices())["devices"]
            if not self._devices:
                self._set_status("No rows yet. The first ones arrive within seconds.")
                return
            for series in wanted[:-1]:
                self._kept.append(await self._line(series))
            first = self._devices[0]
            await self._offer(wanted[-1] if wanted else Series(first["orgId"], first["deviceId"], "", None, "", ""))
            self._show_chips()
            await self._redraw()
        except ApiError as error:
            self._set_status(f"{error}")

    async def tick(self) -> None:
        """Redraw with the newest points every few seconds, while the range ends now. Raises ApiError."""
        if not self._devices:
            await self._load([])
        elif self._range.value != "own" and time.monotonic() >= self._next:
            await self._redraw()

    def state(self) -> State:
        """Return the state of what is shown; empty before anything is."""
        chosen = [line.series for line in self._lines()]
        return {"range": self._range.value, "s": msgspec.json.encode(chosen).decode()} if self._is_touched else {}

    def _picker(self, title: str, key: str, on_change: Any) -> ui.select:
        select = ui.select({}, label=title, with_input=True, on_change=on_change).classes("lm-pick")
        return select.props(f"outlined dense options-dense hide-selected fill-input data-testid=pick-{key}")

    def _time(self, title: str, ago_s: int) -> ui.input:
        value = datetime.fromtimestamp(time.time() + ago_s, UTC).strftime("%Y-%m-%dT%H:%M")
        field = ui.input(title, value=value, on_change=self._changed).props("outlined dense type=datetime-local")
        return field.classes("lm-pick")

    async def _line(self, series: Series) -> _Line:
        device = next((one for one in self._devices if _of(one) == (series.org, series.device)), {})
        known = (await self._session.api.series(series.org, series.device))["series"]
        unit = next((one["unit"] for one in known if _is(one, series)), None) or ""
        return _Line(series, device.get("deviceName") or series.device, unit)

    async def _offer(self, wanted: Series) -> None:
        """Fill the pickers, and select `wanted` where it exists, else the first of each."""
        self._is_updating = True
        try:
            names = {_key(*_of(one)): _named(one, self._devices) for one in self._devices}
            self._device.set_options(names, value=_first(_key(wanted.org, wanted.device), names))
            org, device = msgspec.json.decode(self._device.value)
            self._series = (await self._session.api.series(org, device))["series"]
            sources = _distinct(one["datasource"] for one in self._series)
            self._datasource.set_options(sources, value=_first(wanted.datasource, sources))
            of_source = [one for one in self._series if one["datasource"] == self._datasource.value]
            instances = {_instance_key(one["instance"]): one["instance"] or "(none)" for one in of_source}
            self._instance.set_options(instances, value=_first(_instance_key(wanted.instance), instances))
            of_instance = [one for one in of_source if _instance_key(one["instance"]) == self._instance.value]
            metrics = _distinct(one["metric"] for one in of_instance)
            self._metric.set_options(metrics, value=_first(wanted.metric, metrics))
            ways = next((one["views"] for one in of_instance if one["metric"] == self._metric.value), ["raw"])
            self._as.set_options({way: _VIEWS[way] for way in ways}, value=_first(wanted.view, ways))
        finally:
            self._is_updating = False

    def _current(self) -> Series | None:
        if not (self._device.value and self._datasource.value and self._metric.value):
            return None
        org, device = msgspec.json.decode(self._device.value)
        instance = cast("str | None", msgspec.json.decode(self._instance.value))
        return Series(org, device, self._datasource.value, instance, self._metric.value, self._as.value)

    async def _device_picked(self) -> None:
        await self._picked(datasource=True)

    async def _picked(self, *, datasource: bool = False) -> None:
        """Fill the pickers after the one that changed again."""
        if not self._device.value:
            return
        org, device = msgspec.json.decode(self._device.value)
        kept = "" if datasource and not self._datasource.value else self._datasource.value
        instance = msgspec.json.decode(self._instance.value) if self._instance.value else None
        try:
            await self._offer(Series(org, device, kept or "", instance, self._metric.value or "", self._as.value or ""))
        except ApiError as error:
            self._set_status(f"{error}")
            return
        await self._changed()

    async def _range_picked(self) -> None:
        self._own.visible = self._range.value == "own"
        await self._changed()

    async def _changed(self) -> None:
        await self._redraw()
        if self._session.tab == "explore":
            self._is_touched = True
            self._session.changed()

    def _on_user_change(self, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None] | None]:
        """Return a handler for changes that the user makes, not the program.

        It decides at once: the library starts a coroutine later, when the program's own changes are over.
        """
        return lambda: None if self._is_updating else work()

    async def _keep_it(self) -> None:
        current = self._current()
        if current is None or len(self._kept) >= _MAX_SERIES - 1:
            self._set_status(f"A chart has at most {_MAX_SERIES} series.")
            return
        if all(line.series != current for line in self._kept):
            self._kept.append(await self._line(current))
        self._show_chips()
        await self._changed()

    async def _drop_it(self, line: _Line) -> None:
        self._kept = [one for one in self._kept if one != line]
        self._show_chips()
        await self._changed()

    def _show_chips(self) -> None:
        self._chips.clear()
        with self._chips:
            for line in self._kept:
                chip = ui.chip(_DOT.join(line.parts()), removable=True, color="transparent")
                chip.classes("lm-chip").on("remove", lambda _, line=line: self._drop_it(line))

    def _lines(self) -> list[_Line]:
        current = self._current()
        known = [line for line in self._kept if line.series != current]
        if current is None:
            return known
        device = next((one for one in self._devices if _of(one) == (current.org, current.device)), {})
        unit = next((one["unit"] for one in self._series if _is(one, current)), None) or ""
        return [*known, _Line(current, device.get("deviceName") or current.device, unit)]

    def _span_ms(self) -> tuple[int, int]:
        if self._range.value != "own":
            to_ms = int(time.time() * 1000)
            return to_ms - RANGES[self._range.value] * 1000, to_ms
        times = [datetime.fromisoformat(str(field.value)).replace(tzinfo=UTC) for field in (self._from, self._to)]
        begin, end = (round(moment.timestamp() * 1000) for moment in times)
        return begin, end

    async def _redraw(self) -> None:
        """Query every line again. An answer that a later query has overtaken is discarded."""
        self._newest += 1
        number, begun = self._newest, time.monotonic()
        try:
            from_ms, to_ms = self._span_ms()
            lines = self._lines()
            charts = (self._session.api.draw(_chart_query(line.series, from_ms, to_ms)) for line in lines)
            drawn = list(zip(lines, await asyncio.gather(*charts), strict=True))
        except (ApiError, ValueError) as error:
            self._next = time.monotonic() + _REFRESH_S
            if number == self._newest:
                self._set_status(f"{error}")
            return
        self._next = time.monotonic() + max(_REFRESH_S, _SHARE * (time.monotonic() - begun))
        if number == self._newest:
            self._drawn = drawn
            self._paint()
            self._show_result(time.monotonic() - begun)

    def _paint(self) -> None:
        """Show the last answers on the chart, in the theme's colours."""
        title, names = unique_labels([line.parts() for line, _ in self._drawn])
        named = [
            (_DOT.join(part for part in (name, one["name"]) if part), [point[:2] for point in one["points"]])
            for name, (_, answer) in zip(names, self._drawn, strict=True)
            for one in answer["lines"]
        ]
        unit = _unit(self._drawn)
        self._title.set_text(f"{title} ({unit})" if unit else title)
        options = echarts.lines(named, self._session.colours)
        if self._drawn:
            answer = self._drawn[0][1]
            first = min((points[0][0] for _, points in named if points), default=answer["fromMs"])
            options["xAxis"] |= {"min": max(answer["fromMs"], first), "max": answer["toMs"]}
        self._chart.options.clear()
        self._chart.options.update(options)
        self._chart.update()

    def _show_result(self, seconds: float) -> None:
        points = sum(len(one["points"]) for _, answer in self._drawn for one in answer["lines"])
        width = formats.width(self._drawn[0][1]["widthMs"]) if self._drawn else ""
        left_out = sum(answer["linesLeftOut"] for _, answer in self._drawn)
        self._set_status(
            f"{points:,} points, {width} resolution, {formats.together(formats.span(seconds))}"
            + (f"; {left_out} more lines are not shown" if left_out else "")
            if points
            else "No points in this time range."
        )
        sqls = [answer["sql"] for _, answer in self._drawn]
        self._sql.clear()
        with self._sql:
            for sql in sqls:
                code(sql)

    def _set_status(self, text: str) -> None:
        self._status.set_text(text)


def _chart_query(series: Series, from_ms: int, to_ms: int) -> chart.ChartQuery:
    view = series.view if series.view in chart.VIEWS else "raw"
    return chart.ChartQuery(
        series.org, series.device, series.datasource, series.instance, series.metric, view, from_ms, to_ms
    )


def unique_labels(lines: list[tuple[str, ...]]) -> tuple[str, list[str]]:
    """Return what all lines have in common, and a label for each; a single line is labelled by its last part."""
    if len(lines) <= 1:
        return _DOT.join(part for line in lines for part in line[:-1]), [line[-1] for line in lines]
    shared = [len(set(column)) == 1 for column in zip(*lines, strict=True)]
    common = [part for part, same in zip(lines[0], shared, strict=True) if same]
    own = [[part for part, same in zip(line, shared, strict=True) if not same] for line in lines]
    return _DOT.join(common), [_DOT.join(parts) for parts in own]


def _unit(drawn: list[tuple[_Line, Json]]) -> str:
    units = {f"{line.unit}/s" if line.series.view == "rate" else line.unit for line, _ in drawn}
    return units.pop().removeprefix("/") if len(units) == 1 and units != {"/s"} else ""


def _of(device: Json) -> tuple[str, str]:
    return device["orgId"], device["deviceId"]


def _is(one: Json, series: Series) -> bool:
    return (one["datasource"], one["instance"], one["metric"]) == (series.datasource, series.instance, series.metric)


def _key(org: str, device: str) -> str:
    return msgspec.json.encode([org, device]).decode()


def _instance_key(instance: str | None) -> str:
    return msgspec.json.encode(instance).decode()


def _named(device: Json, devices: list[Json]) -> str:
    name = device["deviceName"] or device["deviceId"]
    many = len({one["orgId"] for one in devices}) > 1
    return f"{name} ({device['orgId']})" if many else str(name)


def _distinct(names: Any) -> dict[str, str]:
    return {name: name for name in sorted(set(names))}


def _first(wanted: str, there: Any) -> str | None:
    return wanted if wanted in there else next(iter(there), None)
