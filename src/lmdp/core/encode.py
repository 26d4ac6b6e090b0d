"""Row to JSON: one object a row, as Firehose takes it and as a line of NDJSON holds it (without the newline)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec import Raw

from lmdp.core.column_names import KeyStyle, styled
from lmdp.core.specification import Spec, load_spec

_PORTION = 500  # rows at once: more of them do not fit a core's cache
_VALUE = -4
_MAPS = 3  # the last columns, which are JSON text already
_ATTRIBUTES = -3
_LONG = 512  # characters from which on a text is remembered


def encode(rows: Iterable[Sequence[Any]], spec: Spec | None = None, *, identifiers: KeyStyle = "quoted") -> list[bytes]:
    """Each row as one JSON object in UTF-8; a field without a value is left out.

    `identifiers` says how the keys are written, so that Firehose finds the columns: `orgId`, `"orgId"` or `ORGID`.
    """
    write, left = _writer(spec or load_spec(), identifiers), iter(rows)
    written: list[bytes] = []
    while portion := list(islice(left, _PORTION)):
        written += write(portion)
    return written


def row_bytes(row: Sequence[Any], spec: Spec | None = None, known: dict[tuple[bool, str], int] | None = None) -> int:
    """Return how many bytes `row` has as JSON.

    `known` remembers the long texts that rows share: a message may have a million rows too large, each with the same
    resource, and to write it for each would take hours.
    """
    short, more = list(row), 0
    if known is not None:
        for at, value in enumerate(row):
            if isinstance(value, str) and len(value) >= _LONG and at != len(row) + _ATTRIBUTES:
                more += _known_bytes(value, at >= len(row) - _MAPS, known)
                short[at] = ""
    (written,) = encode([short], spec)
    return more + len(written)


def _known_bytes(text: str, is_json: bool, known: dict[tuple[bool, str], int]) -> int:  # noqa: FBT001 - a key's part
    """Bytes of `text` in a row, without quotes around it."""
    size = known.get((is_json, text))
    if size is None:
        size = len(text.encode()) if is_json else len(msgspec.json.encode(text)) - len('""')
        known[is_json, text] = size
    return size


@functools.lru_cache(maxsize=8)
def _writer(spec: Spec, identifiers: KeyStyle) -> Callable[[Sequence[Sequence[Any]]], list[bytes]]:
    """A function that writes rows of `spec`, column by column so that no Python runs for each of them."""
    keys = tuple(field.name for field in styled(spec, identifiers).fields)
    made = _dictionary(keys) if any('"' in key for key in keys) else _structure(keys)
    to_json = msgspec.json.Encoder().encode

    def write(rows: Sequence[Sequence[Any]]) -> list[bytes]:
        columns = list(zip(*rows, strict=True))
        if len(columns) != len(keys):
            raise ValueError(f"rows of {len(columns)} columns; the specification has {len(keys)}")
        columns[-_MAPS:] = [tuple(map(Raw, column)) for column in columns[-_MAPS:]]
        try:
            return list(map(to_json, map(made, *columns)))
        except OverflowError:  # beyond 64 bits, as the sum of a histogram's buckets can be
            columns[_VALUE] = tuple(map(_any_number, columns[_VALUE]))
            return list(map(to_json, map(made, *columns)))

    return write


def _any_number(value: float) -> Any:
    return Raw(str(value)) if isinstance(value, int) else value


def _structure(keys: Sequence[str]) -> Callable[..., Any]:
    """Return what makes an object of values, in C: it leaves out what is None."""
    names = {f"c{at}": key for at, key in enumerate(keys)}
    fields = [(name, Any, None) for name in names]
    return msgspec.defstruct("RowEvent", fields, rename=names, omit_defaults=True, gc=False)


def _dictionary(keys: Sequence[str]) -> Callable[..., Any]:
    """The same for keys with quotes in them, which no struct can have."""
    return lambda *values: {key: value for key, value in zip(keys, values, strict=True) if value is not None}
