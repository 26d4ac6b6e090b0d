"""The bill as a table for a terminal or for Markdown, as an object for programs; formulas; the list of prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from textwrap import wrap
from typing import Any, Final

from lmdp.cost.basis import Price, Quantity
from lmdp.cost.bill import Bill, Line, by_writer, savings, warnings
from lmdp.cost.formula import filled_in, names, shown

_HEAD: Final = ("part", "what", "USD a month", "at most", "")
_WIDTH: Final = 100
_UNSURE: Final = "?"
_ASSUMED: Final = "~"
_NOTEWORTHY: Final = 0.01


def text(made: Bill) -> str:
    """Return the bill as a table for a terminal."""
    rows = [_HEAD, *_cells(made), _total(made)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [_aligned(row, widths) for row in rows]
    lines[-1:-1] = ["-" * max(map(len, lines))]
    parts = ["\n".join(_about(made)), "\n".join(lines), *("\n".join(_wrapped(block)) for block in _notes(made))]
    return "\n\n".join(parts)


def markdown(made: Bill) -> str:
    """Return the bill as a table in Markdown."""
    bold = tuple(f"**{cell}**" if cell else "" for cell in _total(made))
    rows = [_HEAD, ("---", "---", "---:", "---:", "---"), *_cells(made), bold]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = ["\n".join([block[0], "", *(f"- {line}" for line in block[1:])]) for block in _notes(made)]
    return "\n\n".join(["  \n".join(_about(made)), table, *(note.strip() for note in notes)])


def _about(made: Bill) -> list[str]:
    numbers = made.numbers
    rates = (
        f"{_rate(numbers['rows_second'])} rows/s in {_rate(numbers['messages_second'])} messages/s of "
        f"{numbers['message_bytes'] / 1000:,.1f} KB; {numbers['rows'] / 1e6:,.0f} million rows and "
        f"{numbers['kafka_gb']:,.0f} GB of messages a month"
    )
    return [made.basis.traffic.summary(), rates]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else shown(value)


def explained(made: Bill) -> str:
    """Return every step and every line: its formula, the formula with its numbers, and the result."""
    steps = [f"{_worked_out(made, step.name, step.formula, shown(step.value))} {step.unit}" for step in made.steps]
    lines = []
    for line in made.lines:
        lines.append(_worked_out(made, f"{line.part}, {line.what}", line.formula, _money(line.low)))
        if line.high_formula:
            lines.append(_worked_out(made, "  at most", line.high_formula, _money(line.high)))
    return "\n".join(["Steps", "", *steps, "", "Lines, in USD a month", "", *lines])


def _worked_out(made: Bill, name: str, formula: str, result: str) -> str:
    numbers = [filled_in(formula, made.numbers)] if names(formula) else []
    return "\n    = ".join([f"{name} = {formula}", *numbers, result])


def _money(value: float) -> str:
    return f"{value:,.2f}"


def _marks(made: Bill, line: Line) -> str:
    """Return `?` where price or rule is not confirmed, `~` where a quantity is assumed."""
    unsure = _UNSURE if made.unsure(line) or line.unknown_rule else ""
    return f"{unsure} {_ASSUMED if made.assumed(line) else ''}".strip()


def _cells(made: Bill) -> list[tuple[str, ...]]:
    return [
        (line.part, line.what, _money(line.low), _money(line.high) if line.high_formula else "", _marks(made, line))
        for line in made.lines
    ]


def _total(made: Bill) -> tuple[str, ...]:
    return ("Total", "", _money(made.low), _money(made.high), "")


def _notes(made: Bill) -> list[list[str]]:
    """Blocks of a heading and its lines: what is unsure, assumed, dominant, what lowers it, what to look at."""
    blocks = [_unsure(made), _assumed(made), _dominant(made), _writers(made), _savings(made),
              _block("Does not fit what is deployed by default:", warnings(made)), [_sources(made)]]  # fmt: skip
    return [block for block in blocks if block]


def _unsure(made: Bill) -> list[str]:
    unsure = sorted({name for line in made.lines for name in made.unsure(line)})
    prices = made.basis.prices
    items = [f"{name} {shown(prices[name].value)}: {prices[name].note}; {prices[name].source}" for name in unsure]
    rules = [f"{line.part}, {line.what}: {line.unknown_rule}" for line in made.lines if line.unknown_rule]
    return [f"{_UNSURE} a price that nobody confirmed, or a rule of billing that is not known:", *items, *rules]


def _assumed(made: Bill) -> list[str]:
    heavy = [line for line in made.lines if line.high >= _NOTEWORTHY * made.high]
    assumed = sorted({name for line in heavy for name in made.assumed(line)})
    quantities = made.basis.quantities
    items = [f"{name} {shown(quantities[name].value)}: {quantities[name].about}" for name in assumed]
    where = f"in lines from {_NOTEWORTHY:.0%} of the total on; all of them: --list-prices"
    return _block(f"{_ASSUMED} a quantity that is assumed (--set NAME=VALUE; {where}):", items)


def _dominant(made: Bill) -> list[str]:
    line = made.dominant()
    shares = sorted((_share(line.low, made.low), _share(line.high, made.high)))
    share = " to ".join(f"{share:.0%}" for share in dict.fromkeys(shares))
    return [f"Most of it: {line.part}, {line.what}: {share} of the total."]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _writers(made: Bill) -> list[str]:
    items = [
        f"{name}: {found.low:,.0f} to {found.high:,.0f}: {about}" + (", this bill" if name == made.basis.writer else "")
        for name, (about, found) in by_writer(made).items()
    ]
    return _block("The same load by each writer to Snowflake (--writer), in USD a month:", items)


def _savings(made: Bill) -> list[str]:
    items = [f"{_saved(saving.low, saving.high)}: {saving.what}" for saving in savings(made)]
    return _block("What would lower it, in USD a month, each by itself:", items)


def _saved(low: float, high: float) -> str:
    one, other = sorted((f"{low:,.0f}", f"{high:,.0f}"), key=lambda text: float(text.replace(",", "")))
    return one if one == other else f"{one} to {other}"


def _block(head: str, items: list[str]) -> list[str]:
    return [head, *items] if items else []


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


def as_object(made: Bill) -> dict[str, Any]:
    """Return the whole bill for programs: sums in US dollars a month, a formula for each."""
    dominant = made.dominant()
    return {
        "load": made.basis.traffic.numbers(),
        "lowUsd": round(made.low, 2),
        "highUsd": round(made.high, 2),
        "lines": [_line(made, line) for line in made.lines],
        "steps": [asdict(step) for step in made.steps],
        "dominant": {"part": dominant.part, "what": dominant.what},
        "levers": [
            {"what": saving.what, "lowUsd": round(saving.low, 2), "highUsd": round(saving.high, 2)}
            for saving in savings(made)
        ],
        "warnings": warnings(made),
        "writer": made.basis.writer,
        "writers": {
            name: {"lowUsd": round(found.low, 2), "highUsd": round(found.high, 2)}
            for name, (_, found) in by_writer(made).items()
        },
        **numbers(made.basis.prices, made.basis.quantities),
    }


def numbers(prices: Mapping[str, Price], quantities: Mapping[str, Quantity]) -> dict[str, Any]:
    """Return prices and quantities, with where they come from."""
    return {
        "prices": [asdict(price) for price in prices.values()],
        "inputs": [asdict(one) for one in quantities.values()],
    }


def listed(prices: Mapping[str, Price], quantities: Mapping[str, Quantity]) -> str:
    """Return the list of prices and quantities."""
    priced = [
        f"{price.name} = {shown(price.value)} {price.unit}; {price.certainty}, {price.date}, {price.region}\n"
        f"    {price.source}" + (f"\n    {price.note}" if price.note else "")
        for price in prices.values()
    ]
    counted = [f"{one.name} = {shown(one.value)} {one.unit}; {one.kind}: {one.about}" for one in quantities.values()]
    return "\n".join(["Prices (--price NAME=VALUE)", "", *priced, "", "Quantities (--set NAME=VALUE)", "", *counted])


def _line(made: Bill, line: Line) -> dict[str, Any]:
    return {
        "part": line.part,
        "what": line.what,
        "lowUsd": round(line.low, 6),
        "highUsd": round(line.high, 6),
        "formula": line.formula,
        "highFormula": line.high_formula or line.formula,
        "unsurePrices": made.unsure(line),
        "unknownRule": line.unknown_rule,
        "assumed": made.assumed(line),
    }
