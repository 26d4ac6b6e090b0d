"""Numbers that remember how they were made."""

from __future__ import annotations

import pytest

from lmdp.cost.formula import Figure, Sheet, least, most, plain, shown, up

SHEET = Sheet({"a": 6, "b": 4, "c": 0.5})
A, B, C = SHEET["a"], SHEET["b"], SHEET["c"]


@pytest.mark.parametrize(
    ("figure", "value", "text"),
    [
        (A * B, 24, "a 6 * b 4"),
        (A / B, 1.5, "a 6 / b 4"),
        (A * B / C, 48, "a 6 * b 4 / c 0.5"),
        (A / (B * C), 3, "a 6 / (b 4 * c 0.5)"),
        (A + B * C, 8, "a 6 + b 4 * c 0.5"),
        ((A + B) * C, 5, "(a 6 + b 4) * c 0.5"),
        (C * (A - B), 1, "c 0.5 * (a 6 - b 4)"),
        (A - (B - C), 2.5, "a 6 - (b 4 - c 0.5)"),
        (up(A / B), 2, "ceil(a 6 / b 4)"),
        (most(A, B) * C, 3, "max(a 6, b 4) * c 0.5"),
        (least(A, B), 4, "min(a 6, b 4)"),
        (A * plain(1e6), 6e6, "a 6 * 1,000,000"),
        (A / plain(0), 0, "a 6 / 0"),
    ],
)
def test_a_formula_says_what_was_done(figure: Figure, value: float, text: str) -> None:
    """Value and text agree, with parentheses where the order needs them."""
    assert (figure.value, figure.text) == (value, text)


def test_a_step_stands_for_its_formula() -> None:
    """What comes after shows its name, and still knows which inputs are in it."""
    sheet = Sheet({"a": 6, "b": 4, "c": 0.5})
    area = sheet.step("area", sheet["a"] * sheet["b"], "m2")
    assert (area * sheet["c"]).text == "area 24 * c 0.5"
    assert (area * sheet["c"]).uses == {"a", "b", "c"}
    assert [(step.name, step.figure.text, step.unit) for step in sheet.steps.values()] == [("area", "a 6 * b 4", "m2")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (31_536_000_000, "31,536,000,000"), (1234.5678, "1,235"), (26.1, "26.1"), (0.0000133334, "0.0000133334"),
     (0.1 + 0.2, "0.3")],
)  # fmt: skip
def test_numbers_are_readable(value: float, text: str) -> None:
    """Whole ones whole, small ones to their last digit."""
    assert shown(value) == text
