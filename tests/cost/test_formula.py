"""Arithmetic written as text."""

from __future__ import annotations

import pytest

from lmdp.cost.formula import evaluate, filled_in, names, shown

NUMBERS = {"a": 6, "b": 4, "c_2": 0.5}


@pytest.mark.parametrize(
    ("formula", "value", "text"),
    [
        ("a * b", 24, "6 * 4"),
        ("a / b", 1.5, "6 / 4"),
        ("a / (b * c_2)", 3, "6 / (4 * 0.5)"),
        ("a + b * c_2", 8, "6 + 4 * 0.5"),
        ("a - (b - c_2)", 2.5, "6 - (4 - 0.5)"),
        ("ceil(a / b)", 2, "ceil(6 / 4)"),
        ("floor(a / b)", 1, "floor(6 / 4)"),
        ("max(a, b, 7) - min(a, b)", 3, "max(6, 4, 7) - min(6, 4)"),
        ("a * 1_000 / 1e3", 6, "6 * 1_000 / 1e3"),
        ("a / 0", 0, "6 / 0"),
        ("0 < b < a", True, "0 < 4 < 6"),
        ("b < a < c_2", False, "4 < 6 < 0.5"),
    ],
)
def test_a_formula_has_a_value_and_can_be_filled_in(formula: str, value: float, text: str) -> None:
    """Python's order of operations; nothing by nothing is nothing."""
    assert (evaluate(formula, NUMBERS), filled_in(formula, NUMBERS)) == (value, text)


def test_the_names_of_a_formula() -> None:
    """Functions are none."""
    assert names("ceil(a / b) * max(c_2, 1e9)") == {"a", "b", "c_2"}


@pytest.mark.parametrize(
    "formula",
    ["a **  b", "a.real", "'text'", "print(a)", "max(a, b, key=a)", "a if b else c_2", "a > b", "-a", "[a]", "a +", ""],
)
def test_anything_else_is_refused(formula: str) -> None:
    """A formula executes nothing: it has arithmetic and four functions."""
    with pytest.raises(ValueError, match="formula"):
        evaluate(formula, NUMBERS)


def test_an_unknown_name_is_refused() -> None:
    """It is a mistake in the file."""
    with pytest.raises(KeyError, match="d"):
        evaluate("a + d", NUMBERS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (31_536_000_000, "31,536,000,000"), (1234.5678, "1,235"), (26.1, "26.1"), (0.0000133334, "0.0000133334"),
     (0.1 + 0.2, "0.3")],
)  # fmt: skip
def test_numbers_are_readable(value: float, text: str) -> None:
    """Whole ones whole, small ones to their last digit."""
    assert shown(value) == text
