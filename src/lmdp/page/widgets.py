"""Widgets that the tabs share: headings, code with a copy button, empty states."""

from __future__ import annotations

import json

from nicegui import ui
from nicegui.element import Element


def heading(text: str, note: str = "") -> None:
    """Add a section's heading, with a note after it."""
    with ui.element("div").classes("lm-heading"):
        with ui.element("h2"):
            ui.label(text)
        if note:
            ui.label(note).classes("lm-note")


def code(text: str, *, copies: bool = True) -> Element:
    """Add a command or a statement in monospace, with a button that copies it."""
    with ui.element("div").classes("lm-code") as box:
        ui.label(text).classes("lm-code-text").props("tabindex=0")
        if copies:
            copy_button(text)
    return box


def copy_button(text: str) -> None:
    """Add a button that copies `text` and confirms it."""
    button = ui.button("Copy").props('flat dense no-caps aria-label="Copy to the clipboard"').classes("lm-copy")

    def copied() -> None:
        ui.run_javascript(f"navigator.clipboard?.writeText({json.dumps(text)})")
        button.set_text("Copied")
        ui.timer(2.0, lambda: button.set_text("Copy"), once=True)

    button.on_click(copied)


def empty(text: str) -> None:
    """Add the text for an empty section."""
    ui.label(text).classes("lm-empty")
