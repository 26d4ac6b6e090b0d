"""Layout of the page: its frame (name, state, tabs, theme), and what all tabs share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from nicegui import Client, ui
from nicegui.events import GenericEventArguments

from lmdp.errors import ApiError
from lmdp.page import formats
from lmdp.page.api import Api
from lmdp.page.echarts import DARK, LIGHT, Colours
from lmdp.page.explore_tab import ExploreTab
from lmdp.page.pipeline_tab import PipelineTab
from lmdp.page.sql_tab import SqlTab
from lmdp.support.program import program

_TABS = {"pipeline": "Pipeline", "explore": "Explore", "sql": "SQL"}
_PATHS = {"pipeline": "/", "explore": "/explore", "sql": "/sql"}
_CSS = Path(__file__).with_name("page.css")
_CONNECT_S = 20.0

# The theme: the user's choice in this browser, else the system's.
_THEME = """
(() => {
  const chosen = localStorage.getItem('lmdp-theme');
  const system = matchMedia('(prefers-color-scheme: dark)');
  if (!window.lmdpWatchesTheme) {
    window.lmdpWatchesTheme = true;
    system.addEventListener('change', () => { if (!localStorage.getItem('lmdp-theme')) emitEvent('lmdp-theme'); });
  }
  return chosen ? chosen === 'dark' : system.matches;
})()
"""


# On Back and Forward the browser changes the address; the page follows.
_ON_BACK = "addEventListener('popstate', () => emitEvent('lmdp-address', location.pathname + location.search))"


@dataclass(slots=True)
class Session:
    """The page in one browser, shared by its tabs. `tab` is the one that the address names."""

    api: Api
    tab: str
    colours: Colours = LIGHT
    redraw: list[Callable[[], None]] = field(default_factory=list)


class Page:
    """The page, built for each browser that opens it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def register(self) -> None:
        """Give each tab its own address, for bookmarks."""
        for name, path in _PATHS.items():
            ui.page(path, title=f"lmdp \u00b7 {_TABS[name]}")(self._builder(name))

    def _builder(self, first: str) -> Callable[[Client], Awaitable[None]]:
        async def build(client: Client) -> None:
            await _BrowserPage(Session(self._api, first)).build(client)

        return build


class _BrowserPage:
    """The page in one browser: its frame, its tabs, and the timer that refreshes them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dark = ui.dark_mode(None)
        self._pipeline, self._explore, self._sql = PipelineTab(session), ExploreTab(session), SqlTab(session)

    async def build(self, client: Client) -> None:
        ui.add_css(_CSS)
        start = f"This page reconnects automatically. To start the pipeline: {program()} run"
        ui.add_css(f":root {{ --lm-start: {json.dumps(start, ensure_ascii=False)} }}")
        ui.colors(primary=LIGHT.accent)
        self._header()
        with ui.element("main").classes("lm-main").props("id=content"):
            self._banner = ui.label().classes("lm-banner").props('role="status" data-testid=banner')
            self._banner.visible = False
            panels = ui.tab_panels(self._tabs, value=self._session.tab, animated=False, keep_alive=True)
            with panels.classes("lm-panels"):
                for name, tab in (("pipeline", self._pipeline), ("explore", self._explore), ("sql", self._sql)):
                    with ui.tab_panel(name).classes("lm-panel").props(f"aria-label={_TABS[name]}"):
                        tab.build()
        await client.connected(timeout=_CONNECT_S)
        await self._theme()
        ui.on("lmdp-theme", self._theme)
        ui.on("lmdp-address", self._back)
        ui.run_javascript(_ON_BACK)
        await self._sql.restore(_CONNECT_S)
        await self._explore.open(dict(client.request.query_params) if self._session.tab == "explore" else {})
        ui.timer(1.0, self._tick)

    def _header(self) -> None:
        with ui.element("header").classes("lm-header"), ui.element("div").classes("lm-bar"):
            with ui.element("div").classes("lm-brand"):
                ui.label("lmdp").classes("lm-name")
                self._state = ui.label("Connecting").classes("lm-state").props('role="status" data-testid=state')
            self._tabs = ui.tabs(on_change=lambda event: self._moved(str(event.value)))
            with self._tabs.classes("lm-tabs").props('no-caps inline-label aria-label="Parts of the page"'):
                for name, title in _TABS.items():
                    ui.tab(name, title).props(f"data-testid=tab-{name}")
            self._tabs.set_value(self._session.tab)
            self._toggle = ui.button("Dark", on_click=self._switch).props("flat no-caps dense data-testid=theme")
            self._toggle.classes("lm-toggle")

    def _moved(self, name: str) -> None:
        """Push the address of a tab that the user chose, so that Back returns to the one before."""
        if name == self._session.tab:  # chosen by the address
            return
        self._show(name)
        ui.navigate.history.push(self._explore.address() if name == "explore" else _PATHS[name])

    async def _back(self, event: GenericEventArguments) -> None:
        """Show what the address names after Back or Forward."""
        address = urlsplit(str(event.args))
        name = next((name for name, path in _PATHS.items() if path == address.path), self._session.tab)
        self._show(name)
        self._tabs.set_value(name)
        if name == "explore" and address.query and str(event.args) != self._explore.address():
            await self._explore.open(dict(parse_qsl(address.query)))

    def _show(self, name: str) -> None:
        self._session.tab = name
        ui.run_javascript(f"document.title = 'lmdp \\u00b7 {_TABS[name]}'")

    async def _theme(self) -> None:
        self._set_theme(dark=bool(await ui.run_javascript(_THEME, timeout=_CONNECT_S)))

    def _switch(self) -> None:
        dark = self._session.colours is not DARK
        ui.run_javascript(f"localStorage.setItem('lmdp-theme', '{'dark' if dark else 'light'}')")
        self._set_theme(dark=dark)

    def _set_theme(self, *, dark: bool) -> None:
        self._dark.set_value(dark)
        self._session.colours = DARK if dark else LIGHT
        ui.colors(primary=self._session.colours.accent)
        self._toggle.set_text("Light" if dark else "Dark")
        self._toggle.props(f'aria-label="Switch to the {"light" if dark else "dark"} theme"')
        for redraw in self._session.redraw:
            redraw()

    async def _tick(self) -> None:
        """Show the newest numbers, or the error."""
        run = self._session.api.run
        error, live = run.error, run.live
        trouble = str(error) if error else str(live["trouble"] or live.get("warning", "")) if live else ""
        self._banner.visible = bool(trouble)
        self._banner.set_text(f"{trouble} Next: {error.next}" if error else trouble)
        kind, text = (
            ("away", "Not running") if live is None else ("trouble", "Trouble") if trouble else ("up", "Running")
        )
        if live is not None:
            text += f" for {formats.together(formats.span(int(live['uptimeSeconds'])))}"
        self._state.set_text(text)
        self._state.classes(
            f"is-{kind}", remove=" ".join(f"is-{other}" for other in {"away", "trouble", "up"} - {kind})
        )
        ticks = {"pipeline": self._pipeline.tick, "explore": self._explore.tick}
        if live is not None and self._tabs.value in ticks:
            with contextlib.suppress(ApiError):
                await ticks[self._tabs.value]()
