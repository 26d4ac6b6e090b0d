"""Prices: the dated file that comes with the package, and what somebody knows better."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from lmdp.cost.names import near
from lmdp.support.opening import read_bytes

Certainty: TypeAlias = Literal["sure", "likely", "unsure", "given"]
"""`given`: the person who asks gave it."""

_CERTAINTIES: Final[tuple[str, ...]] = get_args(Certainty)
_TEXTS: Final = ("unit", "region", "source", "note")


@dataclass(frozen=True, slots=True)
class Price:
    """One price in `region`, without tax, discount or free tier; `unit` says what is paid for what.

    `source` is the page that has it, `date` when it was looked up.
    """

    name: str
    value: float
    unit: str
    region: str
    certainty: Certainty
    source: str
    date: str
    note: str


def shipped() -> dict[str, Price]:
    """The prices that come with the package, by name."""
    text = resources.files("lmdp.cost").joinpath("prices.toml").read_text("utf-8")
    return {name: _price(name, entry) for name, entry in tomllib.loads(text).items()}


def with_file(prices: Mapping[str, Price], file: Path, faults: list[str]) -> dict[str, Price]:
    """The prices, with those of a TOML file of the same form in their place; only `value` has to be there."""
    try:
        found = tomllib.loads(read_bytes(file).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        faults.append(f"--prices {file} cannot be read: {error}")
        return dict(prices)
    changed = dict(prices)
    for name, entry in found.items():
        if name not in prices:
            faults.append(f"{file} has a price {name!r}, which there is not{near(name, prices)}; see --list-prices")
        elif fault := _fault(entry):
            faults.append(f"{file}: {name} {fault}")
        else:
            texts = {field: str(entry[field]) for field in (*_TEXTS, "date") if field in entry}
            changed[name] = replace(prices[name], **{"source": str(file), "note": "", **texts},
                                    value=float(entry["value"]), certainty=entry.get("certainty", "given"))  # fmt: skip
    return changed


def with_given(prices: Mapping[str, Price], given: Mapping[str, float]) -> dict[str, Price]:
    """The prices, with those of the command line in their place; every name is there."""
    changed = {
        name: replace(prices[name], value=value, certainty="given", source="--price", note="")
        for name, value in given.items()
    }
    return {**prices, **changed}


def is_amount(value: object) -> bool:
    """Return whether this is a number of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _price(name: str, entry: Mapping[str, Any]) -> Price:
    texts = {field: str(entry[field]) for field in (*_TEXTS, "date")}
    return Price(name=name, value=float(entry["value"]), certainty=entry["certainty"], **texts)


def _fault(entry: object) -> str | None:
    if not isinstance(entry, dict):
        return "is not a table: write [name] and under it value = …"
    if not is_amount(entry.get("value")):
        return f"has the value {entry.get('value')!r}; it is a number from 0 on"
    if entry.get("certainty", "given") not in _CERTAINTIES:
        return f"has the certainty {entry['certainty']!r}; it is one of {', '.join(_CERTAINTIES)}"
    return None
