"""The basis of a bill: prices and quantities, those of the package or your own."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from lmdp.support.opening import read_bytes
from lmdp.support.printable import did_you_mean

Certainty: TypeAlias = Literal["sure", "likely", "unsure", "given"]
Kind: TypeAlias = Literal["deployed", "measured", "documented", "assumed", "given"]
"""`given`: on the command line or in a file; `deployed`: the default of the stacks."""

_CERTAINTIES: Final[tuple[str, ...]] = get_args(Certainty)
_TEXTS: Final = ("unit", "region", "source", "date", "note")
_DIVISORS: Final = (
    "zones", "batch", "window_seconds", "partitions", "memory_mib", "vcpu_mib", "vcpu_speed",
    "read_rows_second", "write_rows_second",
)  # fmt: skip


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


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity. `about` explains it, and names the setting that changes it where there is one."""

    name: str
    value: float
    unit: str
    kind: Kind
    about: str


@cache
def data(file: str, package: str = "lmdp.cost") -> dict[str, Any]:
    """Return a TOML file of a package."""
    return tomllib.loads(resources.files(package).joinpath(file).read_text("utf-8"))


def shipped_prices() -> dict[str, Price]:
    """Return the prices that come with the package, by name."""
    return {
        name: Price(name, float(entry["value"]), certainty=entry["certainty"], **_texts(entry))
        for name, entry in data("prices.toml").items()
    }


def shipped_quantities() -> dict[str, Quantity]:
    """Return every quantity by name."""
    return {name: Quantity(name, **entry) for name, entry in data("bill.toml")["quantities"].items()}


def prices_with_file(prices: Mapping[str, Price], file: Path, faults: list[str]) -> dict[str, Price]:
    """Return the prices, with those of a TOML file of the same form in their place; only `value` is required."""
    try:
        found = tomllib.loads(read_bytes(file).decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        faults.append(f"--prices {file} cannot be read: {error}")
        return dict(prices)
    changed = dict(prices)
    for name, entry in found.items():
        if name not in prices:
            faults.append(
                f"{file} has a price {name!r}, which there is not{did_you_mean(name, prices)}; see --list-prices"
            )
        elif fault := _fault(entry):
            faults.append(f"{file}: {name} {fault}")
        else:
            texts = {"source": str(file), "note": "", **_texts(entry)}
            certainty = entry.get("certainty", "given")
            changed[name] = replace(prices[name], value=float(entry["value"]), certainty=certainty, **texts)
    return changed


def prices_with(prices: Mapping[str, Price], given: Mapping[str, float]) -> dict[str, Price]:
    """Return the prices, with those of the command line in their place; every name is there."""
    marks: Any = {"certainty": "given", "source": "--price", "note": ""}
    return {**prices, **{name: replace(prices[name], value=value, **marks) for name, value in given.items()}}


def quantities_with(
    quantities: Mapping[str, Quantity], given: Mapping[str, float], faults: list[str]
) -> dict[str, Quantity]:
    """Return the quantities, with those of the command line in their place; a fault for a divisor of 0."""
    faults += [f"--set {name} is 0; it is more than 0" for name in _DIVISORS if given.get(name) == 0]
    return {**quantities, **{name: replace(quantities[name], value=n, kind="given") for name, n in given.items()}}


def amounts(option: str, words: Iterable[str], known: Collection[str], faults: list[str]) -> dict[str, float]:
    """Return the numbers that NAME=VALUE words give to `known` names; what is wrong is added to `faults`."""
    given: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        value = _number(text)
        if not equals:
            faults.append(f"{option} {word!r} is not NAME=VALUE")
        elif name not in known:
            faults.append(
                f"{option} has the name {name!r}, which there is not{did_you_mean(name, known)}; see --list-prices"
            )
        elif value is None:
            faults.append(f"{option} {name} is {text!r}; it is a number from 0 on")
        else:
            given[name] = value
    return given


def is_amount(value: object) -> bool:
    """Return whether this is a number of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if is_amount(value) else None


def _texts(entry: Mapping[str, Any]) -> dict[str, str]:
    return {field: str(entry[field]) for field in _TEXTS if field in entry}


def _fault(entry: object) -> str | None:
    if not isinstance(entry, dict):
        return "is not a table: write [name] and under it value = …"
    if not is_amount(entry.get("value")):
        return f"has the value {entry.get('value')!r}; it is a number from 0 on"
    if entry.get("certainty", "given") not in _CERTAINTIES:
        return f"has the certainty {entry['certainty']!r}; it is one of {', '.join(_CERTAINTIES)}"
    return None
