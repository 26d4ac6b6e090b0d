"""Row events out of Firehose's failed records: keys in any identifier style, checked against the specification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from lmdp.core.encode import row_bytes
from lmdp.core.flatten import Row
from lmdp.core.specification import Field, Spec
from lmdp.errors import ROW_TOO_LARGE, DatapointError
from lmdp.support.row_validator import faults, validator

INVALID: Final = "Row.Invalid"
"""The code of a row event that does not fit the specification."""

_SHOWN: Final = 5

ReadRow: TypeAlias = Callable[[bytes], Row]


def row_reader(spec: Spec, max_row_bytes: int) -> ReadRow:
    """What makes a row tuple of a row's JSON, whatever style its keys have. It raises DatapointError."""
    names = {field.name.upper(): field.name for field in spec.fields}
    checks = validator(spec)

    def read(raw: bytes) -> Row:
        given = _named(raw, names)
        if found := faults(msgspec.json.encode(given), spec, checks):
            raise DatapointError(INVALID, "; ".join(found[:_SHOWN]))
        row = tuple(_value(field, given.get(field.name)) for field in spec.fields)
        if row_bytes(row, spec) > max_row_bytes:
            raise DatapointError(ROW_TOO_LARGE, f"the row has more than {max_row_bytes:,} bytes")
        return row

    return read


def _named(raw: bytes, names: Mapping[str, str]) -> dict[str, msgspec.Raw]:
    """The row's values by the specification's names: `orgId` for the keys `orgId`, `"orgId"` and `ORGID`."""
    try:
        given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DatapointError(INVALID, f"no JSON object: {error}") from error
    named: dict[str, msgspec.Raw] = {}
    for key, value in given.items():
        bare = key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key
        name = names.get(bare.upper(), key)
        if name in named:
            raise DatapointError(INVALID, f"{name}: given twice")
        named[name] = value
    return named


def _value(field: Field, value: msgspec.Raw | None) -> Any:
    """A row tuple's value; a map stays the text that it was, so that the row is the same row, and is never missing."""
    if field.type == "map":
        return "{}" if value is None else bytes(value).decode()
    if value is None:
        return None
    decoded = msgspec.json.decode(value)
    return int(decoded) if field.type == "milliseconds" else decoded
