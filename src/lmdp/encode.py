"""Row to JSON: one object a row, as Firehose takes it and as a line of NDJSON holds it (without the newline)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring as quote
from typing import Any

from lmdp.identifiers import KeyStyle, styled
from lmdp.spec_loader import Spec, load_spec


def encode(rows: Iterable[Sequence[Any]], spec: Spec | None = None, *, identifiers: KeyStyle = "quoted") -> list[bytes]:
    """Each row as one JSON object in UTF-8; a field without a value is left out.

    `identifiers` says how the keys are written, so that Firehose finds the columns: `orgId`, `"orgId"` or `ORGID`.
    """
    fields = spec or load_spec()
    write = _writer(fields if identifiers == "quoted" else styled(fields, identifiers))
    return [write(row).encode() for row in rows]


def row_bytes(row: Sequence[Any], spec: Spec | None = None) -> int:
    """How many bytes `row` has as JSON."""
    return len(_writer(spec or load_spec())(row).encode())


@functools.lru_cache(maxsize=4)
def _writer_of(columns: tuple[tuple[str, str], ...]) -> Callable[[Sequence[Any]], str]:
    written = tuple((f"{quote(name)}:", _WRITE[kind]) for name, kind in columns)

    def write(row: Sequence[Any]) -> str:
        return (
            "{"
            + ",".join([key + how(value) for (key, how), value in zip(written, row, strict=True) if value is not None])
            + "}"
        )

    return write


def _writer(spec: Spec) -> Callable[[Sequence[Any]], str]:
    return _writer_of(tuple((field.name, field.type) for field in spec.fields))


def _as_is(text: str) -> str:
    return text


# repr of a float is the shortest decimal that reads back to it, and is JSON as long as it is finite, which rows are.
_WRITE: dict[str, Callable[[Any], str]] = {
    "text": quote,
    "kind": quote,
    "timestamp": quote,
    "milliseconds": repr,
    "number": repr,
    "map": _as_is,
}
