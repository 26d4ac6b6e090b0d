"""What the datapoints of one scope share: the promoted columns, and the maps of the resource and the scope as text."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import Raw

from lmdp.attributes import members, text
from lmdp.otlp.model import NO_EPOCH, InstrumentationScope, Resource, Value
from lmdp.otlp.values import pairs
from lmdp.rules import Promoted, Rules

_NO_SCOPE = InstrumentationScope()


@dataclass(frozen=True, slots=True)
class Scope:
    """What the datapoints of one scope share."""

    promoted: Promoted
    resource: str  # the two maps, as JSON text
    scope: str
    epochs: tuple[object, object]  # where a poll's time may be: attribute, field
    size: int  # characters of all this in a row


class Attributes:
    """A resource's attributes, and their JSON text without the ones that were moved."""

    __slots__ = ("_texts", "values")

    def __init__(self, values: dict[str, Value]) -> None:
        self.values = values
        self._texts: dict[frozenset[tuple[str, str]], str] = {}

    def text(self, moved: frozenset[tuple[str, str]]) -> str:
        """The map as JSON, without what was moved."""
        found = self._texts.get(moved)
        if found is None:
            found = self._texts[moved] = _map(self.values, "resource", moved)
        return found


def read_resource(resource: Resource | None) -> Attributes:
    """The attributes of `resource`. Raises Refused where they are no key-values."""
    return Attributes(dict(pairs(resource.attributes)) if resource is not None else {})


def read_scope(scope: InstrumentationScope | None, resource: Attributes, rules: Rules) -> Scope:
    """What the datapoints of `scope` share. Raises Refused where its attributes are no key-values."""
    given = scope or _NO_SCOPE
    values, name = dict(pairs(given.attributes)), given.name or ""
    promoted = rules.promote(name, values, resource.values)
    epoch = values.get("epoch")
    named = {"name": name} if name else {}
    version = {"version": given.version} if given.version else {}
    resource_text = resource.text(promoted.moved)
    scope_text = _map({**values, **named, **version}, "scope", promoted.moved - {("scope", "name")})
    return Scope(
        promoted=promoted,
        resource=resource_text,
        scope=scope_text,
        epochs=(epoch, _number(given.epoch)),
        size=len(resource_text) + len(scope_text) + sum(len(column) for column in promoted.columns if column),
    )


def _map(values: dict[str, Value], level: str, moved: frozenset[tuple[str, str]]) -> str:
    return text(members({key: value for key, value in values.items() if (level, key) not in moved}))


def _number(field: Raw) -> object:
    if field is NO_EPOCH:
        return None
    try:
        return msgspec.json.decode(field)
    except msgspec.DecodeError:  # a number that no double holds
        return None
