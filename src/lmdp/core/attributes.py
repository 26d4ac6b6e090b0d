"""Attributes as a row has them: a value as the text of a column, a map as JSON text with its keys sorted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from lmdp.core.otlp.model import Value

_encode = msgspec.json.Encoder(order="sorted").encode
_NAMES: Final = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}
_PLACE: Final = "@"  # not JSON, so that `"key":@` occurs once: within a text, quotes are escaped


def map_text(values: Mapping[str, Value]) -> str:
    """Return a map as JSON text, its keys sorted."""
    return _encode(values).decode()


def map_text_around(values: Mapping[str, Any], key: str) -> tuple[str, str]:
    """Return the JSON text before and after the value that `key` is to have in a map, now or later."""
    before, place, after = _encode({**values, key: Raw(_PLACE.encode())}).decode().partition(f'"{key}":{_PLACE}')
    return before + place.removesuffix(_PLACE), after


def number_text(number: float) -> str:
    """Return the shortest decimal that reads back to the same double, without a final `.0`; `+Inf`, `-Inf`, `NaN`."""
    written = repr(number)
    return _NAMES.get(written) or written.removesuffix(".0")


def column_text(value: Value) -> str | None:
    """Return an attribute's value as the text of a column; None where it is empty, or is no scalar."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return number_text(value) if isinstance(value, float) else None


class ReservedKeys(Struct, gc=False):
    """The program's own keys in the maps of a metric's datapoints."""

    values: dict[str, Any]

    def since(self, start: int | None) -> dict[str, Any]:
        """Return the keys for a datapoint whose time span began at `start` (ms since 1970); None: it has none."""
        return self.values if start is None else self.values | {"otlp.startTimeUnixMs": start}


class PointAttributes(Struct, gc=False):
    """A datapoint's attributes, ready for its rows."""

    promoted: tuple[str | None, ...]
    values: dict[str, Any]
    size: int  # characters of what is promoted
    reserved: ReservedKeys | None = None
    start: int | None = None
    written: str = ""  # the map with these two: the same from poll to poll

    def text(self, reserved: ReservedKeys, start: int | None) -> str:
        """Return the map with these keys, as JSON text."""
        if reserved is not self.reserved or start != self.start:
            self.written = map_text(self.values | reserved.since(start))
            self.reserved, self.start = reserved, start
        return self.written
