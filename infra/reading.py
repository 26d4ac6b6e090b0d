"""Reads single settings out of text, and gathers everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reader:
    """Values by name, and the faults that were found so far."""

    values: Mapping[str, str]
    faults: list[str] = field(default_factory=list)

    def given(self, name: str) -> str:
        """The value, without white space around it; empty when it is not set."""
        return self.values.get(name, "").strip()

    def fault(self, text: str) -> None:
        """Note a fault."""
        self.faults.append(text)

    def text(self, name: str, shape: str, what: str, *, default: str = "") -> str:
        """A required text of a shape (a regular expression); `what` completes the sentence 'it is …'."""
        value = self.given(name) or default
        if not value:
            self.fault(f"{name} is not set; it is {what}")
        elif not re.fullmatch(shape, value):
            self.fault(f"{name} is {value!r}; it is {what}")
        return value

    def optional(self, name: str, shape: str, what: str) -> str | None:
        """A text that may be absent."""
        return self.text(name, shape, what) if self.given(name) else None

    def number(self, name: str, least: int, most: int, *, default: int | None = None) -> int:
        """A whole number; required when it has no default."""
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
        """A whole number that may be absent."""
        return self.number(name, least, most) if self.given(name) else None

    def yes(self, name: str) -> bool:
        """`true` or `false`; absent is false."""
        value = self.given(name).lower() or "false"
        if value not in {"true", "false"}:
            self.fault(f"{name} is {value!r}; it is true or false")
        return value == "true"

    def listed(self, name: str, shape: str, what: str, *, least: int = 0) -> tuple[str, ...]:
        """Texts of a shape, separated by commas."""
        values = tuple(part.strip() for part in self.given(name).split(",") if part.strip())
        wrong = [value for value in values if not re.fullmatch(shape, value)]
        if wrong or len(values) < least:
            told = "is not set" if not values else f"has {', '.join(map(repr, wrong or values))}"
            self.fault(f"{name} {told}; it is {what}")
        return values
