"""OTLP/JSON as the wild writes it, made canonical: the slow way, taken only by what the strict reader refuses.

A document is parsed with its numbers kept as text and rebuilt by a table of what belongs where: names as in the .proto
file become those of OTLP/JSON, nulls go, a number or boolean in place of text becomes its own JSON text, an odd number
becomes text that is read later. What cannot be read either way is refused. Unknown fields go too, unless they held the
data. The result is JSON that the strict reader takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from lmdp.core.otlp.formats import outdated
from lmdp.errors import MALFORMED, NOT_METRICS, TOO_DEEP, MessageError

_ABSENT: Any = object()
_NAMED, _NAMED_CHARACTERS = 5, 60  # unknown fields that a reason names


class _Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


class _Found:
    """Findings of the walk: datapoints, unknown fields with something in them, and what only old OTLP has."""

    __slots__ = ("ignored", "outdated", "points")

    def __init__(self) -> None:
        self.points = 0
        self.ignored: dict[str, None] = {}  # names, in their order
        self.outdated = ""


Rule: TypeAlias = "Callable[[Any, _Found], Any]"
Members: TypeAlias = dict[str, tuple[str, Rule]]
"""Each spelling of a field's name → the canonical one, and the rule for what is in it."""


class _MisplacedError(Exception):
    """A value that cannot be where it is; the containers around it add the path, the innermost first."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.path: list[str] = []


def canonical(text: bytes) -> bytes:
    """One metrics request, canonical. Raises MessageError."""
    found = _Found()
    built = _rebuilt(text, _metrics_data, found)
    if found.outdated:
        raise MessageError(NOT_METRICS, outdated(found.outdated))
    if built.get("resourceMetrics") and found.ignored and not found.points:
        # A name may have half a surrogate pair, which nothing could write.
        short = (name[:_NAMED_CHARACTERS].encode("utf-8", "replace").decode() for name in list(found.ignored)[:_NAMED])
        names = ", ".join(short)
        raise MessageError(NOT_METRICS, f"no datapoint in it could be read; unknown to OTLP 1.0: {names}")
    return _encoded(built)


def canonical_attributes(text: bytes) -> bytes:
    """One list of key-values, canonical. Raises MessageError."""
    built = _rebuilt(text, _KEY_VALUES, _Found())
    return _encoded([] if built is _ABSENT else built)


def _encoded(built: Any) -> bytes:
    try:
        return msgspec.json.encode(built)
    except RecursionError as error:
        raise MessageError(MALFORMED, TOO_DEEP) from error
    except ValueError as error:  # half a surrogate pair
        raise MessageError(MALFORMED, f"JSON: {error}") from error


def _rebuilt(text: bytes, rule: Rule, found: _Found) -> Any:
    try:
        tree = json.loads(text.decode(), parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
        return rule(tree, found)
    except RecursionError as error:
        raise MessageError(MALFORMED, TOO_DEEP) from error
    except ValueError as error:
        raise MessageError(MALFORMED, f"JSON: {error}") from error
    except _MisplacedError as error:
        raise MessageError(MALFORMED, f"{error.text} at ${''.join(reversed(error.path))}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON; OTLP writes it as text")


def _wrong(what: str, value: object) -> _MisplacedError:
    kind = {dict: "an object", list: "an array", bool: "a boolean", _Number: "a number"}.get(type(value), "text")
    return _MisplacedError(f"expected {what}, got {kind}")


def _text(value: Any, _found: _Found) -> Any:
    if value.__class__ is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return str(value)
    raise _wrong("text", value)


def _number(value: Any, _found: _Found) -> Any:
    if isinstance(value, str):
        return str(value)
    raise _wrong("a number", value)


def _enum(value: Any, _found: _Found) -> Any:
    # An enum's value that is not known counts as not given, and so does one that could not be known.
    return str(value) if isinstance(value, str) else _ABSENT


def _bool(value: Any, _found: _Found) -> Any:
    if isinstance(value, bool):
        return value
    raise _wrong("true or false", value)


def _as_is(value: Any, found: _Found) -> Any:
    """Keep it, with its numbers as numbers again where they fit."""
    if isinstance(value, _Number):
        return msgspec.Raw(value.encode())
    if isinstance(value, dict):
        return {key: _as_is(item, found) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_is(item, found) for item in value]
    return value


def _list(rule: Rule, *, null: Any = _ABSENT) -> Rule:
    def rebuild(value: Any, found: _Found) -> Any:
        if value.__class__ is not list:
            raise _wrong("an array", value)
        built, at = [], 0
        try:
            for at, item in enumerate(value):  # noqa: B007 - for the path
                made = null if item is None else rule(item, found)
                if made is not _ABSENT:
                    built.append(made)
        except _MisplacedError as error:
            error.path.append(f"[{at}]")
            raise
        return built

    return rebuild


def _object(members: Members) -> Rule:
    def rebuild(value: Any, found: _Found) -> Any:
        if value.__class__ is not dict:
            raise _wrong("an object", value)
        built: dict[str, Any] = {}
        for key, item in value.items():
            if item is None:
                continue
            known = members.get(key)
            if known is None:
                if _holds(item):
                    found.ignored[key] = None
                continue
            name, rule = known
            if name in built:
                raise _MisplacedError(f"{name} is given in both of its spellings")
            try:
                made = rule(item, found)
            except _MisplacedError as error:
                error.path.append(f".{key}")
                raise
            if made is not _ABSENT:
                built[name] = made
        return built

    return rebuild


def _carrier(members: Members, field: str, *, lost: Any) -> Rule:
    """Return the rule of an object with its data in `field`; `lost` is there where an unknown field held it."""
    plain = _object(members)

    def rebuild(value: Any, found: _Found) -> Any:
        built = plain(value, found)
        if not built.get(field) and any(_holds(item) for key, item in value.items() if key not in members):
            return lost if lost is _ABSENT else built | lost
        return built

    return rebuild


def _holds(value: Any) -> bool:
    """Return whether it is text, or an object or array with a value in it, however deep.

    In protobuf text and messages look alike, and a number is no message.
    """
    if value.__class__ is str:
        return bool(value)
    pending = [value] if isinstance(value, dict | list) else []
    while pending:
        inner = pending.pop()
        for item in inner.values() if isinstance(inner, dict) else inner:
            if isinstance(item, dict | list):
                pending.append(item)
            elif item is not None:
                return True
    return False


def _members(**rules: Rule) -> Members:
    """Fields by both of their names: as in OTLP/JSON, and as in the .proto file."""
    found = {name: (name, rule) for name, rule in rules.items()}
    return found | {snake(name): pair for name, pair in found.items()}


def snake(name: str) -> str:
    """A field's name as in the .proto file."""
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


_VALUE: Members = {}  # filled below, because a value can hold values
_any_value = _object(_VALUE)
_KEY_VALUES = _list(_object(_members(key=_text, value=_any_value)))
_VALUE.update(
    _members(
        stringValue=_text,
        boolValue=_bool,
        intValue=_number,
        doubleValue=_number,
        arrayValue=_object(_members(values=_list(_any_value, null={}))),
        kvlistValue=_object(_members(values=_KEY_VALUES)),
        bytesValue=_text,
    )
)
_NUMBERS = _list(_number, null="null")  # a null among bucket counts is no number, and is refused as such
_POINT: dict[str, Rule] = {
    "attributes": _KEY_VALUES,
    "startTimeUnixNano": _number,
    "timeUnixNano": _number,
    "flags": _number,
}
_NUMBER_POINT = {**_POINT, "asDouble": _number, "asInt": _number, "exemplars": _list(_as_is)}
_DISTRIBUTION = {
    **_POINT,
    **dict.fromkeys(("count", "sum", "min", "max"), _number),
    "exemplars": _list(_as_is),
}
_BUCKETS = _object(_members(offset=_number, bucketCounts=_NUMBERS))
_QUANTILE = _object(_members(quantile=_number, value=_number))


def _data(members: dict[str, Rule], **more: Rule) -> Rule:
    """Return the rule of one kind of data: datapoints with these `members`, and what they have in common."""
    return _carrier(_members(dataPoints=_points(members), **more), "dataPoints", lost=_ABSENT)


def _points(members: dict[str, Rule]) -> Rule:
    plain = _object(_members(**members))

    def rebuild(value: Any, found: _Found) -> Any:
        built = plain(value, found)
        found.points += 1
        if not built.get("attributes") and _holds(value.get("labels")):
            found.outdated = "labels"
        return built

    return _list(rebuild)


_METRIC = _object(
    _members(
        name=_text,
        description=_text,
        unit=_text,
        gauge=_data(_NUMBER_POINT),
        sum=_data(_NUMBER_POINT, aggregationTemporality=_enum, isMonotonic=_bool),
        histogram=_data(
            {**_DISTRIBUTION, "bucketCounts": _NUMBERS, "explicitBounds": _NUMBERS}, aggregationTemporality=_enum
        ),
        exponentialHistogram=_data(
            {
                **_DISTRIBUTION,
                **dict.fromkeys(("scale", "zeroCount", "zeroThreshold"), _number),
                **dict.fromkeys(("positive", "negative"), _BUCKETS),
            },
            aggregationTemporality=_enum,
        ),
        summary=_data({**_POINT, "count": _number, "sum": _number, "quantileValues": _list(_QUANTILE)}),
        metadata=_as_is,
    )
)
_SCOPE = _object(
    _members(name=_text, version=_text, attributes=_KEY_VALUES, epoch=_as_is, droppedAttributesCount=_as_is)
)
_LOST: dict[str, Any] = {"metrics": [{}]}  # counts as a metric whose data is unknown
_SCOPE_METRICS = _carrier(_members(scope=_SCOPE, metrics=_list(_METRIC), schemaUrl=_text), "metrics", lost=_LOST)
_RESOURCE = _object(_members(attributes=_KEY_VALUES, droppedAttributesCount=_as_is, entityRefs=_as_is))
_RENAMED = ("instrumentationLibraryMetrics", "instrumentation_library_metrics")
_carried_resource_metrics = _carrier(
    _members(resource=_RESOURCE, scopeMetrics=_list(_SCOPE_METRICS), schemaUrl=_text),
    "scopeMetrics",
    lost={"scopeMetrics": (_LOST,)},
)


def _resource_metrics(value: Any, found: _Found) -> Any:
    built = _carried_resource_metrics(value, found)
    # Senders of both spellings wrote the same metrics twice, while scopes were new.
    if built.get("scopeMetrics") == (_LOST,) and any(_holds(value.get(name)) for name in _RENAMED):
        found.outdated = _RENAMED[0]
    return built


_plain_metrics_data = _object(_members(resourceMetrics=_list(_resource_metrics)))


def _metrics_data(value: Any, found: _Found) -> Any:
    built = _plain_metrics_data(value, found)
    # Null is an empty bundle, absent is none: the one place where they differ.
    given = "resourceMetrics" in value or "resource_metrics" in value
    return {"resourceMetrics": None, **built} if given else built
