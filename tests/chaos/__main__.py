"""`make chaos`: play the scenarios, and print what was found, a line each. Exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from chaos import access, cloud, crash, data, disk, load, network, order
from chaos.scenario import Outcome, Scenario, Site, Size

ROOMS = (crash, network, disk, data, load, order, cloud, access)
COLUMNS = ("scenario", "faults", "messages", "rows expected", "found", "repeats", "rejects", "seconds", "verdict")


@dataclass(frozen=True, slots=True)
class Played:
    """A scenario, how it went, and how long it took; `error` when it could not be played to its end."""

    scenario: Scenario
    outcome: Outcome | None
    seconds: float
    error: str = ""

    def faults(self) -> tuple[str, ...]:
        """What is not as promised; none is right."""
        return self.outcome.faults() if self.outcome else (self.error,)

    def cells(self) -> list[str]:
        """Its line of the table."""
        told = self.outcome
        numbers = (
            [told.times, told.messages, told.expected_rows, told.found_rows, told.repeats, told.rejects] if told else []
        )
        verdict = "; ".join(self.faults()) or "held"
        measured = f" ({told.measured})" if told and told.measured else ""
        return [
            self.scenario.name,
            *[f"{number:,}" for number in numbers],
            *[""] * (6 - len(numbers)),
            f"{self.seconds:.0f}",
            verdict + measured,
        ]


def play(scenarios: Iterable[Scenario], site: Site) -> Iterator[Played]:
    """Play one after another; one that fails does not keep the others from being played."""
    for scenario in scenarios:
        begun = time.monotonic()
        try:
            outcome, error = scenario.play(site), ""
        except Exception as failure:  # noqa: BLE001 - told in the table
            outcome, error = None, f"not played: {type(failure).__name__}: {failure}"
        yield Played(scenario, outcome, time.monotonic() - begun, error)


def table(played: Iterable[Played]) -> Table:
    """The whole table, for a terminal."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        drawn.add_column(column, justify="left" if column in ("scenario", "verdict") else "right", overflow="fold")
    for one in played:
        drawn.add_row(*one.cells(), style="red" if one.faults() else None)
    return drawn


def markdown(played: Iterable[Played]) -> str:
    """The same for a document."""
    lines = [COLUMNS, ["---" if name in ("scenario", "verdict") else "---:" for name in COLUMNS]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [*lines, *(one.cells() for one in played)])


def main() -> int:
    """Play what was asked for."""
    known = [scenario for room in ROOMS for scenario in room.SCENARIOS]
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--size", choices=get_args(Size), default="full")
    parser.add_argument("--only", metavar="TEXT", default="", help="those with TEXT in their name")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    given = parser.parse_args()
    chosen = [scenario for scenario in known if given.only in scenario.name]
    if given.list:
        print("\n".join(f"{scenario.name}: {scenario.promise}" for scenario in chosen))
        return 0
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
    played: list[Played] = []
    with tempfile.TemporaryDirectory(prefix="lmdp-chaos-") as folder:
        site = Site(given.size, Path(folder))
        try:
            for one in play(chosen, site):
                console.print(" · ".join(one.cells()), style="red" if one.faults() else None)
                played.append(one)
        finally:
            site.close()
    console.print(table(played))
    if given.markdown:
        given.markdown.write_text(markdown(played) + "\n")
    return int(any(one.faults() for one in played))


if __name__ == "__main__":
    sys.exit(main())
