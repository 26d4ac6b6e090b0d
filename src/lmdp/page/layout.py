"""Layout of the page: its frame (name, state, tabs, theme), and what all tabs share.

A tab is built when it is first shown. The address names the tab and its state; who opens it sees the same.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final, Protocol

from nicegui import Client, app, ui
from nicegui.events import GenericEventArguments

from lmdp.errors import ApiError
from lmdp.page import formats
from lmdp.page.address import PATHS, State, address, parse
from lmdp.page.api import Api
from lmdp.page.board_tab import BoardTab
from lmdp.page.echarts import DARK, LIGHT, Colours
from lmdp.page.explore_tab import ExploreTab
from lmdp.page.kafka_tab import KafkaTab
from lmdp.page.pipeline_tab import PipelineTab
from lmdp.page.run_client import Json
from lmdp.page.selection import zone_of
from lmdp.page.sql_tab import SqlTab
from lmdp.page.widgets import with_next_step
from lmdp.support.program import at_home, program

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


_ZONE = "[Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'UTC', localStorage.getItem('lmdp-zone')]"

# On Back and Forward the browser changes the address; the page follows.
_ON_BACK = "addEventListener('popstate', () => emitEvent('lmdp-address', location.pathname + location.search))"


@dataclass(slots=True)
class Session:
    """The page in one browser, shared by its tabs. `tab` is the one that is shown."""

    api: Api
    tab: str
    colours: Colours = LIGHT
    zone: tzinfo = UTC
    local: str = "UTC"
    """The browser's own time zone; `zone` is that one or UTC."""
    redraw: list[Callable[[], None]] = field(default_factory=list)
    go: Callable[[str, State], Awaitable[None]] = field(init=False)
    """Show a tab in a state, as a link does; Back returns."""
    changed: Callable[..., None] = field(init=False)
    """Write the new state of the tab that is shown into the address: `changed(push=True)` where Back is to return."""


class Tab(Protocol):
    """A tab: it is built once, then opened in the state of an address, perhaps several times."""

    def __init__(self, session: Session) -> None:
        """Keep the session; nothing is drawn yet."""

    def build(self) -> None:
        """Build the tab, without what has to be queried."""

    async def open(self, state: State) -> None:
        """Show a state; what it does not name is as at first. Raises ApiError."""

    def state(self) -> State:
        """Return the state that is shown; empty for the first one."""

    async def tick(self) -> None:
        """Show what is new; called every second while the tab is shown. Raises ApiError."""


_TABS: Final[dict[str, tuple[str, type[Tab]]]] = {
    "pipeline": ("Pipeline", PipelineTab),
    "board": ("Board", BoardTab),
    "explore": ("Explore", ExploreTab),
    "kafka": ("Kafka", KafkaTab),
    "sql": ("SQL", SqlTab),
}


@dataclass(slots=True)
class TabFaults:
    """Unexpected errors of the tab that is shown, by its work: `open` or `tick`."""

    texts: dict[str, str] = field(default_factory=dict)

    async def guard(self, name: str, work: Awaitable[None]) -> None:
        """Await some work. An ApiError is the run's, which is shown already; any other error is kept, and logged."""
        try:
            await work
        except ApiError:
            pass
        except Exception as error:  # noqa: BLE001 - it would be seen in the log alone
            self.texts[name] = f"This tab cannot be shown: {type(error).__name__}: {error}"
            app.handle_exception(error)
        else:
            self.texts.pop(name, None)

    def __str__(self) -> str:
        """Return them as one text."""
        return " ".join(dict.fromkeys(self.texts.values()))


class Page:
    """The page, built for each browser that opens it."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def register(self) -> None:
        """Give each tab its own path."""
        for name, path in PATHS.items():
            ui.page(path, title=_title(name))(self._builder(name))

    def _builder(self, first: str) -> Callable[[Client], Awaitable[None]]:
        async def build(client: Client) -> None:
            await _BrowserPage(Session(self._api, first)).build(client)

        return build


class _BrowserPage:
    """The page in one browser: its frame, its tabs, and the timer that refreshes them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session.go, session.changed = self._go, self._changed
        self._dark = ui.dark_mode(None)
        self._built: dict[str, Tab] = {}
        self._faults = TabFaults()

    async def build(self, client: Client) -> None:
        ui.add_css(_CSS)
        run = f"{program()} run{at_home(self._session.api.run.home)}"
        start = f"This page reconnects automatically. To start the pipeline: {run}"
        ui.add_css(f":root {{ --lm-start: {json.dumps(start, ensure_ascii=False)} }}")
        ui.colors(primary=LIGHT.accent)
        self._header()
        with ui.element("main").classes("lm-main").props("id=content tabindex=-1"):
            self._banner = ui.label().classes("lm-banner").props('role="status" data-testid=banner')
            self._banner.visible = False
            self._fault = ui.label().classes("lm-banner").props('role="status" data-testid=fault')
            self._fault.visible = False
            panels = ui.tab_panels(self._tabs, value=self._session.tab, animated=False, keep_alive=True)
            with panels.classes("lm-panels"):
                self._panels = {
                    name: ui.tab_panel(name).classes("lm-panel").props(f'aria-label="{title}"')
                    for name, (title, _) in _TABS.items()
                }
        self._tab(self._session.tab)
        await client.connected(timeout=_CONNECT_S)
        await self._theme()
        self._session.local, chosen = await ui.run_javascript(_ZONE, timeout=_CONNECT_S)
        self._session.zone = zone_of(self._session.local if chosen == "local" else "UTC")
        ui.on("lmdp-theme", self._theme)
        ui.on("lmdp-address", self._back)
        ui.run_javascript(_ON_BACK)
        await self._open(dict(client.request.query_params))
        ui.timer(1.0, self._tick)

    def _header(self) -> None:
        with ui.element("a").classes("lm-skip").props("href=#content"):
            ui.label("Skip to the content")
        with ui.element("header").classes("lm-header"), ui.element("div").classes("lm-bar"):
            with ui.element("div").classes("lm-brand"):
                with ui.element("h1").classes("lm-name"):
                    ui.label("lmdp")
                self._state = ui.label("Connecting").classes("lm-state").props('role="status" data-testid=state')
            self._tabs = ui.tabs(on_change=self._moved)
            with self._tabs.classes("lm-tabs").props('no-caps inline-label aria-label="Parts of the page"'):
                for name, (title, _) in _TABS.items():
                    ui.tab(name, title).props(f"data-testid=tab-{name}")
            self._tabs.set_value(self._session.tab)
            self._toggle = ui.button("Dark", on_click=self._switch).props("flat no-caps dense data-testid=theme")
            self._toggle.classes("lm-toggle")

    def _tab(self, name: str) -> Tab:
        """Return a tab, built."""
        if name not in self._built:
            self._built[name] = tab = _TABS[name][1](self._session)
            with self._panels[name]:
                tab.build()
        return self._built[name]

    async def _moved(self) -> None:
        """Show the tab that the user chose, in its own state, and push its address, so that Back returns."""
        name = str(self._tabs.value)
        if name != self._session.tab:  # else it was chosen by the address
            is_new = name not in self._built
            self._show(name)
            ui.navigate.history.push(address(name, self._tab(name).state()))
            if is_new:
                await self._open({})

    async def _go(self, name: str, state: State) -> None:
        ui.navigate.history.push(address(name, state))
        self._show(name)
        await self._open(state)

    async def _back(self, event: GenericEventArguments) -> None:
        """Show what the address names after Back or Forward."""
        name, state = parse(str(event.args))
        is_new = name not in self._built
        self._show(name)
        if is_new or state != self._tab(name).state():
            await self._open(state)

    def _show(self, name: str) -> None:
        """Show a tab, without opening it."""
        self._session.tab = name
        self._tab(name)
        self._faults.texts.clear()
        self._tabs.set_value(name)
        ui.run_javascript(f"document.title = {json.dumps(_title(name))}")

    async def _open(self, state: State) -> None:
        await self._guarded("open", self._tab(self._session.tab).open(state))

    async def _guarded(self, name: str, work: Awaitable[None]) -> None:
        await self._faults.guard(name, work)
        self._fault.set_text(text := str(self._faults))
        self._fault.visible = bool(text)

    def _changed(self, *, push: bool = False) -> None:
        text = address(self._session.tab, self._tab(self._session.tab).state())
        (ui.navigate.history.push if push else ui.navigate.history.replace)(text)

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
        trouble = with_next_step(error) if error else str(live["trouble"] or live.get("warning", "")) if live else ""
        self._banner.visible = bool(trouble)
        self._banner.set_text(trouble)
        kind = "bad" if live is None or trouble else "up"
        self._state.set_text(state_text(live, is_troubled=bool(trouble)))
        self._state.classes(f"is-{kind}", remove="is-up" if kind == "bad" else "is-bad")
        if live is not None:
            await self._guarded("tick", self._tab(self._session.tab).tick())


def state_text(live: Json | None, *, is_troubled: bool) -> str:
    """Return the state of the run, for the header."""
    if live is None:
        return "Not running"
    running = f"Running for {formats.together(formats.span(int(live['uptimeSeconds'])))}"
    return f"{running}, with trouble" if is_troubled else running


def _title(name: str) -> str:
    return f"lmdp \u00b7 {_TABS[name][0]}"
