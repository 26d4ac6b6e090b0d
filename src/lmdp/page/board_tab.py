"""Board tab: the charts and queries of the board's file, refreshed while they are looked at."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from nicegui import app, ui

from lmdp.errors import ApiError
from lmdp.machine.api.protocol import Query
from lmdp.page import echarts
from lmdp.page.address import State, parse
from lmdp.page.answers import as_lines, show_table
from lmdp.page.board import Panel
from lmdp.page.run_client import Answer
from lmdp.page.selection import Picture
from lmdp.page.series_chart import SeriesChart
from lmdp.page.widgets import action, empty, heading, with_next_step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lmdp.page.layout import Session

_REFRESH_S = 15.0
_SHARE = 20  # queries take a twentieth of the time at most
_ROWS = 2_000
_ON_A_PAGE = 25
_TIMEOUT_S = 20.0


class BoardTab:
    """The board tab."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._file = session.api.board
        self._panels: list[_PanelCard] = []
        self._read_at = -1.0
        self._next = 0.0

    def build(self) -> None:
        """Build the frame; the first opening fills it."""
        heading("Board", "saved charts and queries")
        self._removed = ui.element("div").classes("lm-row").props("role=status data-testid=board-removed")
        self._place = ui.element("div").classes("lm-board").props("data-testid=board")
        self._note = ui.label().classes("lm-note lm-more").props("data-testid=board-file")

    async def open(self, _state: State) -> None:
        """Read the file, and draw every panel. Raises ApiError."""
        self._read()
        await self._refresh()

    def state(self) -> State:
        """Return no state: the file has it."""
        return {}

    async def tick(self) -> None:
        """Draw again every few seconds; read the file when it has changed."""
        if self._file.changed() != self._read_at:
            self._read()
            self._next = 0.0
        if time.monotonic() >= self._next:
            await self._refresh()

    def _read(self) -> None:
        self._read_at = self._file.changed()
        self._place.clear()
        self._panels = []
        with self._place:
            try:
                board = self._file.read()
            except ApiError as error:
                empty(with_next_step(error))
                return
            self._panels = [_PanelCard(self._session, panel, self._remove) for panel in board.panel]
        ships = "the board that ships; saving a chart or a query makes "
        self._note.set_text(f"From {'' if self._read_at else ships}{self._file.path}. To share it, commit a copy.")

    async def _remove(self, panel: Panel) -> None:
        """Remove a panel, and offer to put it back."""
        self._removed.clear()
        with self._removed:
            try:
                at = self._file.remove(panel)
            except ApiError as error:
                ui.label(with_next_step(error))
                return
            ui.label(f"{panel.title} was removed.")
            action("Undo", lambda: self._put_back(panel, at), "board-undo", "flat dense")
        await self.tick()

    async def _put_back(self, panel: Panel, at: int) -> None:
        self._removed.clear()
        try:
            self._file.add(panel, at)
        except ApiError as error:
            with self._removed:
                ui.label(with_next_step(error))
        await self.tick()

    async def _refresh(self) -> None:
        begun = time.monotonic()
        self._next = begun + _REFRESH_S
        await asyncio.gather(*(panel.draw() for panel in self._panels))
        self._next = time.monotonic() + max(_REFRESH_S, _SHARE * (time.monotonic() - begun))


class _PanelCard:
    """A panel on the page. Its fault stays its own."""

    def __init__(self, session: Session, panel: Panel, remove: Callable[[Panel], Awaitable[None]]) -> None:
        self._session, self._panel = session, panel
        with ui.element("section").classes("lm-card lm-panel-card").props("data-testid=panel") as card:
            with ui.element("div").classes("lm-reason-title"):
                with ui.element("h3"):
                    ui.label(panel.title)
                ui.label(panel.note).classes("lm-note")
                with ui.element("div").classes("lm-actions"):
                    ui.button("Open", on_click=self._open).props("flat dense no-caps").classes("lm-copy lm-open")
                    ui.button("Remove", on_click=lambda: remove(panel)).props("flat dense no-caps").classes("lm-copy")
            self._chart = SeriesChart(session) if panel.chart else None
            if self._chart:
                self._chart.build("board-chart")
            self._place = ui.element("div").classes("lm-answer-place")
            self._status = ui.label().classes("lm-note")
        card.props["aria-label"] = panel.title

    async def draw(self) -> None:
        """Query it again."""
        try:
            if self._chart:
                await self._chart.draw(Picture.of(parse(self._panel.chart)[1]))
            else:
                answer = await self._session.api.run.query(Query(self._panel.sql, _ROWS, _TIMEOUT_S))
                self._place.clear()
                with self._place:
                    self._show(answer)
            self._status.set_text("")
        except ApiError as error:
            self._status.set_text(f"{error}")
        except Exception as error:  # noqa: BLE001 - it would be seen in the log alone
            self._status.set_text(f"This panel cannot be shown: {type(error).__name__}: {error}")
            app.handle_exception(error)

    def _show(self, answer: Answer) -> None:
        found = as_lines(answer) if self._panel.show == "chart" else None
        if found:
            axis, named = found
            chart = ui.echart(echarts.lines(named, self._session.colours, axis=axis)).classes("lm-chart")
            chart.props["aria-label"] = self._panel.title
            chart.props("role=img data-testid=board-chart")
        elif answer.rows:
            with ui.element("div").classes("" if len(answer.rows) > _ON_A_PAGE else "lm-short"):
                show_table(answer)
        else:
            empty("No rows.")

    async def _open(self) -> None:
        """Show the panel where it can be changed."""
        if self._chart:
            await self._session.go(*parse(self._panel.chart))
        else:
            await self._session.go("sql", {"sql": self._panel.sql.strip()})
