"""SQL tab: a read-only query of the warehouse, its answer as a table, a chart, or CSV."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from nicegui import ui

from lmdp.errors import ApiError
from lmdp.machine.api.protocol import CSV, Query
from lmdp.page import echarts, formats
from lmdp.page.address import State
from lmdp.page.run_client import Answer
from lmdp.page.widgets import heading
from lmdp.support.program import program

if TYPE_CHECKING:
    from lmdp.page.layout import Session

_SHOWN = 1_000
_CSV_ROWS = 100_000  # for more there is `lmdp query`, which writes to a file
_CHART_ROWS = 5_000
_MOST_LINES = 8
_PATIENCE_S = 20.0
_KEPT = "lmdp-sql"  # in the browser's tab, so that a restart of the run loses nothing

EXAMPLES = {
    "Rows by metric": """
SELECT METRIC, COUNT(*) AS ROWS, MAX(TS) AS NEWEST
FROM METRICS
WHERE TS > CAST(NOW() AS TIMESTAMP) - INTERVAL '1 hour'
GROUP BY METRIC
ORDER BY ROWS DESC
LIMIT 20""",
    "Rows by minute": """
SELECT DATE_TRUNC('minute', TS) AS MINUTE, COUNT(*) AS ROWS
FROM METRICS
WHERE TS > CAST(NOW() AS TIMESTAMP) - INTERVAL '1 hour'
GROUP BY MINUTE
ORDER BY MINUTE""",
    "Devices": """
SELECT DEVICE_NAME, COUNT(DISTINCT INSTANCE) AS INSTANCES, COUNT(*) AS ROWS, MAX(TS) AS NEWEST
FROM METRICS
WHERE TS > CAST(NOW() AS TIMESTAMP) - INTERVAL '1 hour'
GROUP BY DEVICE_NAME
ORDER BY DEVICE_NAME""",
    "Newest values": """
SELECT DEVICE_NAME, DATASOURCE, INSTANCE, METRIC, VALUE, TS
FROM METRICS
WHERE TS > CAST(NOW() AS TIMESTAMP) - INTERVAL '5 minutes'
ORDER BY TS DESC
LIMIT 50""",
    "Rejects by reason": """
SELECT ERROR_CODE, COUNT(*) AS REJECTS, MAX(ERROR_MESSAGE) AS EXAMPLE
FROM REJECTS
GROUP BY ERROR_CODE""",
    "Loads": """
SELECT PARTITION, FIRST_OFFSET, NEXT_OFFSET, ROWS, REJECTS, LOADED_AT
FROM LOADS
ORDER BY LOADED_AT DESC
LIMIT 50""",
}


class SqlTab:
    """The SQL tab."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answer: Answer | None = None
        session.redraw.append(self._themed)

    def build(self) -> None:
        """Build the editor and the section for the answer."""
        heading("SQL", "one read-only SELECT at a time")
        with ui.element("section").classes("lm-card lm-sql"):
            with ui.element("div").classes("lm-row"):
                ui.select(list(EXAMPLES), label="Examples", on_change=self._example).props(
                    "outlined dense options-dense data-testid=sql-example"
                ).classes("lm-pick")
            self._editor = (
                ui.codemirror(
                    EXAMPLES["Rows by metric"].strip(),
                    language="SQL",
                    theme="githubLight",
                    line_wrapping=True,
                    keymap={"Mod-Enter": self._run},
                    on_change=self._remember,
                )
                .classes("lm-editor")
                .props('data-testid=sql-editor aria-label="SQL"')
            )
            with ui.element("div").classes("lm-row"):
                self._button = ui.button("Run", on_click=self._run).props("unelevated no-caps data-testid=sql-run")
                ui.label("Ctrl+Enter runs it. Escape, then Tab, leaves the editor.").classes("lm-note")
        with ui.element("section").classes("lm-card lm-answer").props('aria-label="Answer"'):
            with ui.element("div").classes("lm-row lm-spread"):
                self._status = ui.label("Results appear here.").classes("lm-note")
                self._status.props('role="status" data-testid=sql-status')
                with ui.element("div").classes("lm-row"):
                    self._form = ui.toggle({"table": "Table", "chart": "Chart"}, value="table", on_change=self._show)
                    self._form.props('no-caps unelevated dense aria-label="How to show the answer"')
                    self._csv = ui.button("CSV", on_click=self._download).props("outline no-caps data-testid=sql-csv")
                    self._csv.disable()
            self._place = ui.element("div").classes("lm-answer-place").props("data-testid=sql-answer")

    async def open(self, state: State) -> None:
        """Show the query of an address, else what the browser's tab had before it was reloaded."""
        kept = state.get("sql") or await ui.run_javascript(f"sessionStorage.getItem('{_KEPT}')", timeout=_PATIENCE_S)
        if isinstance(kept, str):
            self._editor.set_value(kept)

    def state(self) -> State:
        """Return no state: the browser's tab keeps the text."""
        return {}

    async def tick(self) -> None:
        """Do nothing: an answer changes only with its query."""

    def _remember(self) -> None:
        ui.run_javascript(f"sessionStorage.setItem('{_KEPT}', {json.dumps(self._editor.value)})")

    def _example(self, event: Any) -> None:
        if event.value in EXAMPLES:
            self._editor.set_value(EXAMPLES[event.value].strip())

    async def _run(self) -> None:
        self._button.disable()
        self._status.set_text("Running\u2026")
        try:
            self._answer = answer = await self._session.api.run.query(Query(self._editor.value, _CHART_ROWS))
        except ApiError as error:
            self._answer = None
            self._status.set_text(f"{error}")
        else:
            count = formats.count(len(answer.rows))
            shown = f"only the first {count}" if answer.truncated else count
            self._status.set_text(f"{shown} rows in {formats.together(formats.span(answer.seconds))}")
        self._button.enable()
        self._csv.set_enabled(self._answer is not None)
        self._show()

    def _show(self) -> None:
        self._place.clear()
        if self._answer is None:
            return
        with self._place:
            if self._form.value == "chart":
                self._chart(self._answer)
            else:
                show_table(self._answer)
                if len(self._answer.rows) > _SHOWN:
                    ui.label(f"The table shows {_SHOWN:,} rows; CSV has up to {_CSV_ROWS:,}.").classes("lm-note")

    def _chart(self, answer: Answer) -> None:
        found = as_lines(answer)
        if found is None:
            ui.label("A chart needs times, names or numbers in the first column, and numbers in another.").classes(
                "lm-empty"
            )
            return
        axis, named = found
        chart = ui.echart(echarts.lines(named, self._session.colours, axis=axis)).classes("lm-chart")
        chart.props('role=img data-testid=sql-chart aria-label="The answer as a chart"')

    def _themed(self) -> None:
        self._editor.set_theme("githubDark" if self._session.colours is echarts.DARK else "githubLight")
        if self._form.value == "chart":
            self._show()

    async def _download(self) -> None:
        try:
            content, truncated = await self._session.api.run.content(Query(self._editor.value, _CSV_ROWS), CSV)
        except ApiError as error:
            self._status.set_text(f"{error}")
            return
        ui.download.content(content, "answer.csv", CSV)
        if truncated:
            self._status.set_text(
                f"The CSV has the first {_CSV_ROWS:,} rows; for more, use {program()} query --format csv."
            )


def show_table(answer: Answer) -> None:
    """Show the first rows, page by page. A column's name is only text, never a key that the browser interprets."""
    columns = [
        {
            "name": f"c{at}",
            "label": column["name"],
            "field": f"c{at}",
            "align": "right" if _is_number(column) else "left",
        }
        for at, column in enumerate(answer.columns)
    ]
    rows = [
        {"id": number} | {f"c{at}": _cell(value) for at, value in enumerate(row)}
        for number, row in enumerate(answer.rows[:_SHOWN])
    ]
    drawn = ui.table(columns=columns, rows=rows, row_key="id", pagination=25).classes("lm-table")
    drawn.props("flat dense wrap-cells")


def _cell(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) < 10**11 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}" if abs(value) < 10**6 else f"{value:,.2f}"
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def as_lines(answer: Answer) -> tuple[str, list[tuple[str, list[list[Any]]]]] | None:
    """Return the axis's kind and the named lines of an answer whose first column is the axis; None without numbers."""
    columns, rows = answer.columns, answer.rows
    at = [number for number, column in enumerate(columns) if number and _is_number(column)][:_MOST_LINES]
    if not at or not rows:
        return None
    timed = columns[0]["type"].startswith(("timestamp", "date"))
    if timed:
        if not all(row[0] is None or _is_time(row[0]) for row in rows):
            return None
        rows = sorted(rows, key=lambda row: (row[0] is None, (row[0] or "").removesuffix("Z")))
    axis = "time" if timed else "value" if _is_number(columns[0]) else "category"
    return axis, [(columns[number]["name"], [[row[0], _number(row[number])] for row in rows]) for number in at]


def _is_time(text: str) -> bool:
    """Return whether it is a time that a chart can have, unlike infinity."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _is_number(column: dict[str, str]) -> bool:
    return column["type"].startswith(("int", "uint", "float", "double", "halffloat", "decimal"))
