"""Row to JSON: one object a row, as Firehose takes it and as a line of NDJSON holds it (without the newline)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from lmdp.identifiers import KeyStyle, styled
from lmdp.spec_loader import Spec, load_spec

_NUMBER_AND_MAPS = 4  # the last columns: the value, and what is JSON text already
_MAPS = 3
_ATTRIBUTES = -3
_LONG = 512  # characters from which on a text is remembered


def encode(rows: Iterable[Sequence[Any]], spec: Spec | None = None, *, identifiers: KeyStyle = "quoted") -> list[bytes]:
    """Each row as one JSON object in UTF-8; a field without a value is left out.

    `identifiers` says how the keys are written, so that Firehose finds the columns: `orgId`, `"orgId"` or `ORGID`.
    """
    return list(map(_writer(spec or load_spec(), identifiers), rows))


def row_bytes(row: Sequence[Any], spec: Spec | None = None, known: dict[tuple[bool, str], int] | None = None) -> int:
    """How many bytes `row` has as JSON.

    `known` remembers the long texts that rows share: a message may have a million rows too large, each with the same
    resource, and to write it for each would take hours.
    """
    short, more = list(row), 0
    if known is not None:
        for at, value in enumerate(row):
            if isinstance(value, str) and len(value) >= _LONG and at != len(row) + _ATTRIBUTES:
                more += _known_bytes(value, at >= len(row) - _MAPS, known)
                short[at] = ""
    return more + len(_writer(spec or load_spec(), "quoted")(short))


def _known_bytes(text: str, is_json: bool, known: dict[tuple[bool, str], int]) -> int:  # noqa: FBT001 - a key's part
    """Bytes of `text` in a row, without quotes around it."""
    size = known.get((is_json, text))
    if size is None:
        size = len(text.encode()) if is_json else len(msgspec.json.encode(text)) - len('""')
        known[is_json, text] = size
    return size


@functools.lru_cache(maxsize=8)
def _writer(spec: Spec, identifiers: KeyStyle) -> Callable[[Sequence[Any]], bytes]:
    """A function that writes a row of `spec`."""
    keys = tuple(field.name for field in styled(spec, identifiers).fields)
    made = _dictionary(keys) if any('"' in key for key in keys) else _structure(keys)
    to_json = msgspec.json.Encoder().encode
    plain = len(keys) - _NUMBER_AND_MAPS

    def write(row: Sequence[Any]) -> bytes:
        value, attributes, resource, scope = row[plain:]
        try:
            return to_json(made(*row[:plain], value, Raw(attributes), Raw(resource), Raw(scope)))
        except OverflowError:  # beyond 64 bits, as the sum of a histogram's buckets can be
            return to_json(made(*row[:plain], Raw(str(value)), Raw(attributes), Raw(resource), Raw(scope)))

    return write


def _structure(keys: Sequence[str]) -> Callable[..., Any]:
    """What makes an object of values, in C: it leaves out what is None."""
    names = {f"c{at}": key for at, key in enumerate(keys)}
    fields = [(name, Any, None) for name in names]
    return msgspec.defstruct("RowEvent", fields, rename=names, omit_defaults=True, gc=False)


def _dictionary(keys: Sequence[str]) -> Callable[..., Any]:
    """The same for keys with quotes in them, which no struct can have."""
    return lambda *values: {key: value for key, value in zip(keys, values, strict=True) if value is not None}
