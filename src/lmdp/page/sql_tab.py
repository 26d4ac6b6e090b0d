"""SQL tab: a read-only query of the warehouse, its answer as a table, a chart, or CSV; tables, cookbook, history."""

from __future__ import annotations

import asyncio
import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nicegui import ui

from lmdp.errors import ApiError, LmdpError
from lmdp.machine.api.protocol import CSV, Query
from lmdp.page import echarts, formats, saved_queries
from lmdp.page.address import PATHS, State
from lmdp.page.answers import SHOWN, as_lines, show_table
from lmdp.page.run_client import Answer, Json
from lmdp.page.widgets import action, heading, save_to_board
from lmdp.sql.dictionary import recipes
from lmdp.support.printable import counted
from lmdp.support.program import at_home, program

if TYPE_CHECKING:
    from lmdp.page.layout import Session

_CSV_ROWS = 100_000  # for more there is `lmdp query`, which writes to a file
_CHART_ROWS = 5_000
_PATIENCE_S = 20.0
_KEPT = "lmdp-sql"  # in the browser's tab, so that a restart of the run loses nothing
# Where another tab was reloaded, an address of this one is newer than the text that is kept.
_KEPT_AND_RELOADED = f"""[
  sessionStorage.getItem('{_KEPT}'),
  performance.getEntriesByType('navigation').some(
    one => one.type === 'reload' && new URL(one.name).pathname === '{PATHS["sql"]}')
]"""
_HISTORY = "lmdp-sql-history"  # in the browser
_REMEMBERED = 50
_LONGEST_REMEMBERED = 20_000
_COMPLETION = Path(__file__).with_name("completion.js")
_PLACE = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)  # as DuckDB marks a fault

_NAMED = re.compile(r'(?:column|name|named) "?(\w+)')


class SqlTab:
    """The SQL tab."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sql = ""
        self._answer: Answer | None = None
        self._has_tables = self._is_changed = self._is_opened = False
        self._running: asyncio.Task[Answer] | None = None
        session.redraw.append(self._themed)

    def build(self) -> None:
        """Build the list of tables, the editor, and the section for the answer."""
        heading("SQL", "one read-only SELECT at a time")
        with ui.element("div").classes("lm-sql-columns"):
            with ui.element("div"):
                self._build_editor()
                self._build_answer()
            with ui.element("section").classes("lm-card lm-tables").props('aria-label="Tables and columns"'):
                self._filter = ui.input("Find a table or column").props("outlined dense clearable")
                self._filter.props("data-testid=sql-find")
                self._tree = ui.tree([], on_select=lambda event: self._insert(event.value))
                self._tree.bind_filter_from(self._filter, "value").props(
                    "data-testid=sql-tables dense no-selection-unset"
                )
                self._tree.add_slot("default-header", _NODE)

    def _build_editor(self) -> None:
        with ui.element("section").classes("lm-card lm-sql"):
            with ui.element("div").classes("lm-row"):
                ui.select([one.title for one in recipes()], label="Cookbook", on_change=self._recipe).props(
                    "outlined dense options-dense data-testid=sql-example"
                ).classes("lm-pick")
                with ui.button("History", on_click=self._fill_history).props("outline no-caps data-testid=sql-history"):
                    self._history = ui.menu().props("max-height=420px")
                with ui.button("Saved", on_click=self._fill_saved).props("outline no-caps data-testid=sql-saved"):
                    self._saved = ui.menu().props("max-height=420px")
                self._name = ui.input("Save as").props("outlined dense data-testid=sql-name")
                self._name.on("keydown.enter", self._save_named)
                ui.button("Save", on_click=self._save_named).props("outline no-caps data-testid=sql-save")
            self._about = ui.label(recipes()[0].about).classes("lm-note")
            self._editor = (
                ui.codemirror(
                    recipes()[0].sql,
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
                self._cancel = ui.button("Cancel", on_click=self._stop).props("outline no-caps data-testid=sql-cancel")
                self._cancel.disable()
                ui.label(
                    "Ctrl+Enter runs it, Ctrl+Space completes names. Escape, then Tab, leaves the editor."
                ).classes("lm-note")

    def _build_answer(self) -> None:
        with ui.element("section").classes("lm-card lm-answer").props('aria-label="Answer"'):
            with ui.element("div").classes("lm-row lm-spread"):
                with ui.element("div").classes("lm-row"):
                    self._status = ui.label("Results appear here.").classes("lm-note lm-status")
                    self._status.props('role="status" data-testid=sql-status')
                    self._undo = ui.element("div")
                with ui.element("div").classes("lm-row"):
                    self._form = ui.toggle({"table": "Table", "chart": "Chart"}, value="table", on_change=self._show)
                    self._form.props('no-caps unelevated dense aria-label="How to show the answer"')
                    self._csv = ui.button("CSV", on_click=self._download).props("outline no-caps data-testid=sql-csv")
                    self._csv.disable()
                    action("Save to board", self._save_to_board, "sql-board")
            self._place = ui.element("div").classes("lm-answer-place").props("data-testid=sql-answer")

    async def open(self, state: State) -> None:
        """Show the query of an address; after a reload of this tab, and without one, what the browser's tab had."""
        sql, is_first, self._is_opened = state.get("sql"), not self._is_opened, True
        if is_first:
            found = await ui.run_javascript(_KEPT_AND_RELOADED, timeout=_PATIENCE_S)
            kept, is_reloaded = found if isinstance(found, list) else (None, False)
            sql = kept if isinstance(kept, str) and (is_reloaded or sql is None) else sql
        if sql is not None and sql != self._editor.value:
            self._editor.set_value(sql)

    def state(self) -> State:
        """Return the query; nothing where it is the first one."""
        sql = self._editor.value
        return {} if sql == recipes()[0].sql else {"sql": sql}

    async def tick(self) -> None:
        """Bring the address to the text; fill in tables and completion once. Raises ApiError."""
        if self._is_changed:
            self._is_changed = False
            self._session.changed()
        if self._has_tables:
            return
        self._has_tables = True
        try:
            tables = (await self._session.api.tables())["tables"]
        except ApiError:
            self._has_tables = False
            raise
        self._tree.props["nodes"] = _nodes(tables)
        self._tree.update()
        known = {
            one["name"]: {"about": one["about"], "columns": [list(column.values()) for column in one["columns"]]}
            for one in tables
        }
        code = _COMPLETION.read_text("utf-8").strip()
        ui.run_javascript(f"{code}({json.dumps([self._editor.id, known])})")

    def _remember(self) -> None:
        self._is_changed = True
        ui.run_javascript(f"sessionStorage.setItem('{_KEPT}', {json.dumps(self._editor.value)})")

    def _recipe(self, event: Any) -> None:
        for one in recipes():
            if one.title == event.value:
                self._editor.set_value(one.sql)
                self._about.set_text(one.about)

    def _insert(self, node: str | None) -> None:
        """Insert the name of a table or column where the cursor is."""
        if node:
            text = json.dumps(_identifier(node.rpartition("/")[2]))
            ui.run_javascript(
                f"(editor => {{ editor.dispatch(editor.state.replaceSelection({text})); editor.focus(); }})"
                f"(getElement({self._editor.id}).editor)"
            )
            self._tree.deselect()

    async def _fill_history(self) -> None:
        found = await ui.run_javascript(f"JSON.parse(localStorage.getItem('{_HISTORY}') ?? '[]')", timeout=5.0)
        entries = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
        self._history.clear()
        with self._history:
            for sql in entries:
                _entry(" ".join(sql.split()), partial(self._editor.set_value, sql))
            if not entries:
                ui.label("No query has run in this browser yet.").classes("lm-menu-note")

    def _fill_saved(self) -> None:
        self._saved.clear()
        try:
            saved = saved_queries.read(self._session.api.run.home)
        except LmdpError as error:
            self._status.set_text(f"{error}")
            saved = {}
        with self._saved:
            for name, sql in saved.items():
                with ui.element("div").classes("lm-saved"):
                    _entry(name, partial(self._open_saved, name, sql))
                    ui.button("Remove", on_click=partial(self._remove, name)).props(
                        f"flat dense no-caps aria-label={json.dumps(f'Remove {name}')}"
                    )
            if not saved:
                ui.label("No query is saved. Give it a name next to this button.").classes("lm-menu-note")

    def _open_saved(self, name: str, sql: str) -> None:
        self._name.set_value(name)
        self._editor.set_value(sql)

    def _save_named(self) -> None:
        self._save((self._name.value or "").strip(), self._editor.value)

    def _save(self, name: str, sql: str) -> None:
        try:
            before = saved_queries.save(self._session.api.run.home, name, sql)
        except LmdpError as error:
            self._report(f"{error}")
        else:
            self._report(f"Saved as {name}." if before is None else f"Replaced {name}.", name, before)

    def _remove(self, name: str) -> None:
        self._saved.close()
        try:
            before = saved_queries.remove(self._session.api.run.home, name)
        except LmdpError as error:
            self._report(f"{error}")
        else:
            self._report(f"{name} was removed.", name, before)

    def _report(self, text: str, name: str = "", before: str | None = None) -> None:
        """Report what was saved or removed, and offer to put back the query that had the name before."""
        self._status.set_text(text)
        self._status.classes(remove="is-wrong")
        self._undo.clear()
        if before is not None:
            with self._undo:
                action("Undo", lambda: self._save(name, before), "sql-undo", "flat dense")

    async def _run(self) -> None:
        if self._running is not None:
            return
        self._sql, self._answer = self._editor.value, None
        self._undo.clear()
        self._show()
        self._enable(running=True)
        self._status.set_text("Running\u2026")
        self._status.classes(remove="is-wrong")
        if self._editor.decorations:  # not while someone types: an update sends the text, too
            self._editor.decorations = []
        self._running = asyncio.ensure_future(self._session.api.run.query(Query(self._sql, _CHART_ROWS)))
        try:
            await asyncio.wait({self._running})
            self._answered(self._running)
        finally:
            self._running = None
            self._enable(running=False)
        self._show()

    def _answered(self, task: asyncio.Task[Answer]) -> None:
        """Show how a query ended."""
        if task.cancelled():
            self._status.set_text("Cancelled.")
            return
        try:
            self._answer = answer = task.result()
        except ApiError as error:
            self._status.set_text(f"{error}")
            self._status.classes("is-wrong")
            self._mark(self._sql, str(error))
        else:
            shown = f"{'only the first ' if answer.truncated else ''}{counted(len(answer.rows), 'row')}"
            self._status.set_text(f"{shown} in {formats.together(formats.span(answer.seconds))}")
        if len(self._sql) <= _LONGEST_REMEMBERED:
            ui.run_javascript(
                f"(sql => {{ const before = JSON.parse(localStorage.getItem('{_HISTORY}') ?? '[]');"
                f" const kept = [sql, ...before.filter(one => one !== sql)].slice(0, {_REMEMBERED});"
                f" localStorage.setItem('{_HISTORY}', JSON.stringify(kept)); }})({json.dumps(self._sql)})"
            )

    def _mark(self, sql: str, error: str) -> None:
        """Mark the place of an error in the editor."""
        found = fault_place(sql, error)
        if found is not None and self._editor.value == sql:
            begin, end = found
            self._editor.decorations = [{"kind": "mark", "from": begin, "to": end, "class": "lm-wrong"}]
            self._editor.reveal_line(sql.count("\n", 0, begin) + 1)

    def _stop(self) -> None:
        """Cancel the query; the run interrupts it when its client leaves."""
        if self._running is not None:
            self._running.cancel()

    def _enable(self, *, running: bool) -> None:
        self._button.set_enabled(not running)
        self._cancel.set_enabled(running)
        self._csv.set_enabled(self._answer is not None)

    def _show(self) -> None:
        self._place.clear()
        if self._answer is None:
            return
        with self._place:
            if self._form.value == "chart":
                self._chart(self._answer)
            else:
                show_table(self._answer)
                if len(self._answer.rows) > SHOWN:
                    ui.label(f"The table shows {SHOWN:,} rows; CSV has up to {_CSV_ROWS:,}.").classes("lm-note")

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

    async def _save_to_board(self) -> None:
        """Save the answer that is shown, in its form; without one, the query."""
        sql = self._sql if self._answer else self._editor.value
        self._report(await save_to_board(self._session.api.board, "", sql=sql, show=self._form.value))

    async def _download(self) -> None:
        try:
            content, truncated = await self._session.api.run.content(Query(self._sql, _CSV_ROWS), CSV)
        except ApiError as error:
            self._status.set_text(f"{error}")
            return
        ui.download.content(content, "answer.csv", CSV)
        if truncated:
            more = f"{program()} query{at_home(self._session.api.run.home)} --format csv --output answer.csv"
            self._status.set_text(f"The CSV has the first {_CSV_ROWS:,} rows; for more, use {more}.")


_NODE = r"""
<div class="lm-node"><span class="lm-node-name">{{ props.node.label }}</span>
<span class="lm-note">{{ props.node.kind }}</span><div class="lm-note">{{ props.node.about }}</div></div>
"""


def _nodes(tables: list[Json]) -> list[Json]:
    return [
        {
            "id": one["name"],
            "label": one["name"],
            "kind": "",
            "about": one["about"],
            "children": [
                {
                    "id": f"{one['name']}/{column['name']}",
                    "label": column["name"],
                    "kind": column["type"],
                    "about": column["about"],
                }
                for column in one["columns"]
            ],
        }
        for one in tables
    ]


def _identifier(name: str) -> str:
    """Return a name as SQL has it: quoted where it is not in capitals."""
    return name if re.fullmatch(r"[A-Z_0-9]+", name) else f'"{name}"'


def _entry(text: str, action: Any) -> None:
    ui.menu_item(text, on_click=action).classes("lm-menu-entry")


def fault_place(sql: str, error: str) -> tuple[int, int] | None:
    """Return the place of an error, None where it has none.

    DuckDB marks it below a line, which it may shorten; or it names what is not there.
    """
    found = _PLACE.search(error)
    lines = sql.split("\n")
    if found is None or int(found[1]) > len(lines):
        named = _NAMED.search(error)
        word = named and re.search(rf"(?i)(?<!\w){re.escape(named[1])}(?!\w)", sql)
        return word.span() if word else None
    line = int(found[1]) - 1
    at = len(found[3]) - len(f"LINE {found[1]}: ")
    shown, cut = found[2].removesuffix("..."), found[2].startswith("...")
    begin = lines[line].find(shown[3:]) - 3 if cut else 0
    begin += sum(len(one) + 1 for one in lines[:line]) + at
    word = re.compile(r"\w+|").match(sql, max(begin, 0))
    end = max(begin + 1, word.end() if word else 0)
    return (begin, end) if 0 <= begin < len(sql) else None
