"""`make chaos`: play the scenarios, and print what was found, a line each. Exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from chaos.playing import SCENARIOS, Played, play_all
from chaos.scenario import Size

MARK, END = "<!-- chaos -->", "<!-- /chaos -->"
COLUMNS = ("scenario", "faults", "messages", "rows expected", "found", "repeats", "rejects", "seconds", "result")


def table(played: Iterable[Played]) -> Table:
    """The whole table, for a terminal."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        drawn.add_column(column, justify="left" if column in ("scenario", "result") else "right", overflow="fold")
    for one in played:
        drawn.add_row(*one.cells(), style="red" if one.faults() else None)
    return drawn


def markdown(played: Iterable[Played]) -> str:
    """The same for a document."""
    lines = [COLUMNS, ["---" if name in ("scenario", "result") else "---:" for name in COLUMNS]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *(one.cells() for one in played)])


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--size", choices=get_args(Size), default="full")
    parser.add_argument("--only", metavar="TEXT", default="", help="those with TEXT in their name")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="scenarios side by side (2)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the table between FILE's marks")
    given = parser.parse_args()
    chosen = [number for number, scenario in enumerate(SCENARIOS) if given.only in scenario.name]
    if given.list:
        print("\n".join(f"{SCENARIOS[number].name}: {SCENARIOS[number].promise}" for number in chosen))
        return 0
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
    played: list[Played] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lmdp-chaos-", ignore_cleanup_errors=True) as folder:
        for one in play_all(chosen, given.size, Path(folder), given.jobs):
            console.print(" · ".join(one.cells()), style="red" if one.faults() else None)
            played.append(one)
    played.sort(key=lambda one: one.number)
    console.print(table(played))
    console.print(f"{len(played)} scenarios in {(time.monotonic() - begun) / 60:.1f} minutes")
    if given.markdown:
        text = given.markdown.read_text()
        before, after = text.partition(MARK)[0], text.rpartition(END)[2]
        given.markdown.write_text(f"{before}{MARK}\n{markdown(played)}\n{END}{after}")
    broken = [one for one in played if one.faults()]
    for one in broken:  # last, where whoever sees only the end of a log finds it
        console.print(f"NOT HELD: {' · '.join(one.cells())}", style="red")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
