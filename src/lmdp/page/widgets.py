"""Widgets that the tabs share: headings, code with a copy button, empty states."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nicegui import ui
from nicegui.element import Element

from lmdp.errors import ApiError
from lmdp.page.board import BoardFile, Form, Panel


def heading(text: str, note: str = "") -> None:
    """Add a section's heading, with a note after it."""
    with ui.element("div").classes("lm-heading"):
        with ui.element("h2"):
            ui.label(text)
        if note:
            ui.label(note).classes("lm-note")


def code(text: str) -> Element:
    """Add a command or a statement in monospace, with a button that copies it."""
    with ui.element("div").classes("lm-code") as box:
        ui.label(text).classes("lm-code-text").props("tabindex=0")
        copy_button(text)
    return box


def action(text: str, work: Callable[[], Any], name: str, props: str = "outline") -> ui.button:
    """Add a button for something that the user does with what is shown."""
    return ui.button(text, on_click=work).props(f"{props} no-caps data-testid={name}")


async def ask(text: str, field: str, first: str) -> str:
    """Ask for a text; return "" when the user cancels."""
    with ui.dialog() as dialog, ui.element("div").classes("lm-card lm-dialog").props(f'aria-label="{text}"'):
        value = ui.input(field, value=first).props("outlined dense autofocus data-testid=ask").classes("lm-pick")
        value.on("keydown.enter", lambda: dialog.submit(value.value))
        with ui.element("div").classes("lm-row"):
            ui.button(text, on_click=lambda: dialog.submit(value.value)).props("unelevated no-caps data-testid=ask-ok")
            ui.button("Cancel", on_click=dialog.close).props("flat no-caps")
    found = await dialog
    dialog.delete()
    return str(found or "").strip()


async def save_to_board(board: BoardFile, title: str, *, sql: str = "", chart: str = "", show: Form = "table") -> str:
    """Add a query or a chart to the board under the title that the user gives, and return what became of it."""
    title = await ask("Save to board", "Title", title)
    if not title:
        return "Nothing was saved."
    try:
        board.add(Panel(title, sql, chart, show))
    except (ApiError, ValueError) as error:
        return f"{error}"
    return "Saved to the board."


def copy_button(text: str) -> None:
    """Add a button that copies `text` and confirms it."""
    button = ui.button("Copy").props('flat dense no-caps aria-label="Copy to the clipboard"').classes("lm-copy")

    def copied() -> None:
        ui.run_javascript(f"navigator.clipboard?.writeText({json.dumps(text)})")
        button.set_text("Copied")
        ui.timer(2.0, lambda: button.set_text("Copy"), once=True)

    button.on_click(copied)


def with_next_step(error: ApiError) -> str:
    """Return what failed and the next step, as one text."""
    return f"{str(error).rstrip('.')}. Next: {error.next}"


def empty(text: str) -> None:
    """Add the text for an empty section."""
    ui.label(text).classes("lm-empty")
