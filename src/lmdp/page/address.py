"""Addresses of the page: a tab and the state that it shows, so that reload, Back, bookmarks and links show it again.

A state is names and texts, as in a query string. A tab without a state, or with its first one, has its plain path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

State = dict[str, str]

PATHS: Final[Mapping[str, str]] = {
    "pipeline": "/",
    "board": "/board",
    "explore": "/explore",
    "kafka": "/kafka",
    "sql": "/sql",
}
"""The path of each tab, by its name, in the order of the tabs."""

LONGEST: Final = 16_000
"""Characters of an address. Chromium and the server allow more; what is pasted into mails and chats is often cut."""


def address(tab: str, state: Mapping[str, str]) -> str:
    """Return the path and query of a tab in a state; without the longest values where they do not fit."""
    kept = {name: value for name, value in state.items() if value}
    while len(query := urlencode(kept, quote_via=quote, safe="/:,")) > LONGEST:
        del kept[max(kept, key=lambda name: len(kept[name]))]
    return PATHS[tab] + (f"?{query}" if query else "")


def parse(text: str) -> tuple[str, State]:
    """Return the tab and the state that a path and query name; the first tab where no tab has that path."""
    parts = urlsplit(text)
    tab = next((name for name, path in PATHS.items() if path == parts.path), next(iter(PATHS)))
    return tab, dict(parse_qsl(parts.query))
