"""OTLP/JSON as the wild writes it, made canonical: the slow way round, taken only by what the strict reader refuses.

A document is parsed with its numbers kept as text and rebuilt by a table of what belongs where: nulls go, a number or
boolean in place of text becomes its own JSON text, an odd number becomes text that is read later. What cannot be read
either way is refused. The result is JSON that the strict reader takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from lmdp.refusals import MALFORMED, TOO_DEEP, Refused

_ABSENT: Any = object()

Rule: TypeAlias = "Callable[[Any, str], Any]"


class _Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


def canonical(text: bytes) -> bytes:
    """One metrics request, canonical. Raises Refused."""
    return _rebuilt(text, _METRICS_DATA)


def canonical_attributes(text: bytes) -> bytes:
    """One list of key-values, canonical. Raises Refused."""
    return _rebuilt(text, _KEY_VALUES)


def _rebuilt(text: bytes, rule: Rule) -> bytes:
    try:
        tree = json.loads(text.decode(), parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
        built = rule(tree, "$")
        return msgspec.json.encode([] if built is _ABSENT else built)
    except RecursionError as error:
        raise Refused(MALFORMED, TOO_DEEP) from error
    except ValueError as error:
        raise Refused(MALFORMED, f"JSON: {error}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON; OTLP writes it as text")


def _wrong(what: str, value: object, where: str) -> Refused:
    kind = {dict: "an object", list: "an array", bool: "a boolean", _Number: "a number"}.get(type(value), "text")
    return Refused(MALFORMED, f"expected {what}, got {kind} at {where}")


def _text(value: Any, where: str) -> Any:
    if value.__class__ is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return str(value)
    raise _wrong("text", value, where)


def _number(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return str(value)
    raise _wrong("a number", value, where)


def _enum(value: Any, _where: str) -> Any:
    # An enum's value that is not known counts as not given, and so does one that could not be known.
    if isinstance(value, _Number):
        return int(value) if value.isdecimal() else _ABSENT
    return value if isinstance(value, str) else _ABSENT


def _bool(value: Any, where: str) -> Any:
    if isinstance(value, bool):
        return value
    raise _wrong("true or false", value, where)


def _as_is(value: Any, _where: str) -> Any:
    """Keep it, with its numbers as numbers again where they fit."""
    if isinstance(value, _Number):
        return msgspec.Raw(value.encode())
    if isinstance(value, dict):
        return {key: _as_is(item, _where) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_is(item, _where) for item in value]
    return value


def _list(rule: Rule, *, null: Any = _ABSENT) -> Rule:
    def rebuild(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise _wrong("an array", value, where)
        items = [null if item is None else rule(item, f"{where}[{n}]") for n, item in enumerate(value)]
        return [item for item in items if item is not _ABSENT]

    return rebuild


def _object(members: Callable[[], dict[str, Rule]]) -> Rule:
    def rebuild(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong("an object", value, where)
        rules, built = members(), {}
        for key, item in value.items():
            if item is not None and key in rules:
                made = rules[key](item, f"{where}.{key}")
                if made is not _ABSENT:
                    built[key] = made
        return built

    return rebuild


# Functions, because a value can hold values.
_any_value = _object(lambda: _VALUE)
_KEY_VALUES = _list(_object(lambda: {"key": _text, "value": _any_value}))
_VALUE: dict[str, Rule] = {
    "stringValue": _text,
    "boolValue": _bool,
    "intValue": _number,
    "doubleValue": _number,
    "arrayValue": _object(lambda: {"values": _list(_any_value, null={})}),
    "kvlistValue": _object(lambda: {"values": _KEY_VALUES}),
    "bytesValue": _text,
}
_NUMBERS = _list(_number, null="null")  # a null among bucket counts is no number, and is refused as such
_POINT: dict[str, Rule] = {
    "attributes": _KEY_VALUES,
    "startTimeUnixNano": _number,
    "timeUnixNano": _number,
    "exemplars": _list(_as_is),
    "flags": _number,
}
_STATISTICS: dict[str, Rule] = {"count": _number, "sum": _number, "min": _number, "max": _number}
_BUCKETS = _object(lambda: {"offset": _number, "bucketCounts": _NUMBERS})
_QUANTILE = _object(lambda: {"quantile": _number, "value": _number})


def _data(**point: Rule) -> Rule:
    points = _list(_object(lambda: _POINT | point))
    return _object(lambda: {"dataPoints": points, "aggregationTemporality": _enum, "isMonotonic": _bool})


_NUMBER_DATA = _data(asDouble=_number, asInt=_number)
_METRIC = _object(
    lambda: {
        "name": _text,
        "description": _text,
        "unit": _text,
        "gauge": _NUMBER_DATA,
        "sum": _NUMBER_DATA,
        "histogram": _HISTOGRAM,
        "exponentialHistogram": _EXPONENTIAL,
        "summary": _SUMMARY,
    }
)
_HISTOGRAM: Rule = _data(**_STATISTICS, bucketCounts=_NUMBERS, explicitBounds=_NUMBERS)
_EXPONENTIAL: Rule = _data(
    **_STATISTICS, scale=_number, zeroCount=_number, positive=_BUCKETS, negative=_BUCKETS, zeroThreshold=_number
)
_SUMMARY: Rule = _data(**_STATISTICS, quantileValues=_list(_QUANTILE))
_SCOPE = _object(lambda: {"name": _text, "version": _text, "attributes": _KEY_VALUES, "epoch": _as_is})
_SCOPE_METRICS = _object(lambda: {"scope": _SCOPE, "metrics": _list(_METRIC), "schemaUrl": _text})
_RESOURCE = _object(lambda: {"attributes": _KEY_VALUES})
_RESOURCE_METRICS = _object(lambda: {"resource": _RESOURCE, "scopeMetrics": _list(_SCOPE_METRICS), "schemaUrl": _text})


def _METRICS_DATA(value: Any, where: str) -> Any:  # noqa: N802 - a rule like the others
    built = _object(lambda: {"resourceMetrics": _list(_RESOURCE_METRICS)})(value, where)
    # Null is an empty bundle, absent is none: the one place where they differ.
    return {"resourceMetrics": None, **built} if "resourceMetrics" in value else built
