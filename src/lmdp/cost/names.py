"""NAME=VALUE from the command line, and which name was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from math import isfinite


def near(name: str, known: Collection[str]) -> str:
    """A hint at the name that was meant, if one is near."""
    found = get_close_matches(name, known, n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def amounts(option: str, words: Iterable[str], known: Collection[str], faults: list[str]) -> dict[str, float]:
    """The numbers that `words` give to `known` names; what is wrong goes to `faults`."""
    given: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        value = _number(text)
        if not equals:
            faults.append(f"{option} {word!r} is not NAME=VALUE")
        elif name not in known:
            faults.append(f"{option} has the name {name!r}, which there is not{near(name, known)}; see --list-prices")
        elif value is None:
            faults.append(f"{option} {name} is {text!r}; it is a number from 0 on")
        else:
            given[name] = value
    return given


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None
