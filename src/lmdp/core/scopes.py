"""What the datapoints of one scope share: the promoted columns, and the maps of the resource and the scope as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from msgspec import Raw

from lmdp.core.attributes import written_map
from lmdp.core.otlp import model
from lmdp.core.otlp.values import mapping
from lmdp.core.promotion import Rules

_NO_SCOPE = model.InstrumentationScope()

# What is remembered: devices, bytes of the attributes of each, DataSources of each. Some 50 MB at the very most.
_RESOURCES = 4_096
_RESOURCE_BYTES = 4_096
_SCOPES = 64


class Shared(NamedTuple):
    """What depends on the resource and the scope's name alone: the same for every poll of a device's DataSource."""

    columns: tuple[str | None, ...]
    fallback: tuple[str | None, ...]  # for the datapoint columns, where the datapoint has none
    moved: frozenset[str]  # keys that left the scope's map
    missing: str  # why a required one has no value; empty where all have
    resource: str  # the map, as JSON text
    size: int  # characters of all this in a row


class Scope(NamedTuple):
    """What the datapoints of one scope share."""

    shared: Shared
    maps: tuple[str, str]  # the resource's and the scope's, as JSON text
    size: int  # characters of all this in a row
    epochs: tuple[model.Value, Raw]  # where a poll's time may be: attribute, field


class Resource:
    """A resource's attributes, and what they gave for the scopes that were seen."""

    __slots__ = ("shared", "values")

    def __init__(self, values: dict[str, model.Value]) -> None:
        self.values = values
        self.shared: dict[str, Shared] = {}


@dataclass(frozen=True, slots=True)
class Scopes:
    """Reads resources and scopes by the rules. Devices come again with every poll, so that they are remembered."""

    rules: Rules
    _seen: dict[bytes, Resource]

    @classmethod
    def of(cls, rules: Rules) -> Scopes:
        """A reader that remembers nothing yet."""
        return cls(rules, {})

    def resource(self, given: model.Resource | None) -> Resource:
        """The attributes of a resource. Raises MessageError where they are no key-values."""
        if given is None:
            return Resource({})
        if isinstance(given.attributes, list):
            return Resource(mapping(given.attributes))
        key = bytes(given.attributes)
        found = self._seen.get(key)
        if found is None:
            found = Resource(mapping(given.attributes))
            if len(key) <= _RESOURCE_BYTES:
                if len(self._seen) >= _RESOURCES:
                    self._seen.clear()
                self._seen[key] = found
        return found

    def scope(self, given: model.InstrumentationScope | None, resource: Resource) -> Scope:
        """What the datapoints of a scope share. Raises MessageError where its attributes are no key-values."""
        scope = given or _NO_SCOPE
        name, values = scope.name or "", mapping(scope.attributes)
        shared = self._shared(name, values, resource)
        epochs = values.get("epoch"), scope.epoch
        for key in shared.moved:
            del values[key]
        if name:
            values["name"] = name
        if scope.version:
            values["version"] = scope.version
        text = written_map(values)
        return Scope(shared, (shared.resource, text), shared.size + len(text), epochs)

    def _shared(self, name: str, scope: dict[str, model.Value], resource: Resource) -> Shared:
        found = resource.shared.get(name)
        if found is None:
            found = _share(self.rules, name, scope, resource.values)
            if not self.rules.reads_scopes:
                if len(resource.shared) >= _SCOPES:
                    resource.shared.clear()
                resource.shared[name] = found
        return found


def _share(rules: Rules, name: str, scope: dict[str, model.Value], resource: dict[str, model.Value]) -> Shared:
    promoted = rules.promote(name, scope, resource)
    text = written_map({key: value for key, value in resource.items() if ("resource", key) not in promoted.moved})
    return Shared(
        promoted.columns,
        promoted.fallback,
        frozenset(key for level, key in promoted.moved if level == "scope"),
        promoted.missing,
        text,
        len(text) + sum(map(len, filter(None, promoted.columns))),
    )


def field_epoch(field: Raw) -> object:
    """A scope's `epoch` where it is a field of its own; None where it is not given, or no double holds it."""
    try:
        return msgspec.json.decode(field)
    except msgspec.DecodeError:
        return None
