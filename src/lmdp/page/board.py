"""The board: charts and queries that are kept under a title, in a file of the home that can be edited and shared.

Without a file the page shows the one that ships.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from lmdp.errors import ApiError
from lmdp.page.address import parse
from lmdp.page.selection import Picture
from lmdp.support.atomic_files import write_whole

SHIPPED: Final = Path(__file__).with_suffix(".toml")
MOST: Final = 40
_LARGEST: Final = 1_000_000

Form = Literal["table", "chart"]


class Panel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query in SQL, shown as a table or a chart, or a chart as the address of Explore has it."""

    title: str
    sql: str = ""
    chart: str = ""
    show: Form = "table"
    note: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError where it could not be shown."""
        if bool(self.sql.strip()) == bool(self.chart):
            raise ValueError(f"the panel {self.title!r} needs either sql or chart")
        if self.chart:
            tab, state = parse(self.chart)
            if tab != "explore" or not Picture.of(state).selections:
                raise ValueError(f"the chart of the panel {self.title!r} is not an address of Explore with a selection")


class Board(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Panels in their order."""

    panel: list[Panel]

    def text(self) -> str:
        """Return it as TOML, as you would write it."""
        return "\n".join(map(_panel, self.panel)) or "panel = []\n"


@dataclass(frozen=True, slots=True)
class BoardFile:
    """The board of a home."""

    path: Path

    def read(self) -> Board:
        """Return the board in the file, else the one that ships. Raises ApiError where it cannot be read."""
        path = self.path if self.path.exists() else SHIPPED
        try:
            return _board(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise ApiError(
                400, f"{path} is not a board: {error}", "correct the file, as docs/board.md has it"
            ) from error

    def add(self, panel: Panel, at: int = MOST) -> None:
        """Write the board with one more panel, as the one with the index `at`, or as its last one. Raises ApiError.

        After the last one it is appended, and the file keeps its comments.
        """
        panels = self.read().panel
        if len(panels) >= MOST:
            raise ApiError(400, f"a board has at most {MOST} panels", "remove some from it")
        board = Board([*panels[:at], panel, *panels[at:]])
        self._write(self._appended(board) or board.text())

    def remove(self, panel: Panel) -> int:
        """Write the board without a panel, and return the index that it had. Raises ApiError."""
        panels = self.read().panel
        if panel not in panels:
            raise ApiError(409, f"{panel.title} is no longer on the board", "look at the board again")
        at = panels.index(panel)
        self._write(Board([*panels[:at], *panels[at + 1 :]]).text())
        return at

    def _appended(self, board: Board) -> str:
        """Return the file's text with the last panel of `board` after it; "" where that is not `board`."""
        try:
            text = f"{self.path.read_bytes().decode().rstrip()}\n\n{_panel(board.panel[-1])}"
            return text if _board(text.encode()) == board else ""
        except (OSError, ValueError):  # no file yet, or `panel = [...]`
            return ""

    def _write(self, text: str) -> None:
        try:
            write_whole(self.path, text.encode())
        except OSError as error:
            text = f"{self.path} cannot be written: {error.strerror}"
            raise ApiError(500, text, "free space, or correct the rights of the folder") from error

    def changed(self) -> float:
        """Return when the file was changed; 0 where there is none."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return 0.0


def _board(content: bytes) -> Board:
    if len(content) > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST:,} bytes")
    board = msgspec.toml.decode(content, type=Board)
    if len(board.panel) > MOST:
        raise ValueError(f"it has {len(board.panel)} panels; {MOST} are the most")
    return board


def _panel(panel: Panel) -> str:
    """Return a panel as TOML: SQL in its lines, where nothing in it ends them early.

    A JSON text is a TOML text, but for escaped surrogates and U+007F.
    """
    lines = ["[[panel]]"]
    for name in panel.__struct_fields__:
        value = getattr(panel, name)
        if name == "sql" and "\n" in value and "'''" not in value and value.replace("\n", "").isprintable():
            lines.append(f"sql = '''\n{value}'''")
        elif value and (name != "show" or value != "table"):
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            lines.append(f"{name} = {text}")
    return "\n".join(lines) + "\n"
