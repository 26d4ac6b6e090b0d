"""Attributes: lists of key-values, read into pairs of a key and a plain Python value."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Raw, Struct

from lmdp.otlp import lenient
from lmdp.otlp.model import NO_ATTRIBUTES, Attributes, Double, Integer, Value
from lmdp.otlp.numbers import double, signed, written
from lmdp.refusals import MALFORMED, TOO_DEEP, Refused

# How deep arrays and key-value lists may stand in each other: a limit of our own, since Python's would depend on how
# deep the caller is. Protobuf's readers stop before it, at 100 levels of messages.
_DEEPEST = 64


class _AnyValue(Struct, gc=False):
    stringValue: str | None = None
    boolValue: bool | None = None
    intValue: Integer = None
    doubleValue: Double = None
    arrayValue: _Array | None = None
    kvlistValue: _KeyValues | None = None
    bytesValue: str | None = None


class _Array(Struct):
    values: list[_AnyValue] | None = None


class _KeyValue(Struct, gc=False):
    key: str | None = None
    value: _AnyValue | None = None


class _KeyValues(Struct):
    values: list[_KeyValue] | None = None


_decoder = msgspec.json.Decoder(list[_KeyValue] | None)


def mapping(attributes: Attributes) -> dict[str, Value]:
    """`attributes` as a map, where the last of a key wins. Raises Refused where they are no key-values."""
    if isinstance(attributes, list):
        return dict(attributes)
    found: dict[str, Value] = {}
    try:
        for item in _key_values(attributes):
            value = item.value
            text = value.stringValue if value is not None else None
            found[item.key or ""] = _value(value) if text is None else text
    except RecursionError as error:
        raise Refused(MALFORMED, TOO_DEEP) from error
    return found


def to_json(attributes: Attributes) -> Raw:
    """`attributes` as the JSON text of a list of key-values; what `pairs` reads."""
    if isinstance(attributes, list):
        if not attributes:
            return NO_ATTRIBUTES
        return Raw(msgspec.json.encode([{"key": key, "value": _wrapped(value)} for key, value in attributes]))
    return attributes


def _key_values(text: Raw) -> list[_KeyValue]:
    try:
        return _decoder.decode(text) or []
    except msgspec.ValidationError:
        return _decoder.decode(lenient.canonical_attributes(bytes(text))) or []
    except msgspec.DecodeError as error:
        raise Refused(MALFORMED, f"attributes: {error}") from error


def _value(value: _AnyValue | None, depth: int = 0) -> Value:
    if value is None:
        return None
    if value.stringValue is not None:
        return value.stringValue
    if value.boolValue is not None:
        return value.boolValue
    if value.intValue is not None:
        return signed(value.intValue)
    if value.doubleValue is not None:
        return double(value.doubleValue)
    return _nested(value, depth + 1)


def _nested(value: _AnyValue, depth: int) -> Value:
    if depth > _DEEPEST:
        raise Refused(MALFORMED, TOO_DEEP)
    if value.arrayValue is not None:
        return [_value(item, depth) for item in value.arrayValue.values or []]
    if value.kvlistValue is not None:
        return {item.key or "": _value(item.value, depth) for item in value.kvlistValue.values or []}
    if value.bytesValue is not None:
        return _bytes(value.bytesValue)
    return None


def _bytes(text: str) -> bytes:
    # Proto3 JSON takes both alphabets, with or without padding.
    try:
        return base64.b64decode(
            text.translate(_STANDARD).rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise Refused(MALFORMED, f"bytesValue: {error}") from error


_STANDARD = str.maketrans("-_", "+/")


def _wrapped(value: Value) -> dict[str, Any]:
    """A plain value as an AnyValue of OTLP/JSON."""
    if value is None:
        return {}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_wrapped(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": _wrapped(item)} for key, item in value.items()]}}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": written(value)}
    return {_MEMBER[type(value)]: value}


_MEMBER = {str: "stringValue", bool: "boolValue", bytes: "bytesValue"}
