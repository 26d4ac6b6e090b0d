"""Promotion: which attributes of a resource, scope or datapoint become columns, by the specification's rules.

What the datapoints of one scope share is worked out once for it. Devices come again with every poll, so that what their
attributes gave is cached.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from lmdp.core.attributes import PointAttributes, column_text, map_text
from lmdp.core.otlp import model
from lmdp.core.otlp.model import Attributes, Value
from lmdp.core.otlp.values import mapping
from lmdp.core.specification import Field, Source, Spec
from lmdp.errors import MessageError

_NO_SCOPE = model.InstrumentationScope()

# Caches. Resources: devices, bytes of the attributes of each, DataSources of each: 50 MB at the very most.
_RESOURCES = 4_096
_RESOURCE_BYTES = 4_096
_SCOPES = 64
# Datapoints: about 64 MB at LogicMonitor's 470 bytes each.
_DATAPOINTS = 32_768
_DATAPOINT_BYTES = 2_048


_Key: TypeAlias = bytes | tuple[bytes, ...]
"""Attributes as they came: JSON text, or serialized KeyValues."""


class SharedColumns(NamedTuple):
    """The columns of the resource and the scope's name alone: the same for every poll of a device's DataSource."""

    columns: tuple[str | None, ...]
    fallback: tuple[str | None, ...]  # for the datapoint columns, where the datapoint has none
    moved: frozenset[str]  # keys that left the scope's map
    missing: str  # why a required one has no value; empty where all have
    resource: str  # the map, as JSON text
    size: int  # characters of all this in a row


class Scope(NamedTuple):
    """The parts that the datapoints of one scope share."""

    shared: SharedColumns
    maps: tuple[str, str]  # the resource's and the scope's, as JSON text
    size: int  # characters of all this in a row
    epochs: tuple[Value, Raw]  # where a poll's time may be: attribute, field


class Resource:
    """A resource's attributes, and what they gave for the scopes that were seen."""

    __slots__ = ("shared", "values")

    def __init__(self, values: dict[str, Value]) -> None:
        self.values = values
        self.shared: dict[str, SharedColumns] = {}


@dataclass(frozen=True, slots=True)
class Promotion:
    """The promotion rules of a specification, and caches of what they gave."""

    org_id: str | None
    scope_fields: tuple[Field, ...]
    datapoint_fields: tuple[Field, ...]  # those that can differ between the datapoints of one scope
    datapoint: Callable[[Attributes], PointAttributes]
    metric: Field
    reads_scopes: bool  # whether a column comes from a scope's attributes
    _resources: dict[_Key, Resource] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Spec, org_id: str | None, *, only: bool = False) -> Promotion:
        """Return the rules of `spec`, with `org_id` for the source `setting LMDP_ORG_ID`.

        `only`: a column with that source takes it from nowhere else, whatever the message says.
        """
        promoted = tuple(_only_setting(field) if only else field for field in spec.promoted)
        datapoint_fields = tuple(field for field in promoted if field.per_datapoint)
        return cls(
            org_id=org_id or None,
            scope_fields=tuple(field for field in promoted if not field.per_datapoint),
            datapoint_fields=datapoint_fields,
            datapoint=_cached_datapoints(tuple(_sources(field, "datapoint") for field in datapoint_fields)),
            metric=spec.column("metric name"),
            reads_scopes=any(_sources(field, "scope") for field in promoted),
        )

    def resource(self, given: model.Resource | None) -> Resource:
        """Read the attributes of a resource. Raises MessageError where they are no key-values."""
        if given is None:
            return Resource({})
        key = given.attributes if isinstance(given.attributes, tuple) else bytes(given.attributes)
        found = self._resources.get(key)
        if found is None:
            found = Resource(_read("resource", given.attributes))
            if _size(key) <= _RESOURCE_BYTES:
                if len(self._resources) >= _RESOURCES:
                    self._resources.clear()
                self._resources[key] = found
        return found

    def scope(self, given: model.InstrumentationScope | None, resource: Resource) -> Scope:
        """Read what the datapoints of a scope share. Raises MessageError where its attributes are no key-values."""
        scope = given or _NO_SCOPE
        name, values = scope.name or "", _read("scope", scope.attributes)
        shared = self._shared(name, values, resource)
        epochs = values.get("epoch"), scope.epoch
        for key in shared.moved:
            del values[key]
        if name:
            values["name"] = name
        if scope.version:
            values["version"] = scope.version
        text = map_text(values)
        return Scope(shared, (shared.resource, text), shared.size + len(text), epochs)

    def missing(self, columns: tuple[str | None, ...]) -> str:
        """Return why a required datapoint column has no value; empty where all have."""
        return _missing(self.datapoint_fields, columns)

    def _shared(self, name: str, scope: dict[str, Value], resource: Resource) -> SharedColumns:
        found = resource.shared.get(name)
        if found is None:
            found = self._promote(name, scope, resource.values)
            if not self.reads_scopes:
                if len(resource.shared) >= _SCOPES:
                    resource.shared.clear()
                resource.shared[name] = found
        return found

    def _promote(self, name: str, scope: dict[str, Value], resource: dict[str, Value]) -> SharedColumns:
        moved: set[tuple[str, str]] = set()
        levels: dict[str, Mapping[str, Value]] = {
            "scope": scope,
            "resource": resource,
            "scope name": {"": name},
            "setting": {"LMDP_ORG_ID": self.org_id},
        }
        columns = tuple(_resolve(field, levels, moved) for field in self.scope_fields)
        fallback = tuple(_resolve(field, levels, moved) for field in self.datapoint_fields)
        text = map_text({key: value for key, value in resource.items() if ("resource", key) not in moved})
        return SharedColumns(
            columns,
            fallback,
            frozenset(key for level, key in moved if level == "scope"),
            _missing(self.scope_fields, columns),
            text,
            len(text) + sum(map(len, filter(None, columns))),
        )


def _cached_datapoints(fields: tuple[tuple[Source, ...], ...]) -> Callable[[Attributes], PointAttributes]:
    """Return a function that promotes datapoint attributes by the sources of `fields`, with a cache.

    The same instance is polled every minute with the same attributes, so that most are in the cache; it is emptied
    when full. Attributes that are no key-values raise MessageError.
    """
    cache: dict[_Key, PointAttributes] = {}

    def datapoint(attributes: Attributes) -> PointAttributes:
        key = attributes if isinstance(attributes, tuple) else bytes(attributes)
        found = cache.get(key)
        if found is None:
            found = _datapoint(attributes, fields)
            if _size(key) <= _DATAPOINT_BYTES:
                if len(cache) >= _DATAPOINTS:
                    cache.clear()
                cache[key] = found
        return found

    return datapoint


def _read(level: str, attributes: Attributes) -> dict[str, Value]:
    """Read the attributes of a level. Raises MessageError, which names it."""
    try:
        return mapping(attributes)
    except MessageError as refused:
        raise MessageError(refused.code, f"{level} attributes: {refused.text}") from refused.__cause__


def _size(key: _Key) -> int:
    """Return the bytes that a key of a cache takes."""
    return len(key) if isinstance(key, bytes) else sum(map(sys.getsizeof, key))


def _datapoint(attributes: Attributes, fields: tuple[tuple[Source, ...], ...]) -> PointAttributes:
    values = _read("datapoint", attributes)
    promoted, moved, size = [], [], 0
    for sources in fields:
        found, key = first(sources, values)
        promoted.append(found)
        size += len(found or "")
        if key is not None:
            moved.append(key)
    for key in moved:
        values.pop(key, None)
    return PointAttributes(tuple(promoted), values, size)


def first(sources: Iterable[Source], values: Mapping[str, Value]) -> tuple[str | None, str | None]:
    """Return the value of the first of `sources` that has one, and the key that leaves the map because of it."""
    for source in sources:
        value = values.get(source.key)
        found = (value or None) if value.__class__ is str else column_text(value)
        if found is not None:
            return found, source.key if source.moved else None
    return None, None


def _resolve(field: Field, levels: Mapping[str, Mapping[str, Value]], moved: set[tuple[str, str]]) -> str | None:
    for source in field.sources:
        found, key = first((source,), levels.get(source.level, {}))
        if found is not None:
            if key is not None:
                moved.add((source.level, key))
            return found
    return None


def _missing(fields: tuple[Field, ...], columns: tuple[str | None, ...]) -> str:
    pairs = zip(fields, columns, strict=True)
    return "; ".join(_reason(field) for field, value in pairs if field.required and not value)


def _reason(field: Field) -> str:
    """Return one line for the user: where the value of `field` was looked for, and the remedies."""
    looked = []
    for level in ("datapoint", "scope", "resource"):
        keys = [source.key for source in _sources(field, level)]
        if keys == [field.name]:
            looked.append(f"not in {level} attributes")
        elif keys:
            looked.append(f"none of {', '.join(keys)} in {level} attributes")
    looked += ["the scope has no name" for _ in _sources(field, "scope name")]
    settings = [source.key for source in _sources(field, "setting")]
    looked += [f"{key} is not set" for key in settings]
    remedies = ["give --org-id or set LMDP_ORG_ID" for key in settings if key == "LMDP_ORG_ID"]
    remedies.append(f"add the key that has it to `from` of {field.name} in the specification (LMDP_SPEC)")
    return f"{field.name}: {' and '.join(looked)} ({', or '.join(remedies)})"


def _only_setting(field: Field) -> Field:
    setting = tuple(source for source in field.sources if (source.level, source.key) == ("setting", "LMDP_ORG_ID"))
    return replace(field, sources=setting) if setting else field


def _sources(field: Field, level: str) -> tuple[Source, ...]:
    return tuple(source for source in field.sources if source.level == level)


def field_epoch(field: Raw) -> object:
    """Return a scope's `epoch` where it is a field of its own; None where it is absent, or no double holds it."""
    try:
        return msgspec.json.decode(field)
    except msgspec.DecodeError:
        return None
