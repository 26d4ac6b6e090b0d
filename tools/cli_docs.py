"""Make docs/cli.md from the commands, for `make docs`.

Typer has a generator of its own, which repeats the options that all commands share and runs examples into the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from lmdp.cli.command import default_of, is_argument, names_of, value_of
from lmdp.cli.main import app

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
SHARED_BY = 3

HEAD = """\
# The command line

Made from the commands by `make docs`; `lmdp COMMAND --help` shows the same. In a checkout, run
`. .venv/bin/activate` once in a terminal, so that `lmdp` is found. Commands that reach AWS or Snowflake need
`make extras`.

An option on the command line wins over its environment variable, and that over the file `.env` in the current folder.
All faults of a command line are reported at once. A misspelt `LMDP_` or `SNOWFLAKE_` setting is reported at the start
of every command. Settings of the AWS half are in [deploy.md](deploy.md#settings), Snowflake's names and limits in
[snowflake-marketplace-setup.md](snowflake-marketplace-setup.md#names-and-limits).

`lmdp --install-completion` installs completion for your shell; `lmdp help COMMAND` shows the help of a command.

| exit code | means |
| --- | --- |
| 0 | done |
| 1 | the requested check failed, messages were lost, or the command stopped before completing |
| 2 | wrong usage or settings; nothing was done |
| 3 | a dependency is unreachable: Kafka, the warehouse, AWS, Snowflake, or a package that `make extras` installs |
"""
SHARED = """\
## Shared options

They mean the same in every command that names them under *also*.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An argument or option, as a line of a table."""

    name: str
    variable: str
    default: str
    what: str
    is_argument: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: its words, its help, and its arguments and options."""

    words: str
    text: str
    examples: tuple[str, ...]
    rows: tuple[Row, ...]


def entries() -> list[Entry]:
    """Every command, in the order of `lmdp --help`."""
    return list(_walk(typer.main.get_command(app), "lmdp"))


def page() -> str:
    """The whole page."""
    found = entries()
    uses = Counter(row for entry in found for row in entry.rows)
    shared = [row for row in uses if uses[row] >= SHARED_BY and not row.is_argument]
    parts = [HEAD, f"{SHARED}\n{_table(shared)}\n", *(_section(entry, shared) for entry in found)]
    return "\n".join(parts)


def _walk(command: Any, words: str) -> Iterator[Entry]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield _entry(command, words)
        return
    for name, child in inner.items():
        yield from _walk(child, f"{words} {name}")


def _entry(command: Any, words: str) -> Entry:
    paragraphs = [paragraph.strip() for paragraph in (command.help or "").split("\n\n")]
    return Entry(
        words,
        "\n\n".join(_marked(text) for text in paragraphs if not text.startswith("Example:")),
        tuple(text.removeprefix("Example:").strip() for text in paragraphs if text.startswith("Example:")),
        tuple(_row(one, command) for one in command.params if not getattr(one, "hidden", False)),
    )


def _row(one: Any, command: Any) -> Row:
    *others, last = names_of(one)
    value = value_of(one, typer.Context(command))
    default = default_of(one).removeprefix("default: ")
    return Row(
        "".join(f"`{name}`, " for name in others) + f"`{last} {value}`".replace(" `", "`"),
        f"`{one.envvar}`" if one.envvar else "",
        f"*{default}*" if one.required else f"`{default}`" if default else "",
        _marked(one.help or ""),
        is_argument(one),
    )


def _marked(text: str) -> str:
    """Options and settings within help as code; what a page would take for a tag, too."""
    parts = re.split(r"(`[^`]*`)", text)
    pattern = r"(?<![\w`-])(--?[a-z][a-z-]*|[A-Z]+(?:_[A-Z]+)+)(?![\w`])"
    return "".join(part if part.startswith("`") else re.sub(pattern, r"`\1`", part) for part in parts)


def _section(entry: Entry, shared: list[Row]) -> str:
    also = [row.name.split(" ")[0].strip("`") for row in entry.rows if row in shared]
    own = [row for row in entry.rows if row not in shared]
    parts = [f"## {entry.words}", entry.text, "\n".join(f"    {example}" for example in entry.examples)]
    if own:
        parts.append(_table(own))
    if also:
        parts.append("Also: " + ", ".join(f"`{name}`" for name in also) + ".")
    return "\n\n".join(parts) + "\n"


def _table(rows: list[Row]) -> str:
    lines = ["| option | variable | default | what |", "| --- | --- | --- | --- |"]
    cells = ((row.name, row.variable, row.default, row.what) for row in rows)
    lines += ["| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in row) + " |" for row in cells]
    return "\n".join(lines)
