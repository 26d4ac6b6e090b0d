"""Explore tab: search for series, and see them on a chart, with the SQL behind it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from nicegui import ui

from lmdp.errors import ApiError
from lmdp.page import formats
from lmdp.page.address import State, address
from lmdp.page.chart import VIEWS
from lmdp.page.run_client import Json
from lmdp.page.selection import MAX_SELECTIONS, Picture, Selection, moment_ms, written, zone_of
from lmdp.page.series_chart import SeriesChart
from lmdp.page.widgets import action, code, empty, heading, save_to_board
from lmdp.support.printable import counted
from lmdp.support.program import program

if TYPE_CHECKING:
    from lmdp.page.layout import Session

_RANGES = {
    "15m": "15 min",
    "1h": "1 h",
    "6h": "6 h",
    "24h": "24 h",
    "7d": "7 d",
    "30d": "30 d",
    "own": "From \u2026 to",
}
_VIEWS = {"raw": "Raw", "rate": "Rate", "percentile": "Percentile"}
_OVER = {
    "top": "Largest series",
    "sum": "Sum",
    "avg": "Average",
    "max": "Maximum",
    "sum device": "Sum by device",
    "avg device": "Average by device",
    "max device": "Maximum by device",
}
_FOUND = 30
_NO_ROWS = "No rows yet. The first ones arrive within seconds."
_LEFT = "event => event.relatedTarget && !event.currentTarget.contains(event.relatedTarget) && emit()"
_OUTSIDE = (
    "window.lmdpOutside ??= addEventListener('pointerdown', event => "
    "event.target.closest('.lm-search') || emitEvent('lmdp-outside')) ?? 1"
)
_REFRESH_S = 10.0
_SHARE = 20  # redrawing takes a twentieth of the time at most


class ExploreTab:
    """The explore tab."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._picture = Picture()
        self._is_first = True  # nothing chosen yet: the plain address
        self._is_cleared = False  # the user has removed the last selection
        self._unzoomed: Picture | None = None
        self._is_updating = False  # while the program sets what the user sets, too
        self._next = 0.0
        self._searches = 0
        self._texts: list[str] = []  # of the chips
        self._chart = SeriesChart(session, self._zoom, self._reset_zoom)
        ui.on("lmdp-outside", self._close)

    def build(self) -> None:
        """Build the search, the chart, and the section for the SQL."""
        heading("Explore", "search, then draw one or several series")
        self._build_search()
        with ui.element("section").classes("lm-card").props('aria-label="Chart"'):
            self._build_tools()
            self._chart.build("chart")
            self._build_actions()
        heading("The SQL it ran", f"works in {program()} query; for Snowflake use the view named in the comment")
        self._sql = ui.element("section").classes("lm-card lm-sqls").props('data-testid=sql aria-label="SQL"')

    def _build_search(self) -> None:
        with ui.element("section").classes("lm-card lm-search").props('aria-label="What to draw"') as box:
            self._text = ui.input("Search", on_change=self._searched).classes("lm-search-text")
            self._text.props(
                "outlined dense clearable stack-label debounce=100 autocomplete=off data-testid=search "
                'placeholder="device, DataSource, instance or metric, by name or id"'
            )
            self._text.on("focus", self._searched)
            self._text.on("keydown.enter", self._first_chosen)
            self._text.on("keydown.esc", self._close)
            self._text.on("keydown.down", js_handler="() => document.querySelector('.lm-result button')?.focus()")
            self._results = (
                ui.element("div")
                .classes("lm-results")
                .props('data-testid=results tabindex=-1 role=region aria-label="Matches"')
            )
            self._results.on("keydown.esc", self._close)
            self._results.visible = False
            self._chips = ui.element("div").classes("lm-row lm-chips").props("data-testid=chips")
        box.on("focusout", self._close, js_handler=_LEFT)

    def _build_tools(self) -> None:
        with ui.element("div").classes("lm-row lm-spread"):
            with ui.element("div").classes("lm-row"):
                self._view = ui.toggle({"raw": "Raw"}, value="raw", on_change=self._by_user(self._view_chosen))
                self._view.props('no-caps unelevated dense data-testid=view aria-label="How to draw it"')
                self._over = ui.select(_OVER, value="top", label="Of many series")
                self._over.on_value_change(self._by_user(self._over_chosen))
                self._over.props("outlined dense options-dense data-testid=over").classes("lm-pick")
            with ui.element("div").classes("lm-row"):
                self._range = ui.toggle(_RANGES, value="1h", on_change=self._by_user(self._range_chosen))
                self._range.props('no-caps unelevated dense data-testid=range aria-label="Time range"')
                self._zone = ui.toggle({"UTC": "UTC"}, value="UTC", on_change=self._by_user(self._zone_chosen))
                self._zone.props('no-caps unelevated dense data-testid=zone aria-label="Time zone"')
        with ui.element("div").classes("lm-row") as self._own:
            self._from, self._to = self._moment("From"), self._moment("To")
            action("Reset zoom", self._reset_zoom, "reset")

    def _moment(self, title: str) -> ui.input:
        field = ui.input(title).props(f'outlined dense placeholder="2026-11-28 14:05" data-testid={title.lower()}')
        field.on("change", self._span_chosen)
        return field.classes("lm-pick")

    def _build_actions(self) -> None:
        with ui.element("div").classes("lm-row lm-spread"):
            self._status = ui.label(" ").classes("lm-note").props('role="status" data-testid=explore-status')
            with ui.element("div").classes("lm-row"):
                action("CSV", self._chart.save_csv, "csv")
                action("PNG", self._chart.save_png, "png")
                action("Copy link", self._copy_link, "link")
                action("Save to board", self._save, "save")

    async def open(self, state: State) -> None:
        """Show the series that the page's address names, else the first one."""
        self._picture = Picture.of(state)
        self._is_first, self._is_cleared, self._unzoomed = not state, False, None
        ui.run_javascript(_OUTSIDE)
        await self._draw()
        with contextlib.suppress(ApiError):
            await self._session.api.devices()  # so that the first search finds an index

    def state(self) -> State:
        """Return the state of what is shown; empty before the user has chosen anything."""
        return {} if self._is_first else self._picture.state()

    async def tick(self) -> None:
        """Redraw with the newest points every few seconds, while the range ends now. Raises ApiError."""
        if time.monotonic() >= self._next and (self._picture.span is None or not self._chart.drawn):
            await self._draw()

    # What the user does

    def _by_user(self, work: Callable[[str], Awaitable[None]]) -> Callable[[Any], Awaitable[None] | None]:
        """Return a handler for changes that the user makes, not the program.

        It decides at once: the library starts a coroutine later, when the program's own changes are over.
        """
        return lambda event: None if self._is_updating else work(event.value)

    async def _change(self, picture: Picture) -> None:
        """Show another picture; Back returns."""
        self._picture, self._is_first, self._is_cleared = picture, False, not picture.selections
        self._session.changed(push=True)
        await self._draw()

    async def _select(self, one: Selection, *, adds: bool) -> None:
        """Draw a selection alone, or with the others; one that is drawn already is removed."""
        kept = tuple(other for other in self._picture.selections if not _same(other, one))
        is_there = len(kept) < len(self._picture.selections)
        if adds and not is_there and len(kept) >= MAX_SELECTIONS:
            self._status.set_text(f"A chart has at most {MAX_SELECTIONS} selections.")
            return
        if not adds:
            self._close()
        chosen = (*kept, *(() if is_there else (one,))) if adds else (one,)
        await self._change(replace(self._picture, selections=chosen))
        if adds:
            await self._searched()

    async def _remove(self, one: Selection) -> None:
        kept = tuple(other for other in self._picture.selections if not _same(other, one))
        await self._change(replace(self._picture, selections=kept))

    async def _view_chosen(self, view: str) -> None:
        views = {one.selection: one.views for one in self._chart.drawn}
        await self._change(
            replace(
                self._picture,
                selections=tuple(
                    msgspec.structs.replace(one, view=view) if view in views.get(one, ()) else one
                    for one in self._picture.selections
                ),
            )
        )

    async def _over_chosen(self, text: str) -> None:
        over, _, by = text.partition(" ")
        selections = (
            msgspec.structs.replace(one, over=over, by=by) if one.over else one for one in self._picture.selections
        )
        await self._change(replace(self._picture, selections=tuple(selections)))

    async def _range_chosen(self, name: str) -> None:
        self._unzoomed = None
        if name == "own":
            await self._change(replace(self._picture, span=self._chart.span))
        else:
            await self._change(replace(self._picture, preset=name, span=None))

    async def _span_chosen(self) -> None:
        begin, end = (moment_ms(str(field.value or ""), self._session.zone) for field in (self._from, self._to))
        if begin is None or end is None:
            self._status.set_text("A time is written as 2026-11-28 14:05.")
        elif begin >= end:
            self._status.set_text("Start must be before end.")
        elif (begin, end) != self._picture.span:
            await self._change(replace(self._picture, span=(begin, end)))

    async def _zoom(self, begin: int, end: int) -> None:
        """Show the range that was dragged over, in whole seconds."""
        if self._unzoomed is None:
            self._unzoomed = self._picture
        await self._change(replace(self._picture, span=(begin // 1000 * 1000, -(-end // 1000) * 1000)))

    async def _reset_zoom(self) -> None:
        """Show the range before the zoom; one that came with an address becomes the last hour."""
        before = self._unzoomed or Picture()
        self._unzoomed = None
        await self._change(replace(self._picture, preset=before.preset, span=before.span))

    async def _zone_chosen(self, name: str) -> None:
        ui.run_javascript(f"localStorage.setItem('lmdp-zone', {json.dumps('UTC' if name == 'UTC' else 'local')})")
        self._session.zone = zone_of(name)
        self._show_tools()
        self._chart.paint()

    # The search

    async def _searched(self) -> None:
        """Show what matches the text. An answer that a later text has overtaken is discarded."""
        self._searches += 1
        number, text = self._searches, str(self._text.value or "")
        try:
            found = await self._session.api.search(text, _FOUND)
        except ApiError as error:
            self._status.set_text(f"{error}")
            return
        if number == self._searches:
            self._results.clear()
            self._results.visible = True
            self._results.props["data-text"] = text
            with self._results:
                self._show_matches(text, found)

    def _show_matches(self, text: str, found: Json) -> None:
        for device in found["devices"]:
            name = device["deviceName"] or device["deviceId"]
            with ui.element("div").classes("lm-result"):
                choose = ui.button(on_click=partial(self._text.set_value, f"{name} ")).props("flat no-caps align=left")
                _words(choose, name, f"device {device['deviceId']}, {counted(device['rows'], 'row')}")
        for one in [*found["metrics"], *found["series"]]:
            self._match(one)
        if not any(found[kind] for kind in ("devices", "metrics", "series")):
            empty(f"No match for \u201c{text}\u201d." if text.strip() else _NO_ROWS)
        elif found["more"]:
            ui.label("More match; another word finds fewer.").classes("lm-note lm-more")

    def _match(self, found: Json) -> None:
        one = _selection(found)
        device = found["deviceName"] or found["deviceId"] or "every device"
        instance = f"{found['series']:,} series" if one.over else found["instance"] or ""
        is_drawn = any(_same(other, one) for other in self._picture.selections)
        with ui.element("div").classes("lm-result is-drawn" if is_drawn else "lm-result"):
            choose = ui.button(on_click=partial(self._select, one, adds=False)).props("flat no-caps align=left")
            _words(choose, found["metric"], " \u00b7 ".join(filter(None, (device, found["datasource"], instance))))
            add = ui.button("Remove" if is_drawn else "Add", on_click=partial(self._select, one, adds=True))
            add.props("flat no-caps dense").classes("lm-add")

    async def _first_chosen(self) -> None:
        """Draw the first match: a series before a metric over several."""
        found = await self._session.api.search(str(self._text.value or ""), 1)
        for one in [*found["series"], *found["metrics"]][:1]:
            await self._select(_selection(one), adds=False)

    def _close(self) -> None:
        self._searches += 1
        self._results.visible = False

    # What is shown

    async def _draw(self) -> None:
        self._next = time.monotonic() + _REFRESH_S
        try:
            if not self._picture.selections and not self._is_cleared:
                await self._take_first()
            is_newest = await self._chart.draw(self._picture)
        except ApiError as error:
            self._status.set_text(f"{error}")
            return
        if is_newest:
            self._next = time.monotonic() + max(_REFRESH_S, _SHARE * self._chart.seconds)
            self._show_tools()
            self._show_result()

    async def _take_first(self) -> None:
        """Select a series, so that there is something to see."""
        if found := await self._session.api.catalogue.first():
            self._picture = replace(self._picture, selections=(msgspec.convert(found, Selection),))

    def _show_tools(self) -> None:
        """Set chips, toggles and fields to what is drawn."""
        self._is_updating = True
        picture, drawn = self._picture, self._chart.drawn
        offered = {view: _VIEWS[view] for view in VIEWS if any(view in one.views for one in drawn)} or {"raw": "Raw"}
        shown = next((one.view for one in drawn if len(one.views) > 1), next(iter(offered)))
        self._view.set_options(offered, value=shown)
        self._over.visible = any(one.over for one in picture.selections)
        self._over.set_value(next((f"{one.over} {one.by}".strip() for one in picture.selections if one.over), "top"))
        self._range.set_value("own" if picture.span else picture.preset)
        self._zone.set_options({name: name for name in ("UTC", self._session.local)}, value=str(self._session.zone))
        self._own.visible = picture.span is not None
        for field, at in zip((self._from, self._to), self._chart.span, strict=True):
            field.set_value(written(at, self._session.zone))
        self._is_updating = False
        texts = [" \u00b7 ".join(filter(None, one.label().values())) for one in drawn]
        if texts != self._texts:
            self._texts = texts
            self._chips.clear()
            with self._chips:
                for text, one in zip(texts, drawn, strict=True):
                    chip = ui.chip(text, removable=True, color="transparent").classes("lm-chip")
                    chip.on("remove", partial(self._remove, one.selection))

    def _show_result(self) -> None:
        drawn = self._chart.drawn
        points = sum(len(points) for _, points in self._chart.lines())
        left_out = sum(one.answer["linesLeftOut"] for one in drawn)
        took = formats.together(formats.span(self._chart.seconds))
        text = f"{counted(points, 'point')}, {formats.width(self._chart.width_ms())} resolution, {took}"
        text += f"; {counted(left_out, 'more line')} not shown" if left_out else ""
        self._status.set_text(
            text
            if points
            else "No points in this time range."
            if drawn
            else "Nothing is selected."
            if self._is_cleared
            else _NO_ROWS
        )
        self._sql.clear()
        with self._sql:
            for one in drawn:
                with code(one.answer["sql"]):
                    opened = partial(self._session.go, "sql", {"sql": one.answer["sql"]})
                    action("Open in SQL", opened, "open-sql", props="flat dense").classes("lm-copy")

    # What the user takes along

    def _copy_link(self) -> None:
        """Copy the address of the chart with its times, so that it shows the same tomorrow."""
        path = address("explore", replace(self._picture, span=self._chart.span).state())
        ui.run_javascript(f"navigator.clipboard?.writeText(location.origin + {json.dumps(path)})")
        self._status.set_text("The link is copied, with these times.")

    async def _save(self) -> None:
        chart = address("explore", self._picture.state())
        self._status.set_text(await save_to_board(self._session.api.board, self._chart.title(), chart=chart))


def _selection(found: Json) -> Selection:
    """Return what a match of the search selects."""
    names = (found["orgId"], found["deviceId"], found["datasource"], found["instance"], found["metric"])
    return Selection(*names, over="top" if found["series"] > 1 else "")


def _same(one: Selection, other: Selection) -> bool:
    """Return whether two selections are of the same series, however they are drawn."""
    return _what(one) == _what(other)


def _what(one: Selection) -> tuple[object, ...]:
    return one.org, one.device, one.datasource, one.instance, one.metric, bool(one.over)


def _words(button: ui.button, text: str, note: str) -> None:
    with button:
        ui.label(text).classes("lm-strong")
        ui.label(note).classes("lm-note")
