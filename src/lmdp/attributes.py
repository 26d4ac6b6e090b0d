"""Attribute maps: which of their values are promoted to columns, and the JSON text of the rest.

A map is kept as *members*: key → `"key":value` as JSON, sorted by key, so that the same map is always the same text and
another key can be put in its place without reading the map again.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring as quote
from typing import TypeAlias

import msgspec

from lmdp.otlp.model import Attributes, Value
from lmdp.otlp.numbers import written
from lmdp.otlp.values import pairs
from lmdp.spec_loader import Source

Members: TypeAlias = dict[str, str]

RESERVED = "otlp."
"""The prefix of the program's own keys."""

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
    if value.__class__ is str:
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number_text(value) if value - value == 0 else str(written(value))
    return base64.b64encode(value).decode() or None if isinstance(value, bytes) else None


def first(sources: Iterable[Source], values: Mapping[str, Value]) -> tuple[str | None, str | None]:
    """The first of `sources` that has a value, and the key that leaves the map because of it."""
    for source in sources:
        found = column_text(values.get(source.key))
        if found is not None:
            return found, source.key if source.moved else None
    return None, None


class Digest:
    """A datapoint's attributes, ready for its rows: what is asked for is written once."""

    __slots__ = ("_split", "_text", "promoted", "size", "values")

    def __init__(self, promoted: tuple[str | None, ...], values: dict[str, Value]) -> None:
        self.promoted = promoted
        self.values = values
        self.size = sum(len(value) for value in promoted if value)  # in characters
        self._text: str | None = None
        self._split: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        """The map as JSON text."""
        if self._text is None:
            self._text = _written(self.values)
        return self._text

    @property
    def split(self) -> tuple[str, str] | None:
        """The text before and after the reserved keys; None where the source uses one itself."""
        if self._split is None and not any(key.startswith(RESERVED) for key in self.values):
            before = {key: value for key, value in self.values.items() if key < RESERVED}
            after = {key: value for key, value in self.values.items() if key > RESERVED}
            self._split = (
                _written(before)[:-1] + "," if before else "{",
                "," + _written(after)[1:] if after else "}",
            )
        return self._split

    @property
    def members(self) -> Members:
        """The map as members."""
        return members(self.values)


def digester(fields: tuple[tuple[Source, ...], ...]) -> Callable[[Attributes], Digest]:
    """A function that digests datapoint attributes by the sources of `fields`, and remembers those it saw.

    The same instance is polled every minute with the same attributes, so that most are in the cache; it is emptied
    when full. Attributes that are no key-values raise Refused.
    """
    cache: dict[bytes, Digest] = {}

    def digest(attributes: Attributes) -> Digest:
        if isinstance(attributes, list):
            return _digest(attributes, fields)
        key = bytes(attributes)
        found = cache.get(key)
        if found is None:
            found = _digest(pairs(attributes), fields)
            if len(key) <= _CACHED_BYTES:
                if len(cache) >= _CACHED:
                    cache.clear()
                cache[key] = found
        return found

    return digest


def _digest(attributes: list[tuple[str, Value]], fields: tuple[tuple[Source, ...], ...]) -> Digest:
    values = dict(attributes)
    found = [first(sources, values) for sources in fields]
    for _, key in found:
        if key is not None:
            values.pop(key, None)
    return Digest(tuple(value for value, _ in found), values)


def _written(values: dict[str, Value]) -> str:
    """A map as JSON text; most have nothing but text in them."""
    if all(value.__class__ is str for value in values.values()):
        return _encode(values).decode()
    return _encode(_plain(values)).decode()


def _json(value: Value) -> str:
    if value.__class__ is str:
        return quote(value)
    return _encode(_plain(value)).decode()


def _plain(value: Value) -> Value:
    """`value` as JSON can say it: bytes as base64, and what is no finite number as its name."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return written(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
