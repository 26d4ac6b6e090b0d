"""The bill, and what it rests on, for programs; and the list of all prices and quantities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lmdp.cost.bill import Bill, warnings
from lmdp.cost.formula import shown
from lmdp.cost.inputs import Input
from lmdp.cost.items import Line
from lmdp.cost.prices import Price
from lmdp.cost.savings import levers


def as_object(made: Bill) -> dict[str, Any]:
    """The whole bill: sums in US dollars a month, a formula for each."""
    dominant = made.dominant()
    return {
        "load": made.basis.load.numbers(),
        "lowUsd": round(made.low, 2),
        "highUsd": round(made.high, 2),
        "lines": [_line(made, line) for line in made.lines],
        "steps": [
            {"name": step.name, "value": step.figure.value, "unit": step.unit, "formula": step.figure.text}
            for step in made.steps
        ],
        "dominant": {"part": dominant.part, "what": dominant.what},
        "levers": [
            {"what": lever.what, "lowUsd": round(lever.low, 2), "highUsd": round(lever.high, 2)}
            for lever in levers(made)
        ],
        "warnings": warnings(made),
        **numbers(made.basis.prices, made.basis.inputs),
    }


def numbers(prices: Mapping[str, Price], inputs: Mapping[str, Input]) -> dict[str, Any]:
    """Prices and quantities, with where they come from."""
    return {
        "prices": [asdict(price) for price in prices.values()],
        "inputs": [asdict(one) for one in inputs.values()],
    }


def listed(prices: Mapping[str, Price], inputs: Mapping[str, Input]) -> str:
    """The same for people."""
    priced = [
        f"{price.name} = {shown(price.value)} {price.unit}; {price.certainty}, {price.date}, {price.region}\n"
        f"    {price.source}" + (f"\n    {price.note}" if price.note else "")
        for price in prices.values()
    ]
    counted = [f"{one.name} = {shown(one.value)} {one.unit}; {one.kind}: {one.about}" for one in inputs.values()]
    return "\n".join(["Prices (--price NAME=VALUE)", "", *priced, "", "Quantities (--set NAME=VALUE)", "", *counted])


def _line(made: Bill, line: Line) -> dict[str, Any]:
    return {
        "part": line.part,
        "what": line.what,
        "lowUsd": round(line.low.value, 6),
        "highUsd": round(line.most.value, 6),
        "formula": line.low.text,
        "highFormula": line.most.text,
        "unsurePrices": made.unsure(line),
        "unknownRule": line.why or None,
        "assumed": made.assumed(line),
    }
