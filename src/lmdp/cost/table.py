"""The bill for people: a table for a terminal or for Markdown, its footnotes, and how each line comes about."""

from __future__ import annotations

from textwrap import wrap
from typing import Final

from lmdp.cost.bill import Bill, warnings
from lmdp.cost.formula import shown
from lmdp.cost.items import Line
from lmdp.cost.savings import levers

HEAD: Final = ("part", "what", "USD a month", "at most", "")
_WIDTH: Final = 100
UNSURE: Final = "?"
ASSUMED: Final = "~"
_NOTEWORTHY: Final = 0.01


def text(made: Bill) -> str:
    """For a terminal."""
    rows = [HEAD, *_cells(made), _total(made)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [_aligned(row, widths) for row in rows]
    lines[-1:-1] = ["-" * max(map(len, lines))]
    parts = ["\n".join(about(made)), "\n".join(lines), *("\n".join(_wrapped(block)) for block in _notes(made))]
    return "\n\n".join(parts)


def markdown(made: Bill) -> str:
    """The same for a document."""
    bold = tuple(f"**{cell}**" if cell else "" for cell in _total(made))
    rows = [HEAD, ("---", "---", "---:", "---:", "---"), *_cells(made), bold]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = ["\n".join([block[0], "", *(f"- {line}" for line in block[1:])]) for block in _notes(made)]
    return "\n\n".join(["  \n".join(about(made)), table, *(note.strip() for note in notes)])


def about(made: Bill) -> list[str]:
    """The load in two lines."""
    steps = {step.name: step.figure.value for step in made.steps}
    rates = (
        f"{_rate(steps['rows_second'])} rows/s in {_rate(steps['messages_second'])} messages/s of "
        f"{steps['message_bytes'] / 1000:,.1f} KB; {steps['rows'] / 1e6:,.0f} million rows and "
        f"{steps['kafka_gb']:,.0f} GB of messages a month"
    )
    return [made.basis.load.summary(), rates]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else shown(value)


def explained(made: Bill) -> str:
    """Every step and every line, with its formula."""
    steps = [f"{step.name} = {step.figure.text}\n    = {shown(step.figure.value)} {step.unit}" for step in made.steps]
    lines = [_formulas(line) for line in made.lines]
    return "\n".join(["Steps", "", *steps, "", "Lines, in USD a month", "", *lines])


def _formulas(line: Line) -> str:
    text = f"{line.part}, {line.what} = {line.low.text}\n    = {money(line.low.value)}"
    if line.high is None:
        return text
    return f"{text}\n  at most = {line.high.text}\n    = {money(line.high.value)}"


def money(value: float) -> str:
    """Dollars and cents."""
    return f"{value:,.2f}"


def marks(made: Bill, line: Line) -> str:
    """`?` where price or rule is not confirmed, `~` where a quantity is assumed."""
    unsure = UNSURE if made.unsure(line) or line.why else ""
    return f"{unsure} {ASSUMED if made.assumed(line) else ''}".strip()


def _cells(made: Bill) -> list[tuple[str, ...]]:
    return [
        (line.part, line.what, money(line.low.value), money(line.high.value) if line.high else "", marks(made, line))
        for line in made.lines
    ]


def _total(made: Bill) -> tuple[str, ...]:
    return ("Total", "", money(made.low), money(made.high), "")


def _notes(made: Bill) -> list[list[str]]:
    """Blocks of a heading and its lines: what is unsure, assumed, dominant, what lowers it, what to look at."""
    blocks = [_unsure(made), _assumed(made), _dominant(made), _levers(made), _warnings(made), [_sources(made)]]
    return [block for block in blocks if block]


def _unsure(made: Bill) -> list[str]:
    names = sorted({name for line in made.lines for name in made.unsure(line)})
    prices = made.basis.prices
    items = [f"{name} {shown(prices[name].value)}: {prices[name].note}; {prices[name].source}" for name in names]
    rules = [f"{line.part}, {line.what}: {line.why}" for line in made.lines if line.why]
    return [f"{UNSURE} a price that nobody confirmed, or a rule of billing that is not known:", *items, *rules]


def _assumed(made: Bill) -> list[str]:
    heavy = [line for line in made.lines if line.most.value >= _NOTEWORTHY * made.high]
    names = sorted({name for line in heavy for name in made.assumed(line)})
    inputs = made.basis.inputs
    items = [f"{name} {shown(inputs[name].value)}: {inputs[name].about}" for name in names]
    where = f"in lines from {_NOTEWORTHY:.0%} of the total on; all of them: --list-prices"
    return [f"{ASSUMED} a quantity that is assumed (--set NAME=VALUE; {where}):", *items] if items else []


def _dominant(made: Bill) -> list[str]:
    line = made.dominant()
    shares = sorted((_share(line.low.value, made.low), _share(line.most.value, made.high)))
    share = " to ".join(f"{share:.0%}" for share in dict.fromkeys(shares))
    return [f"Most of it: {line.part}, {line.what}: {share} of the total."]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _levers(made: Bill) -> list[str]:
    found = levers(made)
    items = [f"{_saved(lever.low, lever.high)}: {lever.what}" for lever in found]
    return ["What would lower it, in USD a month, each by itself:", *items] if items else []


def _saved(low: float, high: float) -> str:
    one, other = sorted((f"{low:,.0f}", f"{high:,.0f}"), key=lambda text: float(text.replace(",", "")))
    return one if one == other else f"{one} to {other}"


def _warnings(made: Bill) -> list[str]:
    items = warnings(made)
    return ["Does not fit what is deployed by default:", *items] if items else []


def _sources(made: Bill) -> str:
    dates = sorted({price.date for price in made.basis.prices.values()})
    regions = ", ".join(sorted({price.region for price in made.basis.prices.values()}))
    dated = f"{dates[0]} to {dates[-1]}" if len(dates) > 1 else dates[0]
    return (
        f"List prices of {dated}, {regions}, without tax, discounts and free tiers (--list-prices). Nothing of this "
        "was compared with a bill. How each sum comes about: --explain."
    )


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [cell.rjust(width) if number in (2, 3) else cell.ljust(width) for number, (cell, width) in
             enumerate(zip(row, widths, strict=True))]  # fmt: skip
    return "  ".join(cells).rstrip()


def _wrapped(block: list[str]) -> list[str]:
    lines = wrap(block[0], _WIDTH)
    for item in block[1:]:
        lines += wrap(item, _WIDTH, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
    return lines
