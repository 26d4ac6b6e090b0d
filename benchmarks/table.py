"""One line a measurement, and the table of them: for a terminal, and for the block of a Markdown file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.measure import LMDP, Cost

HEAD: Final = ("stage", "workload", "unit", "lmdp", "a second", "floor", "peers")
BEGIN: Final = "<!-- bench: begin -->"
END: Final = "<!-- bench: end -->"
KEY: Final = (
    "Costs: lower is better; medians of the rounds, ± half their spread. "
    "(nx): n times lmdp's cost for the same messages in the same rounds."
)


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement, as it is printed. `rate` is what lmdp does in a second; `floor` and `peers` may be empty."""

    stage: str
    workload: str
    unit: str
    ours: str
    rate: str = ""
    floor: str = ""
    peers: str = ""

    def cells(self) -> tuple[str, ...]:
        """In the order of HEAD."""
        return (self.stage, self.workload, self.unit, self.ours, self.rate, self.floor, self.peers)


def line(
    stage: str, workload: str, costs: Mapping[str, Cost], *, floors: Sequence[str] = (), unit: str = "µs CPU a row"
) -> Line:
    """Return a comparison's line; the contenders named in `floors` are floors, the others are peers."""
    ours = costs[LMDP]
    others = [name for name in costs if name != LMDP and name not in floors]
    return Line(
        stage,
        workload,
        unit,
        f"{figure(1e6 * ours.median)} ±{ours.spread:.0%}",
        f"{1 / ours.median:,.0f} {unit.rpartition(' ')[2]}s",
        _named(costs, [name for name in floors if name in costs]),
        _named(costs, others),
    )


def figure(number: float) -> str:
    """Three digits at most, as people read them."""
    if number >= 1000:
        return f"{number:,.0f}"
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def show(lines: Iterable[Line], notes: Iterable[str], console: Console) -> None:
    """Print the table, what it means, and what is not in it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in HEAD:
        table.add_column(name, overflow="fold", justify="right" if name in ("lmdp", "a second") else "left")
    for each in lines:
        table.add_row(*each.cells())
    console.print(table)
    for note in (KEY, *notes):
        console.print(note, style="dim", markup=False, highlight=False)


def markdown(lines: Iterable[Line], notes: Iterable[str], about: str) -> str:
    """The same as Markdown, with the machine's name above it."""
    rows = [HEAD, ("---",) * len(HEAD), *(each.cells() for each in lines)]
    table = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows]
    return "\n".join([about, "", *table, "", KEY, *(f"\n{note}" for note in notes)])


def check(file: Path) -> None:
    """Raises ValueError where `file` has no place for a table."""
    _around(file)


def rewrite(file: Path, block: str) -> None:
    """Put `block` between the markers of `file`. Raises ValueError where it has none."""
    before, after = _around(file)
    file.write_text(f"{before}{BEGIN}\n{block}\n{END}{after}", encoding="utf-8")


def _around(file: Path) -> tuple[str, str]:
    before, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file} has no lines {BEGIN} and {END}; nothing was written")
    return before, after


def _named(costs: Mapping[str, Cost], names: Iterable[str]) -> str:
    return " · ".join(f"{name} {figure(1e6 * costs[name].median)} ({figure(costs[name].ratio)}x)" for name in names)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
