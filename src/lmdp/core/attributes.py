"""Attribute maps: which of their values are promoted to columns, and the JSON text of the rest.

A map is kept as *members*: key → `"key":value` as JSON, sorted by key, so that the same map is always the same text and
another key can be put in its place without reading the map again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring as quote
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from lmdp.core.otlp.model import Attributes, Value
from lmdp.core.otlp.values import mapping
from lmdp.core.specification import Source

Members: TypeAlias = dict[str, str]

_encode = msgspec.json.Encoder(order="sorted").encode

# What a cache of digests may hold: about 64 MB at LogicMonitor's 470 bytes a datapoint.
_CACHED = 32_768
_CACHED_BYTES = 2_048


def members(values: Mapping[str, Value]) -> Members:
    """The JSON members of a map, sorted by key."""
    return {key: f"{quote(key)}:{_json(values[key])}" for key in sorted(values)}


def text(members: Members) -> str:
    """The map as JSON text."""
    return "{" + ",".join(members.values()) + "}"


def merged(members: Members, extras: Members) -> Members:
    """`members` with `extras`, which win, sorted by key."""
    both = {**members, **extras}
    return {key: both[key] for key in sorted(both)}


def around(members: Members, key: str) -> tuple[str, str]:
    """The JSON text before and after the place of `key`, which is left out where it is there already."""
    before = "".join(member + "," for name, member in members.items() if name < key)
    after = "".join("," + member for name, member in members.items() if name > key)
    return "{" + before, after + "}"


def number_text(number: float) -> str:
    """The shortest decimal that reads back to the same double, without a trailing `.0`; `+Inf`, `-Inf`, `NaN`."""
    written = repr(number)
    return _NAMES.get(written) or written.removesuffix(".0")


_NAMES = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def column_text(value: Value) -> str | None:
    """An attribute's value as the text of a column; None where it is empty, or is no scalar."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return number_text(value) if isinstance(value, float) else None


def first(sources: Iterable[Source], values: Mapping[str, Value]) -> tuple[str | None, str | None]:
    """The first of `sources` that has a value, and the key that leaves the map because of it."""
    for source in sources:
        value = values.get(source.key)
        found = (value or None) if value.__class__ is str else column_text(value)
        if found is not None:
            return found, source.key if source.moved else None
    return None, None


class Reserved(Struct, gc=False):
    """The program's own keys in the maps of a metric's datapoints."""

    values: dict[str, Any]

    def since(self, began: int | None) -> dict[str, Any]:
        """The same for a datapoint whose time span began at so many milliseconds; None: it has none."""
        return self.values if began is None else self.values | {"otlp.startTimeUnixMs": began}


class Digest(Struct, gc=False):
    """A datapoint's attributes, ready for its rows."""

    promoted: tuple[str | None, ...]
    values: dict[str, Any]
    size: int  # characters of what is promoted
    reserved: Reserved | None = None
    began: int | None = None
    written: str = ""  # the map with these two: the same from poll to poll

    def text(self, reserved: Reserved, began: int | None) -> str:
        """The map with these keys, as JSON text."""
        if reserved is not self.reserved or began != self.began:
            self.written = written_map(self.values | reserved.since(began))
            self.reserved, self.began = reserved, began
        return self.written


def digester(fields: tuple[tuple[Source, ...], ...]) -> Callable[[Attributes], Digest]:
    """A function that digests datapoint attributes by the sources of `fields`, and remembers those it saw.

    The same instance is polled every minute with the same attributes, so that most are in the cache; it is emptied
    when full. Attributes that are no key-values raise MessageError.
    """
    cache: dict[bytes, Digest] = {}

    def digest(attributes: Attributes) -> Digest:
        if isinstance(attributes, list):
            return _digest(attributes, fields)
        key = bytes(attributes)
        found = cache.get(key)
        if found is None:
            found = _digest(attributes, fields)
            if len(key) <= _CACHED_BYTES:
                if len(cache) >= _CACHED:
                    cache.clear()
                cache[key] = found
        return found

    return digest


def _digest(attributes: Attributes, fields: tuple[tuple[Source, ...], ...]) -> Digest:
    values = mapping(attributes)
    promoted, moved, size = [], [], 0
    for sources in fields:
        found, key = first(sources, values)
        promoted.append(found)
        size += len(found or "")
        if key is not None:
            moved.append(key)
    for key in moved:
        values.pop(key, None)
    return Digest(tuple(promoted), values, size)


def written_map(values: Mapping[str, Value]) -> str:
    """A map as JSON text, its keys sorted."""
    return _encode(values).decode()


def _json(value: Value) -> str:
    return quote(value) if value.__class__ is str else _encode(value).decode()
