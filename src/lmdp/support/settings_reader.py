"""Reader for settings: texts by name, checked, with every fault gathered; and the names of all settings."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lmdp.errors import SettingsError

PREFIXES: Final = ("LMDP_", "SNOWFLAKE_", "RETENTION_")
"""The beginnings of the names of settings."""

_MESSAGE_LIMITS: Final = {
    "max_decompressed_bytes": ("LMDP_MAX_DECOMPRESSED_BYTES", 2**30),
    "max_message_memory": ("LMDP_MAX_MESSAGE_MEMORY", 2**36),
    "max_message_row_bytes": ("LMDP_MAX_MESSAGE_ROW_BYTES", 2**31),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Values by name, and the faults that were found so far."""

    values: Mapping[str, str]
    faults: list[str] = field(default_factory=list)

    def given(self, name: str) -> str:
        """Return the value without surrounding white space; empty when it is not set."""
        return self.values.get(name, "").strip()

    def fault(self, text: str) -> None:
        """Add a fault."""
        self.faults.append(text)

    def text(self, name: str, shape: str | re.Pattern[str], what: str, *, default: str = "") -> str:
        """Return a required text of a shape (a regular expression); `what` completes the sentence 'it is …'."""
        value = self.given(name) or default
        if not value:
            self.fault(f"{name} is not set; it is {what}")
        elif not re.fullmatch(shape, value):
            self.fault(f"{name} is {value!r}; it is {what}")
        return value

    def optional(self, name: str, shape: str | re.Pattern[str], what: str) -> str | None:
        """Return a text of a shape, or None when it is not set."""
        return self.text(name, shape, what) if self.given(name) else None

    def number(self, name: str, least: int, most: int, *, default: int | None = None) -> int:
        """Return a whole number; required when it has no default."""
        value = self.given(name)
        if not value and default is not None:
            return default
        if not value:
            self.fault(f"{name} is not set; it is a whole number from {least:,} to {most:,}")
        elif not re.fullmatch(r"\d{1,15}", value) or not least <= int(value) <= most:
            self.fault(f"{name} is {value!r}; it is a whole number from {least:,} to {most:,}")
        else:
            return int(value)
        return least

    def optional_number(self, name: str, least: int, most: int) -> int | None:
        """Return a whole number, or None when it is not set."""
        return self.number(name, least, most) if self.given(name) else None

    def decimal(self, name: str, default: float, least: float, most: float) -> float:
        """Return a number that may have a fraction."""
        value = self.given(name)
        try:
            number = float(value or default)
        except ValueError:
            number = float("nan")
        if not least <= number <= most:
            self.fault(f"{name} is {value!r}; it is a number from {least:,g} to {most:,g}")
            return default
        return number

    def yes(self, name: str) -> bool:
        """Return whether it is `true`; `false` when it is not set."""
        value = self.given(name).lower() or "false"
        if value not in {"true", "false"}:
            self.fault(f"{name} is {value!r}; it is true or false")
        return value == "true"

    def listed(self, name: str, shape: str, what: str, *, least: int = 0) -> tuple[str, ...]:
        """Return texts of a shape, which are separated by commas."""
        values = tuple(part.strip() for part in self.given(name).split(",") if part.strip())
        wrong = [value for value in values if not re.fullmatch(shape, value)]
        if wrong or len(values) < least:
            found = "is not set" if not values else f"has {', '.join(map(repr, wrong or values))}"
            self.fault(f"{name} {found}; it is {what}")
        return values


def message_limits(read: Reader, **defaults: int) -> dict[str, int]:
    """Return the limits of one message that are given, over `defaults`: bytes, by the names of the core's settings."""
    given = {
        name: read.number(variable, 1, most)
        for name, (variable, most) in _MESSAGE_LIMITS.items()
        if read.given(variable)
    }
    return defaults | given


def configured_limits(env: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the limits of one message that the environment has. Raises SettingsError, which names every fault."""
    read = Reader(env)
    limits = message_limits(read)
    if read.faults:
        raise SettingsError.of(read.faults)
    return limits


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this machine's own."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def known() -> frozenset[str]:
    """Return the name of every setting that lmdp, its stacks and its tools read (`make docs` lists them)."""
    return frozenset(Path(__file__).with_name("settings.txt").read_text("utf-8").split())


def unread(names: Iterable[str]) -> list[str]:
    """Return those of these settings that nothing reads, each with the nearest known name; sorted.

    SNOWFLAKE_ and RETENTION_ are also prefixes of other programs: a name that is like none of ours is theirs.
    """
    ours, read = sorted(name for name in names if name.startswith(PREFIXES)), known()
    if read.issuperset(ours):
        return []
    from difflib import get_close_matches  # noqa: PLC0415 - loaded only for a name that is unknown

    unknown = [name for name in ours if name not in read]
    near = {name: get_close_matches(name, read, 1, 0.6 if name.startswith("LMDP_") else 0.85) for name in unknown}
    return [
        f"{name} (did you mean {near[name][0]}?)" if near[name] else name
        for name in unknown
        if near[name] or name.startswith("LMDP_")
    ]
