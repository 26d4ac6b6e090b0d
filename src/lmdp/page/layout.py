"""The page: its frame (name, state, tabs, theme), and what all tabs share."""

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

# What the browser knows of the theme: what the person chose here before, else what the system has.
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


# The browser changes the address by itself on Back and Forward; the page follows.
_ON_BACK = "addEventListener('popstate', () => emitEvent('lmdp-address', location.pathname + location.search))"


@dataclass(slots=True)
class View:
    """One browser's page: what its tabs need of each other. `tab` is the one that its address names."""

    api: Api
    tab: str
    colours: Colours = LIGHT
    redraw: list[Callable[[], None]] = field(default_factory=list)


class Page:
    """Builds the page for each browser that opens it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def register(self) -> None:
        """Let each tab have an address of its own, so that it can be bookmarked."""
        for name, path in _PATHS.items():
            ui.page(path, title=f"lmdp \u00b7 {_TABS[name]}")(self._builder(name))

    def _builder(self, first: str) -> Callable[[Client], Awaitable[None]]:
        async def build(client: Client) -> None:
            await _Built(View(self._api, first)).build(client)

        return build


class _Built:
    """The page of one browser, from the frame to the ticking of its numbers."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._dark = ui.dark_mode(None)
        self._pipeline, self._explore, self._sql = PipelineTab(view), ExploreTab(view), SqlTab(view)

    async def build(self, client: Client) -> None:
        ui.add_css(_CSS)
        start = f"This page connects again by itself. To start the pipeline: {program()} run"
        ui.add_css(f":root {{ --lm-start: {json.dumps(start, ensure_ascii=False)} }}")
        ui.colors(primary=LIGHT.accent)
        self._header()
        with ui.element("main").classes("lm-main").props("id=content"):
            self._banner = ui.label().classes("lm-banner").props('role="status" data-testid=banner')
            self._banner.visible = False
            panels = ui.tab_panels(self._tabs, value=self._view.tab, animated=False, keep_alive=True)
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
        await self._explore.open(dict(client.request.query_params) if self._view.tab == "explore" else {})
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
            self._tabs.set_value(self._view.tab)
            self._toggle = ui.button("Dark", on_click=self._switch).props("flat no-caps dense data-testid=theme")
            self._toggle.classes("lm-toggle")

    def _moved(self, name: str) -> None:
        """Give a tab that a person chose an address of its own, to which Back returns."""
        if name == self._view.tab:  # chosen by the address
            return
        self._show(name)
        ui.navigate.history.push(self._explore.address() if name == "explore" else _PATHS[name])

    async def _back(self, event: GenericEventArguments) -> None:
        """Follow the address, which Back or Forward has changed already."""
        address = urlsplit(str(event.args))
        name = next((name for name, path in _PATHS.items() if path == address.path), self._view.tab)
        self._show(name)
        self._tabs.set_value(name)
        if name == "explore" and address.query and str(event.args) != self._explore.address():
            await self._explore.open(dict(parse_qsl(address.query)))

    def _show(self, name: str) -> None:
        self._view.tab = name
        ui.run_javascript(f"document.title = 'lmdp \\u00b7 {_TABS[name]}'")

    async def _theme(self) -> None:
        self._wear(dark=bool(await ui.run_javascript(_THEME, timeout=_CONNECT_S)))

    def _switch(self) -> None:
        dark = self._view.colours is not DARK
        ui.run_javascript(f"localStorage.setItem('lmdp-theme', '{'dark' if dark else 'light'}')")
        self._wear(dark=dark)

    def _wear(self, *, dark: bool) -> None:
        self._dark.set_value(dark)
        self._view.colours = DARK if dark else LIGHT
        ui.colors(primary=self._view.colours.accent)
        self._toggle.set_text("Light" if dark else "Dark")
        self._toggle.props(f'aria-label="Switch to the {"light" if dark else "dark"} theme"')
        for redraw in self._view.redraw:
            redraw()

    async def _tick(self) -> None:
        """Show the newest numbers; a fault is a state of the page, and never its end."""
        pipe = self._view.api.pipe
        fault, live = pipe.fault, pipe.live
        trouble = str(fault) if fault else str(live["trouble"] or live.get("warning", "")) if live else ""
        self._banner.visible = bool(trouble)
        self._banner.set_text(f"{trouble} Next: {fault.next}" if fault else trouble)
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
