"""Arithmetic written as text: parsed, checked and evaluated, never executed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from math import ceil, floor
from typing import Final


def _divide(one: float, other: float) -> float:
    """Divide; nothing by nothing is nothing: a load of 0 has only fixed costs."""
    return one / other if other else 0.0


_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., float]]] = {"ceil": ceil, "floor": floor, "max": max, "min": min}


def evaluate(formula: str, numbers: Mapping[str, float]) -> float:
    """Return the value of a formula whose names are in `numbers`.

    A formula has + - * / <, ceil, floor, max, min, parentheses, numbers and names. ValueError for anything else,
    KeyError for a name that is not there.
    """
    return _value(_parsed(formula), numbers)


def names(formula: str) -> frozenset[str]:
    """Return the names in a formula."""
    found = {node.id for node in ast.walk(_parsed(formula)) if isinstance(node, ast.Name)}
    return frozenset(found - _FUNCTIONS.keys())


def filled_in(formula: str, numbers: Mapping[str, float]) -> str:
    """Return the formula with each name's number in its place."""
    return re.sub(r"\b[a-z_]\w*", lambda name: shown(numbers[name[0]]) if name[0] in numbers else name[0], formula)


def shown(value: float) -> str:
    """Return a number with the digits that matter."""
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:.10f}".rstrip("0").rstrip(".") or "0"


@cache
def _parsed(formula: str) -> ast.expr:
    try:
        return ast.parse(formula, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{formula!r} is not a formula") from error


def _value(node: ast.expr, numbers: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return numbers[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, numbers), _value(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(one, numbers) for one in args))
        case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, ast.Lt) for op in ops):
            return all(one < other for one, other in pairwise(_value(each, numbers) for each in (left, *others)))
        case _:
            raise ValueError(f"{ast.unparse(node)!r} is not allowed in a formula")
