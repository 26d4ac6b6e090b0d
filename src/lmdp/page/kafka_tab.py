"""Kafka tab: each partition's offsets, lag and rates; messages as they are and as they become rows; newest rejects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from nicegui import ui

from lmdp.errors import ApiError
from lmdp.page import formats
from lmdp.page.address import State
from lmdp.page.run_client import Json
from lmdp.page.widgets import code, empty, heading
from lmdp.support.printable import counted

if TYPE_CHECKING:
    from lmdp.page.layout import Session

_REJECTS_S = 5.0
_COLUMNS = {
    "partition": "Partition",
    "first": "First offset",
    "next": "Next to read",
    "end": "End",
    "lag": "Lag",
    "writtenPerSecond": "Written per second",
    "readPerSecond": "Read per second",
}


class KafkaTab:
    """The Kafka tab. Its state, for the address: the partition, and the offset before which messages are shown."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._partition = 0
        self._before: int | None = None
        self._is_due = True
        self._page: Json | None = None
        self._partitions: list[Json] = []
        self._rejects: list[Json] | None = None
        self._rejects_read = 0.0

    def build(self) -> None:
        """Build the tables; the first tick fills them in."""
        heading("Partitions", "rates over the last seconds; click one for its messages")
        columns = [{"name": key, "label": text, "field": key, "align": "right"} for key, text in _COLUMNS.items()]
        with ui.element("section").classes("lm-card").props('aria-label="Partitions"'):
            self._table = ui.table(columns=columns, rows=[], row_key="partition", pagination=12).classes("lm-table")
            self._table.props("flat dense data-testid=partitions")
            self._table.on("rowClick", lambda event: self._choose(int(event.args[1]["partition"])), [[], ["partition"]])
        heading("Messages", "as they are in Kafka, and what becomes of each datapoint; newest first")
        with ui.element("section").classes("lm-card").props('aria-label="Messages"'):
            with ui.element("div").classes("lm-row"):
                self._select = ui.select([0], value=0, label="Partition", on_change=self._selected)
                self._select.props("outlined dense options-dense data-testid=kafka-partition").classes("lm-pick")
                ui.button("Newest", on_click=lambda: self._go(self._partition, None)).props(
                    "outline no-caps data-testid=kafka-newest"
                )
                self._older = ui.button("Older", on_click=self._show_older).props("outline no-caps")
                self._older.props("data-testid=kafka-older").disable()
                self._status = ui.label().classes("lm-note").props('role="status" data-testid=kafka-status')
            self._messages = ui.element("div").classes("lm-messages").props("data-testid=messages")
        heading("Newest rejects", "messages, or the part of them, that made no rows")
        self._rejected = ui.element("div").classes("lm-reasons").props("data-testid=newest-rejects")

    async def open(self, state: State) -> None:
        """Show the messages that the address names; the newest of partition 0 where it names none."""
        self._partition, self._before = _whole(state, "partition") or 0, _whole(state, "before")
        self._is_due = True

    def state(self) -> State:
        """Return the partition, and the offset before which messages are shown."""
        found = {"partition": str(self._partition)} if self._partition else {}
        return found if self._before is None else {**found, "before": str(self._before)}

    async def _go(self, partition: int, before: int | None) -> None:
        """Show the newest messages of a partition, or those before an offset; Back returns."""
        self._partition, self._before = partition, before
        self._session.changed(push=True)
        await self._read()

    async def _read(self) -> None:
        partition, before = self._partition, self._before
        if partition not in self._select.options:
            self._select.set_options([*self._select.options, partition])
        self._select.set_value(partition)
        self._status.set_text("Reading\u2026")
        try:
            self._page = await self._session.api.messages(partition, before)
        except ApiError as error:
            self._status.set_text(f"{error}")
            return
        self._draw_messages(self._page)

    async def tick(self) -> None:
        """Show the newest numbers; read messages once. Raises ApiError."""
        live = self._session.api.run.live or {}
        partitions = [{"partition": int(name), **place} for name, place in live.get("partitions", {}).items()]
        if partitions != self._partitions:
            self._partitions = partitions
            self._table.rows = [{key: _cell(key, one[key]) for key in _COLUMNS} for one in partitions]
            self._select.set_options([one["partition"] for one in partitions] or [0])
        if self._is_due and partitions:
            self._is_due = False
            await self._read()
        if time.monotonic() - self._rejects_read >= _REJECTS_S:
            self._rejects_read = time.monotonic()
            await self._show_rejects()

    async def _choose(self, partition: int) -> None:
        await self._go(partition, None)

    async def _selected(self, event: Any) -> None:
        if event.value != self._partition:
            await self._go(int(event.value), None)

    async def _show_older(self) -> None:
        if self._page and self._page["messages"]:
            await self._go(self._partition, self._page["messages"][-1]["offset"])

    def _draw_messages(self, page: Json) -> None:
        messages = page["messages"]
        self._status.set_text(
            f"offsets {messages[-1]['offset']:,} to {messages[0]['offset']:,} of {page['first']:,} to {page['end']:,}"
            if messages
            else f"no messages; the partition has offsets {page['first']:,} to {page['end']:,}"
        )
        self._older.set_enabled(bool(messages) and messages[-1]["offset"] > page["first"])
        self._messages.clear()
        with self._messages:
            for message in messages:
                _message(message)

    async def _show_rejects(self) -> None:
        snowflake = (self._session.api.run.status or {}).get("snowflake")
        rejects = [] if snowflake else (await self._session.api.rejects())["rejects"]
        if rejects == self._rejects:
            return
        self._rejects = rejects
        self._rejected.clear()
        with self._rejected:
            for reject in rejects:
                with ui.element("article").classes("lm-card lm-reason"):
                    self._reject(reject)
            if not rejects:
                empty(f"Rejects are written to {snowflake['rejectsIn']}." if snowflake else "No rejects.")

    def _reject(self, reject: Json) -> None:
        place = f"partition {reject['partition']}, offset {reject['offset']:,}"
        with ui.element("div").classes("lm-reason-title"):
            with ui.element("h3"):
                ui.label(reject["code"])
            ui.label(f"{place}, {formats.moment(reject['atMs'])}").classes("lm-note")
            ui.button("Show", on_click=lambda: self._go(reject["partition"], reject["offset"] + 1)).props(
                f'flat dense no-caps aria-label="Show the message at {place}"'
            ).classes("lm-copy")
        _why(reject)
        with ui.expansion("What was rejected").classes("lm-example").props("dense"):
            ui.label(reject["excerpt"]).classes("lm-raw").props("tabindex=0")


def _whole(state: State, name: str) -> int | None:
    text = state.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 16 else None


def _cell(key: str, value: float | None) -> str:
    return formats.rate(value) if key.endswith("PerSecond") else formats.count(value)


def _message(message: Json) -> None:
    """Add a message's line; what it holds is built when it is opened."""
    size = formats.together(formats.size(message["bytes"]))
    key = f" \u00b7 key {message['key']}" if message["key"] else ""
    line = ui.expansion(
        f"{message['offset']:,} \u00b7 {formats.moment(message['timestampMs'])}{key} \u00b7 {size}",
        caption=_result(message),
    )
    line.classes(f"lm-message {'is-rejected' if message['reject'] else ''}").props(
        f"dense data-testid=message-{message['offset']}"
    )

    def fill() -> None:
        if line.value and not list(line.default_slot):
            with line, ui.element("div").classes("lm-columns"):
                with ui.element("div"):
                    ui.label(message["text"]).classes("lm-raw lm-raw-tall").props("tabindex=0")
                    if message["isTextCut"]:
                        ui.label("The text is truncated here.").classes("lm-note")
                with ui.element("div").classes("lm-points"):
                    _points(message)

    line.on_value_change(fill)


def _result(message: Json) -> str:
    """Describe what became of a message."""
    if message["isTooLarge"]:
        return "too large to be shown in parts"
    if message["datapointsTotal"] is None or not message["bytes"]:
        return "empty: makes no rows"
    parts = [f"{counted(message['datapointsTotal'], 'datapoint')} \u2192 {counted(message['rows'], 'row')}"]
    parts += [f"{number:,} dropped: {reason}" for reason, number in message["dropped"].items()]
    return "; ".join(parts + ([f"rejected: {message['reject']['code']}"] if message["reject"] else []))


def _points(message: Json) -> None:
    if message["reject"] and not message["datapoints"]:
        _rejected(message["reject"])
    for point in message["datapoints"]:
        with ui.element("article").classes("lm-point"):
            rows, total = point["rows"], point["rowsTotal"]
            dropped = "".join(f"; dropped: {reason}" for reason in point["dropped"])
            with ui.element("div").classes("lm-reason-title"):
                ui.label(point["metric"] or "(no name)").classes("lm-strong")
                result = "rejected" if point["reject"] else f"{counted(total, 'row')}{dropped}"
                ui.label(result).classes("lm-note" if total else "lm-mark")
            if point["reject"]:
                _rejected(point["reject"])
            if rows:
                ui.label("\n".join(msgspec.json.encode(row).decode() for row in rows)).classes("lm-raw").props(
                    "tabindex=0"
                )
            if total > len(rows):
                ui.label(counted(total - len(rows), "more row")).classes("lm-note")
    left = (message["datapointsTotal"] or 0) - len(message["datapoints"])
    if message["datapoints"] and left > 0:
        ui.label(counted(left, "more datapoint")).classes("lm-note")


def _rejected(reject: Json) -> None:
    ui.label(reject["code"]).classes("lm-mark")
    _why(reject)


def _why(reject: Json) -> None:
    """Add the reason of a reject, what to do, and the command."""
    ui.label(reject["message"]).classes("lm-text lm-strong")
    ui.label(reject["meaning"]).classes("lm-text")
    ui.label(reject["fix"]).classes("lm-text")
    code(reject["command"])
