"""Number formats of the page and the live view: separators, units, times."""

from __future__ import annotations

from datetime import UTC, datetime

NONE = "\u2013"
_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: float | None) -> str:
    """Return a whole number with separators: 12,345."""
    return NONE if number is None else f"{round(number):,}"


def rate(number: float | None) -> str:
    """Return a number per second: 0.4, 12, 12,345."""
    if number is None:
        return NONE
    return f"{number:,.1f}" if 0 < number < 10 else f"{round(number):,}"


def size(number: float | None) -> tuple[str, str]:
    """Return bytes with their unit: ("352", "MB")."""
    if number is None:
        return NONE, ""
    at = 0
    while abs(number) >= 999.5 and at < len(_BYTES) - 1:
        number, at = number / 1000, at + 1
    return (f"{number:.1f}" if at and abs(number) < 9.95 else f"{number:.0f}"), _BYTES[at]


def span(seconds: float | None) -> tuple[str, str]:
    """Return a time in the largest unit that fits: ("420", "ms"), ("2.5", "s"), ("3.1", "h")."""
    if seconds is None:
        return NONE, ""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if abs(seconds) >= length:
            number = seconds / length
            return (f"{number:.1f}" if number < 10 else f"{number:.0f}"), unit
    return f"{seconds * 1000:.0f}", "ms"


def width(ms: float) -> str:
    """Return the time that a point covers: "10 s", "2 h"."""
    for length, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if ms >= length and ms % length == 0:
            return f"{ms // length:g} {unit}"
    return f"{ms:g} ms"


def together(figure: tuple[str, str]) -> str:
    """Return a figure and its unit as one text."""
    return " ".join(part for part in figure if part)


def moment(ms: float | None) -> str:
    """Return Unix ms as a UTC time."""
    return NONE if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(ms: float) -> str:
    """Return Unix ms as a UTC time of RFC 3339: 2026-11-28T14:05:00Z."""
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds" if ms % 1000 else "seconds")
    return text.replace("+00:00", "Z")
