"""Numbers that remember how they were made, so that every sum can be followed back to a price and an input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Final

_PRODUCT: Final = 1
_SUM: Final = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, how it is written in a formula, and the names of the prices and inputs that are in it.

    `binds` says how loosely the formula holds together: 0 a single term, 1 a product, 2 a sum.
    """

    value: float
    text: str
    uses: frozenset[str] = frozenset()
    binds: int = 0

    def __mul__(self, other: Figure) -> Figure:
        text = f"{_within(self, _PRODUCT)} * {_within(other, _PRODUCT)}"
        return Figure(self.value * other.value, text, self.uses | other.uses, _PRODUCT)

    def __truediv__(self, other: Figure) -> Figure:
        """Nothing by nothing is nothing: a load of 0 has only fixed costs."""
        text = f"{_within(self, _PRODUCT)} / {_within(other, 0)}"
        return Figure(self.value / other.value if other.value else 0.0, text, self.uses | other.uses, _PRODUCT)

    def __add__(self, other: Figure) -> Figure:
        return Figure(self.value + other.value, f"{self.text} + {other.text}", self.uses | other.uses, _SUM)

    def __sub__(self, other: Figure) -> Figure:
        text = f"{self.text} - {_within(other, _PRODUCT)}"
        return Figure(self.value - other.value, text, self.uses | other.uses, _SUM)


def _within(figure: Figure, binds: int) -> str:
    return f"({figure.text})" if figure.binds > binds else figure.text


def plain(value: float, what: str = "") -> Figure:
    """A fixed number of the formula itself: a unit's size, hours in a month."""
    return Figure(value, f"{shown(value)}{f' {what}' if what else ''}")


def up(figure: Figure) -> Figure:
    """Rounded up to a whole number."""
    return Figure(ceil(figure.value), f"ceil({figure.text})", figure.uses)


def most(one: Figure, other: Figure) -> Figure:
    """The greater one."""
    return Figure(max(one.value, other.value), f"max({one.text}, {other.text})", one.uses | other.uses)


def least(one: Figure, other: Figure) -> Figure:
    """The smaller one."""
    return Figure(min(one.value, other.value), f"min({one.text}, {other.text})", one.uses | other.uses)


def shown(value: float) -> str:
    """A number as people read it, with the digits that matter."""
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"


@dataclass(frozen=True, slots=True)
class Step:
    """A number that several lines use, with its unit, and how it was made."""

    name: str
    figure: Figure
    unit: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """Prices and inputs by name, and the steps so far, in their order."""

    numbers: Mapping[str, float]
    steps: dict[str, Step] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Figure:
        """A price or an input."""
        value = self.numbers[name]
        return Figure(value, f"{name} {shown(value)}", frozenset({name}))

    def step(self, name: str, figure: Figure, unit: str) -> Figure:
        """Keep `figure` under a name of its own; what comes after shows the name in place of the formula."""
        self.steps[name] = Step(name, figure, unit)
        return Figure(figure.value, f"{name} {shown(figure.value)}", figure.uses)
