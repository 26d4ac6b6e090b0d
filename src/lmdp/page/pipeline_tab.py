"""Pipeline tab: the path of a message with the counts of this run, what left it with the remedy, and alerts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from nicegui import ui

from lmdp.page import echarts, formats
from lmdp.page.address import State
from lmdp.page.run_client import KEPT_S, Json
from lmdp.page.widgets import code, empty, heading
from lmdp.support.printable import counted

if TYPE_CHECKING:
    from lmdp.page.layout import Session

_ALERTS_SHOWN = 100
_REASONS_S = 5.0
_SPARK_S = 2.0
_SPARK_STEP_S = 5
_SPARK_LEAST_S = 60


class _Tile(NamedTuple):
    """A figure with a small chart: its title, its value in a sample, and its format."""

    key: str
    title: str
    value: Callable[[Json], float | None]
    text: Callable[[float | None], tuple[str, str]]
    note: Callable[[Json], str]


def _plain(write: Callable[[float | None], str]) -> Callable[[float | None], tuple[str, str]]:
    return lambda number: (write(number), "")


_TILES = (
    _Tile("rate", "Rows per second", lambda s: s["rowsPerSecond"], _plain(formats.rate),
          lambda s: f"{formats.rate(s['messagesPerSecond'])} messages per second"),
    _Tile("lag", "Lag", lambda s: s["lag"], _plain(formats.count), lambda _: "messages behind"),
    _Tile("freshness", "Freshness", lambda s: s["freshnessSeconds"], formats.span, lambda _: "since the newest row"),
    _Tile("latency", "Latency p99", lambda s: _seconds(s["latencyMs"]["p99"]), formats.span,
          lambda s: f"p50 {formats.together(formats.span(_seconds(s['latencyMs']['p50'])))}, last minute"),
    _Tile("memory", "Memory", lambda s: s["memoryBytes"], formats.size, lambda _: "of the run"),
)  # fmt: skip


class _Step(NamedTuple):
    """A step of the path. Its figures are (label, text) from the API's status, the first one large."""

    key: str
    title: str
    many: int
    figures: Callable[[Json], list[tuple[str, str]]]


def _source(status: Json) -> list[tuple[str, str]]:
    run = status["run"]
    if run["simulatedDevices"]:
        return [
            ("messages published", formats.count(run["published"])),
            ("devices, simulated", formats.count(run["simulatedDevices"])),
        ]
    if receiver := run["receiver"]:
        others = f"refused; {formats.count(receiver['busy'])} to be retried"
        return [
            (f"requests accepted at {receiver['address']}", formats.count(receiver["accepted"])),
            (receiver["trouble"] or others, formats.count(receiver["refused"])),
        ]
    return [("messages received", formats.count(run["messages"])), ("topic", run["topic"])]


def _stored(status: Json) -> list[tuple[str, str]]:
    held = status["warehouse"]
    if snowflake := held.get("snowflake"):
        return [
            ("rows in Snowflake, of this run", formats.count(held["rows"])),
            ("in flight", formats.together(formats.size(snowflake["bytesInFlight"]))),
            ("refused", formats.count(snowflake["rowsRefused"])),
        ]
    return [
        ("rows in the warehouse, of all runs", formats.count(held["rows"])),
        ("on disk", formats.together(formats.size(held["sizeBytes"]))),
        ("duplicates", formats.count(held["duplicates"])),
    ]


_STEPS = (
    _Step("source", "Publisher", 2, _source),
    _Step("kafka", "Kafka", 3, lambda s: [
        ("messages consumed", formats.count(s["run"]["messages"])),
        ("waiting", formats.count(sum(s["run"]["lag"].values()))),
        ("partitions", formats.count(len(s["run"]["lag"]))),
    ]),
    _Step("decode", "Decode", 2, lambda s: [
        ("datapoints", formats.count(s["run"]["datapoints"])),
        ("received", formats.together(formats.size(s["run"]["bytesIn"]))),
    ]),
    _Step("rows", "Rows", 2, lambda s: [
        ("rows of this run", formats.count(s["run"]["rows"])),
        ("datapoints converted", formats.count(s["run"]["converted"])),
    ]),
    _Step("duckdb", "Warehouse", 3, _stored),
)  # fmt: skip

# What leaves the path, by the step at which it does.
_EXITS = {
    "kafka": _Step("lost", "Lost", 1, lambda s: [
        ("messages expired before read", formats.count(s["run"]["lost"])),
    ]),
    "decode": _Step("rejects", "Rejects", 1, lambda s: [
        ("messages rejected and stored", formats.count(s["run"]["rejectedMessages"])),
    ]),
    "rows": _Step("drops", "Dropped by rule", 1, lambda s: [
        ("dropped, counted by reason", formats.count(sum(s["run"]["dropped"].values()))),
    ]),
}  # fmt: skip


class _AlertsSection:
    """The section of alerts; absent without rules."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown: Json | None = None

    def build(self) -> None:
        """Build the section without alerts."""
        self._place = ui.element("section").props('aria-label="Alerts" data-testid=alerts')
        self._place.visible = False

    def tick(self) -> None:
        """Show what is new."""
        found = self._session.api.alerts.json()
        found["checkedMs"] = found["checkedMs"] is not None  # when is no news
        if found == self._shown:
            return
        self._shown = found
        self._place.visible = found["isConfigured"]
        self._place.clear()
        with self._place:
            rules, webhook = counted(len(found["rules"]), "rule"), found["webhook"]
            posts = f"; webhook: {webhook['delivered']:,} delivered, {webhook['failed']:,} failed" if webhook else ""
            last = f" ({webhook['error']})" if webhook and webhook["error"] else ""
            heading("Alerts", f"{rules} of alerts.toml{posts}{last}")
            if found["fault"]:
                ui.label(found["fault"]).classes("lm-banner")
            elif not found["alerts"]:
                empty("Nothing fires." if found["checkedMs"] else "Not checked yet: a run that is behind waits.")
            for alert in found["alerts"][:_ALERTS_SHOWN]:
                _alert(alert)
            if len(found["alerts"]) > _ALERTS_SHOWN:
                ui.label(f"{len(found['alerts']) - _ALERTS_SHOWN:,} more: GET /api/alerts").classes("lm-note")


class PipelineTab:
    """The pipeline tab."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels: dict[str, ui.label] = {}
        self._sparks: dict[str, ui.echart] = {}
        self._shown: list[Json] = []
        self._drawn = self._reasons_read = 0.0
        self._alerts = _AlertsSection(session)
        session.redraw.append(self._draw)

    def build(self) -> None:
        """Build the tab without numbers; the first tick fills them in and moves nothing."""
        self._alerts.build()
        with ui.element("section").classes("lm-tiles").props('aria-label="Figures"'):
            for tile in _TILES:
                self._tile(tile)
        heading("The path", "counts since this run started")
        path = ui.element("section").classes("lm-card lm-path").props('aria-label="The path"')
        with path, ui.element("ol").classes("lm-steps"):
            for step in _STEPS:
                with ui.element("li").classes("lm-station"):
                    self._step(step, "lm-step")
                    if step.key in _EXITS:
                        self._step(_EXITS[step.key], "lm-left")
        with ui.element("div").classes("lm-columns") as self._reasons:
            with ui.element("section").props('aria-label="Rejects"'):
                heading("Rejects", "by reason; replay them when the cause is fixed")
                self._rejects = ui.element("div").classes("lm-reasons").props("data-testid=rejects")
            with ui.element("section").props('aria-label="Dropped by rule"'):
                heading("Dropped by rule", "in this run, counted by reason; no action is needed")
                self._drops = ui.element("div").classes("lm-reasons").props("data-testid=drops")
        self._reasons.visible = False

    async def open(self, _state: State) -> None:
        """Wait for the first tick; the tab has one state."""

    def state(self) -> State:
        """Return no state."""
        return {}

    async def tick(self) -> None:
        """Show the API's current figures. Raises ApiError."""
        self._alerts.tick()
        status = await self._session.api.status()
        for step in (*_STEPS, *_EXITS.values()):
            for at, (label, text) in enumerate(step.figures(status)):
                self._labels[f"{step.key}-{at}"].set_text(text)
                self._labels[f"{step.key}-{at}-label"].set_text(label)
        now = time.monotonic()
        if now - self._drawn >= _SPARK_S:
            self._drawn = now
            self._draw()
        if now - self._reasons_read >= _REASONS_S:
            self._reasons_read = now
            await self._show_reasons()

    def _tile(self, tile: _Tile) -> None:
        with ui.element("div").classes("lm-card lm-tile").props(f"data-testid=tile-{tile.key}"):
            ui.label(tile.title).classes("lm-label")
            with ui.element("div").classes("lm-figure"):
                self._labels[tile.key] = ui.label(formats.NONE).classes("lm-number")
                self._labels[f"{tile.key}-unit"] = ui.label().classes("lm-unit")
            self._labels[f"{tile.key}-note"] = ui.label(" ").classes("lm-note")
            chart = ui.echart(echarts.spark([], self._session.colours), renderer="svg").classes("lm-spark")
            self._sparks[tile.key] = chart.props(f'role=img aria-label="{tile.title}, last 15 minutes"')

    def _step(self, step: _Step, kind: str) -> None:
        with ui.element("div").classes(kind).props(f"data-testid=step-{step.key}"):
            ui.label(step.title).classes("lm-step-title")
            for at in range(step.many):
                with ui.element("div").classes("lm-step-main" if at == 0 else "lm-step-more"):
                    number = ui.label(formats.NONE).classes("lm-step-number").props(f"data-testid={step.key}-{at}")
                    self._labels[f"{step.key}-{at}"] = number
                    self._labels[f"{step.key}-{at}-label"] = ui.label(" ").classes("lm-note")

    def _draw(self) -> None:
        """Redraw the small charts in the theme's colours."""
        samples = list(self._session.api.run.samples)
        for tile in _TILES:
            chart = self._sparks.get(tile.key)
            if chart is None or not samples:
                continue
            value, unit = tile.text(tile.value(samples[-1]))
            self._labels[tile.key].set_text(value)
            self._labels[f"{tile.key}-unit"].set_text(unit)
            self._labels[f"{tile.key}-note"].set_text(tile.note(samples[-1]))
            options = echarts.spark(_thinned(samples, tile.value), self._session.colours)
            since = samples[-1]["atMs"] - max(_SPARK_LEAST_S * 1000, samples[-1]["atMs"] - samples[0]["atMs"])
            options["xAxis"]["min"] = max(since, samples[-1]["atMs"] - KEPT_S * 1000)
            chart.options.clear()
            chart.options.update(options)
            chart.update()

    async def _show_reasons(self) -> None:
        reasons = await self._session.api.reasons()
        if self._shown != [reasons]:
            self._shown = [reasons]
            self._reasons.visible = True
            _show(self._rejects, reasons["rejects"], _reject, "No rejects. Every message became rows.")
            _show(self._drops, reasons["drops"], _drop, "Nothing was dropped.")


def _alert(alert: Json) -> None:
    with ui.element("article").classes("lm-card lm-alert").props(f"data-testid=alert-{alert['state']}"):
        ui.label(alert["state"]).classes("lm-mark" if alert["state"] == "firing" else "lm-note")
        ui.label(alert["rule"]).classes("lm-strong")
        ui.label(alert["text"]).classes("lm-text")
        ui.label(f"since {formats.moment(alert['sinceMs'])}").classes("lm-note")


def _show(place: ui.element, reasons: list[Json], draw: Callable[[Json], None], otherwise: str) -> None:
    place.clear()
    with place:
        for reason in reasons:
            with ui.element("article").classes("lm-card lm-reason"):
                draw(reason)
        if not reasons:
            empty(otherwise)


def _reject(reject: Json) -> None:
    example, last = reject["example"], reject["lastMs"]
    _title(reject["code"], reject["rejects"], "messages", f"last {formats.moment(last)}" if last else "")
    ui.label(reject["meaning"]).classes("lm-text")
    if example:
        ui.label(example["message"]).classes("lm-text lm-strong")
        with ui.expansion(f"Newest example: {_place(example)}").classes("lm-example").props("dense"):
            ui.label(example["excerpt"]).classes("lm-raw").props("tabindex=0")
    ui.label(reject["fix"]).classes("lm-text")
    code(reject["command"])


def _drop(drop: Json) -> None:
    _title(drop["reason"], drop["count"], drop["counted"], "")
    ui.label(drop["meaning"]).classes("lm-text")
    if drop["example"]:
        ui.label(drop["example"]).classes("lm-raw").props("tabindex=0")


def _title(name: str, number: int, units: str, note: str) -> None:
    with ui.element("div").classes("lm-reason-title"):
        with ui.element("h3"):
            ui.label(name)
        ui.label(f"{number:,} {units if number != 1 else units.removesuffix('s')}").classes("lm-reason-count")
        ui.label(note).classes("lm-note")


def _place(example: Json) -> str:
    size = formats.together(formats.size(example["bytes"]))
    return f"{example['topic']}, partition {example['partition']}, offset {example['offset']:,} ({size})"


def _thinned(samples: list[Json], value: Callable[[Json], float | None]) -> list[list[float | None]]:
    """Return the greatest value of each five seconds."""
    found: dict[int, list[float | None]] = {}
    for sample in samples:
        number, at = value(sample), sample["atMs"] // (1000 * _SPARK_STEP_S)
        kept = found.setdefault(at, [sample["atMs"], number])
        if number is not None and (kept[1] is None or number > kept[1]):
            kept[1] = number
    return list(found.values())


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000
