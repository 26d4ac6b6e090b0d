"""Attributes: lists of key-values, read into maps of what JSON can say."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Raw, Struct

from lmdp.core.otlp import lenient
from lmdp.core.otlp.model import NO_ATTRIBUTES, Attributes, Double, Integer, Value
from lmdp.core.otlp.scalars import double, signed, written
from lmdp.errors import MALFORMED, TOO_DEEP, MessageError

# How deep arrays and key-value lists may be nested in JSON: a limit of our own, since Python's would depend on how deep
# the caller is. Protobuf's reader stops at 100 messages within each other: 49 arrays, or 33 lists of two messages each.
_DEEPEST = 64


class _AnyValue(Struct, forbid_unknown_fields=True, gc=False):
    stringValue: str | None = None
    boolValue: bool | None = None
    intValue: Integer = None
    doubleValue: Double = None
    arrayValue: _Array | None = None
    kvlistValue: _KeyValues | None = None
    bytesValue: str | None = None


class _Array(Struct, forbid_unknown_fields=True):
    values: list[_AnyValue] | None = None


class _KeyValue(Struct, forbid_unknown_fields=True, gc=False):
    key: str | None = None
    value: _AnyValue | None = None


class _KeyValues(Struct, forbid_unknown_fields=True):
    values: list[_KeyValue] | None = None


_decoder = msgspec.json.Decoder(list[_KeyValue] | None)


def mapping(attributes: Attributes) -> dict[str, Value]:
    """`attributes` as a map, where the last of a key wins; bytes are base64 there, and NaN is its name.

    Raises MessageError where they are no key-values.
    """
    if isinstance(attributes, tuple):
        return {key: value if value.__class__ is str else _plain(value) for key, value in _protobuf(attributes)}
    try:
        items = _key_values(attributes)
        return _texts(items) or {item.key or "": _value(item.value) for item in items}
    except RecursionError as error:
        raise MessageError(MALFORMED, TOO_DEEP) from error


def to_json(attributes: Attributes) -> Raw:
    """`attributes` as the JSON text of a list of key-values; what `mapping` reads."""
    if not isinstance(attributes, tuple):
        return attributes
    if not attributes:
        return NO_ATTRIBUTES
    return Raw(msgspec.json.encode([{"key": key, "value": _wrapped(value)} for key, value in _protobuf(attributes)]))


def _protobuf(attributes: tuple[bytes, ...]) -> list[tuple[str, Value]]:
    from lmdp.core.otlp.protobuf import key_values  # noqa: PLC0415 - LogicMonitor sends JSON; this costs 20 ms

    return key_values(attributes)


def _texts(items: list[_KeyValue]) -> dict[str, Value] | None:
    """The map where all values are text, as nearly always."""
    try:
        found = {item.key or "": item.value.stringValue for item in items}  # type: ignore[union-attr]
    except AttributeError:  # one without a value
        return None
    return None if None in found.values() else found


def _key_values(text: Raw) -> list[_KeyValue]:
    try:
        return _decoder.decode(text) or []
    except msgspec.ValidationError:
        return _decoder.decode(lenient.canonical_attributes(bytes(text))) or []
    except msgspec.DecodeError as error:
        raise MessageError(MALFORMED, f"JSON: {error}") from error


def _value(value: _AnyValue | None, depth: int = 0) -> Value:
    if value is None:
        return None
    if value.stringValue is not None:
        return value.stringValue
    if value.boolValue is not None:
        return value.boolValue
    if value.intValue is not None:
        return signed(value.intValue, "intValue")
    if value.doubleValue is not None:
        return written(double(value.doubleValue, "doubleValue"))
    return _nested(value, depth + 1)


def _nested(value: _AnyValue, depth: int) -> Value:
    if depth > _DEEPEST:
        raise MessageError(MALFORMED, TOO_DEEP)
    if value.arrayValue is not None:
        return [_value(item, depth) for item in value.arrayValue.values or []]
    if value.kvlistValue is not None:
        return {item.key or "": _value(item.value, depth) for item in value.kvlistValue.values or []}
    if value.bytesValue is not None:
        return _base64(value.bytesValue)
    return None


def _base64(text: str) -> str:
    # Proto3 JSON takes both alphabets, with or without padding.
    try:
        content = base64.b64decode(
            text.translate(_STANDARD).rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True
        )
        return base64.b64encode(content).decode()
    except (binascii.Error, ValueError) as error:
        raise MessageError(MALFORMED, f"bytesValue: {error}") from error


_STANDARD = str.maketrans("-_", "+/")


def _plain(value: Value) -> Value:
    """A value that came as protobuf, as JSON can say it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return written(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


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
