"""The bill: its lines and totals, what they rest on, what dominates, what lowers it, and what to look at first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmdp.cost.formula import Sheet, Step
from lmdp.cost.inputs import Input
from lmdp.cost.items import Line, lines
from lmdp.cost.load import Measured, Planned, flow
from lmdp.cost.prices import Price


@dataclass(frozen=True, slots=True)
class Basis:
    """All that a bill follows from."""

    load: Planned | Measured
    prices: Mapping[str, Price]
    inputs: Mapping[str, Input]

    def numbers(self) -> dict[str, float]:
        """Every number that a formula may name."""
        priced = {name: price.value for name, price in self.prices.items()}
        return priced | {name: one.value for name, one in self.inputs.items()} | self.load.numbers()


@dataclass(frozen=True, slots=True)
class Bill:
    """A month, in US dollars."""

    basis: Basis
    lines: tuple[Line, ...]
    steps: tuple[Step, ...]

    @property
    def low(self) -> float:
        """The total, every unknown rule of billing read for the payer."""
        return sum(line.low.value for line in self.lines)

    @property
    def high(self) -> float:
        """The total, every unknown rule read against the payer."""
        return sum(line.most.value for line in self.lines)

    def dominant(self) -> Line:
        """The line that may cost most."""
        return max(self.lines, key=lambda line: line.most.value)

    def unsure(self, line: Line) -> list[str]:
        """The prices of a line that nobody has confirmed."""
        prices = self.basis.prices
        return sorted(name for name in _uses(line) if name in prices and prices[name].certainty == "unsure")

    def assumed(self, line: Line) -> list[str]:
        """The quantities of a line that are assumed."""
        inputs = self.basis.inputs
        return sorted(name for name in _uses(line) if name in inputs and inputs[name].kind == "assumed")


def _uses(line: Line) -> frozenset[str]:
    return line.low.uses | line.most.uses


def bill(basis: Basis) -> Bill:
    """Work it out."""
    sheet = Sheet(basis.numbers())
    made = tuple(lines(flow(basis.load, sheet), sheet))
    return Bill(basis, made, tuple(sheet.steps.values()))


def warnings(made: Bill) -> list[str]:
    """Where the load does not fit what is deployed by default."""
    steps = {step.name: step.figure.value for step in made.steps}
    inputs = {name: one.value for name, one in made.basis.inputs.items()}
    found = []
    kept_gib = steps["messages_second"] * steps["message_bytes"] * inputs["retention_hours"] * 3600 / 2**30
    disks = inputs["brokers"] * inputs["storage_gib"]
    if disks and kept_gib * inputs["copies"] > disks:
        found.append(
            f"{inputs['retention_hours']:g} hours of messages in {inputs['copies']:g} copies are "
            f"{kept_gib * inputs['copies']:,.0f} GiB uncompressed, and the brokers' disks have {disks:,.0f} GiB: raise "
            "LMDP_MSK_STORAGE_GIB, or see what the publisher's compression leaves."
        )
    used = steps["refresh_credits"] + steps["report_credits"]
    if used > inputs["credit_quota"]:
        found.append(
            f"The warehouse would use {used:,.0f} credits a month, if the assumptions hold, and its monitor stops it "
            f"at {inputs['credit_quota']:,.0f} (SNOWFLAKE_CREDIT_QUOTA)."
        )
    return found
