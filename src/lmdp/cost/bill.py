"""The bill: what bill.toml makes of a load, prices and quantities; what lowers it; and what to look at first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from lmdp.cost.basis import Price, Quantity, data
from lmdp.cost.capacity import PIPE_PAYLOAD_BYTES
from lmdp.cost.formula import evaluate, names
from lmdp.cost.refreshes import steps as refresh_steps
from lmdp.cost.traffic import Measured, Planned
from lmdp.support.program import program

_LIMITS: Final = {"pipe_payload_bytes": PIPE_PAYLOAD_BYTES}


FIREHOSE: Final = "firehose"


@dataclass(frozen=True, slots=True)
class Basis:
    """All that a bill follows from. `writer` is what writes to Snowflake."""

    traffic: Planned | Measured
    prices: Mapping[str, Price]
    quantities: Mapping[str, Quantity]
    writer: str = FIREHOSE

    def numbers(self) -> dict[str, float]:
        """Return every number that a formula may name."""
        prices = {name: price.value for name, price in self.prices.items()}
        quantities = {name: quantity.value for name, quantity in self.quantities.items()}
        found = {**_LIMITS, **prices, **quantities, **self.traffic.numbers()}
        changed = data("bill.toml")["writers"][self.writer].get("set", {})
        return found | {name: evaluate(formula, found) for name, formula in changed.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """A number that several lines use, and its formula."""

    name: str
    value: float
    unit: str
    formula: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill, in USD a month; `high` differs from `low` where billing may be read in another way."""

    part: str
    what: str
    formula: str
    low: float
    high_formula: str | None
    high: float
    unknown_rule: str | None
    uses: frozenset[str]  # prices, quantities and load


@dataclass(frozen=True, slots=True)
class Bill:
    """A month, in USD. `numbers` has all that a formula may name, and the steps."""

    basis: Basis
    numbers: Mapping[str, float]
    steps: tuple[Step, ...]
    lines: tuple[Line, ...]

    @property
    def low(self) -> float:
        """The total, every unknown rule of billing read for the payer."""
        return sum(line.low for line in self.lines)

    @property
    def high(self) -> float:
        """The total, every unknown rule read against the payer."""
        return sum(line.high for line in self.lines)

    def dominant(self) -> Line:
        """Return the line that may cost most."""
        return max(self.lines, key=lambda line: line.high)

    def unsure(self, line: Line) -> list[str]:
        """Return the prices of a line that nobody has confirmed."""
        prices = self.basis.prices
        return sorted(name for name in line.uses if name in prices and prices[name].certainty == "unsure")

    def assumed(self, line: Line) -> list[str]:
        """Return the quantities of a line that are assumed."""
        quantities = self.basis.quantities
        return sorted(name for name in line.uses if name in quantities and quantities[name].kind == "assumed")


@dataclass(frozen=True, slots=True)
class Saving:
    """A change that saves, and the USD that it saves a month in either reading."""

    what: str
    low: float
    high: float


def bill(basis: Basis, changes: Mapping[str, float] | None = None) -> Bill:
    """Calculate the bill, with some numbers of the basis changed."""
    numbers = basis.numbers() | dict(changes or {})
    uses: dict[str, frozenset[str]] = {}
    steps = []
    for name, entry in (data("bill.toml")["steps"] | refresh_steps() | data("bill.toml")["later_steps"]).items():
        formula = entry.get("formula") or entry.get(basis.traffic.kind)
        if formula is not None:
            numbers[name] = evaluate(formula, numbers)
            uses[name] = _uses(formula, uses)
            steps.append(Step(name, numbers[name], entry["unit"], formula))
    without = [*data("bill.toml")["writers"][basis.writer]["without"], *(() if numbers["receivers"] else ("Receiver",))]
    lines = [
        _line(part, what, entry, numbers, uses)
        for part, entries in data("bill.toml")["lines"].items()
        if part not in without
        for what, entry in entries.items()
    ]
    return Bill(basis, numbers, tuple(steps), tuple(lines))


def _line(
    part: str, what: str, entry: Mapping[str, str], numbers: Mapping[str, float], uses: Mapping[str, frozenset[str]]
) -> Line:
    low, high = entry["formula"], entry.get("at_most")
    return Line(
        part=part,
        what=what,
        formula=low,
        low=evaluate(low, numbers),
        high_formula=high,
        high=evaluate(high or low, numbers),
        unknown_rule=entry.get("unknown_rule"),
        uses=_uses(low, uses) | _uses(high or low, uses),
    )


def _uses(formula: str, steps: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the names in a formula and in the steps that it names."""
    return frozenset[str]().union(*(steps.get(name, {name}) for name in names(formula)))


def by_writer(made: Bill) -> dict[str, tuple[str, Bill]]:
    """Return each way into Snowflake, what it is, and the bill of the same load."""
    return {
        name: (entry["about"].format(program=program()), bill(replace(made.basis, writer=name)))
        for name, entry in data("bill.toml")["writers"].items()
    }


def savings(made: Bill) -> list[Saving]:
    """Return what saves something, the greatest first; each is calculated by changing that alone."""
    found = []
    for entry in data("bill.toml")["savings"]:
        if not entry["set"].keys() <= made.numbers.keys():
            continue
        numbers = _with_let(entry, made)
        after = bill(made.basis, {name: evaluate(formula, numbers) for name, formula in entry["set"].items()})
        if made.high - after.high > 0:
            text = entry["text"].format(**numbers, program=program())
            found.append(Saving(text, made.low - after.low, made.high - after.high))
    return sorted(found, key=lambda saving: saving.high, reverse=True)


def warnings(made: Bill) -> list[str]:
    """Return where the load does not fit what is deployed by default."""
    found = [(entry, _with_let(entry, made)) for entry in data("bill.toml")["warnings"]]
    return [entry["text"].format(**numbers) for entry, numbers in found if evaluate(entry["when"], numbers)]


def _with_let(entry: Mapping[str, Any], made: Bill) -> dict[str, float]:
    numbers = dict(made.numbers)
    for name, formula in entry.get("let", {}).items():
        numbers[name] = evaluate(formula, numbers)
    return numbers
