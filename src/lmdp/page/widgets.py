"""Small parts that the tabs are put together from."""

from __future__ import annotations

import json

from nicegui import ui
from nicegui.element import Element


def heading(text: str, note: str = "") -> None:
    """A section's heading, with a quiet note behind it."""
    with ui.element("div").classes("lm-heading"):
        with ui.element("h2"):
            ui.label(text)
        if note:
            ui.label(note).classes("lm-note")


def code(text: str, *, copies: bool = True) -> Element:
    """A command or a statement in one typeface, with a button that copies it."""
    with ui.element("div").classes("lm-code") as box:
        ui.label(text).classes("lm-code-text").props("tabindex=0")
        if copies:
            copy_button(text)
    return box


def copy_button(text: str) -> None:
    """Copy `text`, and say so on the button."""
    button = ui.button("Copy").props('flat dense no-caps aria-label="Copy to the clipboard"').classes("lm-copy")

    def copied() -> None:
        ui.run_javascript(f"navigator.clipboard?.writeText({json.dumps(text)})")
        button.set_text("Copied")
        ui.timer(2.0, lambda: button.set_text("Copy"), once=True)

    button.on_click(copied)


def empty(text: str) -> None:
    """What stands where there is nothing yet."""
    ui.label(text).classes("lm-empty")
