"""Row events out of failed records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lmdp import encode
from lmdp.core.column_names import KEY_STYLES, KeyStyle, row_key, styled
from lmdp.errors import DatapointError
from lmdp.machine.sink import Load
from lmdp.replay.retry import row_reader
from lmdp.support.row_validator import faults, validator
from replay.failures import SPEC, row_json

if TYPE_CHECKING:
    from lmdp.machine.warehouse.warehouse import Warehouse

READ = row_reader(SPEC, 10_000)
ROW = row_json(7, value=2**60 + 1, attributes={"b": 1.50, "a": ["é"]}, resource={}, instance="i-7")


@pytest.mark.parametrize("style", KEY_STYLES)
@pytest.mark.parametrize("wanted", KEY_STYLES)
def test_keys_in_any_style_become_those_of_any_other(style: KeyStyle, wanted: KeyStyle) -> None:
    """A row that failed with one style of keys is written with another; its values are as they were."""
    failed = json.dumps({row_key(name, style): value for name, value in ROW.items()}).encode()
    (again,) = encode([READ(failed)], styled(SPEC, wanted))
    assert json.loads(again) == {row_key(name, wanted): value for name, value in ROW.items()}


def test_a_row_is_the_same_row() -> None:
    """What this program wrote comes back byte for byte, so that a repeat is known as one."""
    written = encode([READ(json.dumps(ROW).encode())])
    assert encode([READ(written[0])]) == written


@pytest.mark.parametrize(
    ("raw", "code", "text"),
    [
        (b"", "Row.Invalid", "not a JSON object"),
        (b"[1]", "Row.Invalid", "not a JSON object"),
        (b"\xff", "Row.Invalid", "not a JSON object"),
        (b"{}", "Row.Invalid", "'orgId' is a required property"),
        ({**ROW, "more": 1}, "Row.Invalid", "'more' was unexpected"),
        ({**ROW, "ORGID": "acme"}, "Row.Invalid", "orgId: given twice"),
        ({**ROW, "value": "1"}, "Row.Invalid", "is not of type 'number'"),
        ({**ROW, "unit": None}, "Row.Invalid", "None is not of type 'string'"),
        ({**ROW, "tsUnixMs": 5}, "Row.Invalid", "but tsUnixMs 5 is"),
        ({**ROW, "attributes": {"a": "x" * 10_000}}, "Row.TooLarge", "more than 10,000 bytes"),
        (b'{"attributes":' + b"[" * 100_000, "Row.Invalid", "not a JSON object"),
    ],
    ids=range(11),
)
def test_what_is_no_row(raw: Any, code: str, text: str) -> None:
    """A row that does not fit the specification says why."""
    with pytest.raises(DatapointError, match=text) as caught:
        READ(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"attributes": None, "resource": None, "scope": None}, {"attributes": {}, "resource": {}, "scope": {}}),
        ({"value": 10**300}, {"value": 1e300}),
        ({"value": -0.0}, {"value": 0.0}),
        ({"tsUnixMs": float(ROW["tsUnixMs"])}, {"tsUnixMs": ROW["tsUnixMs"]}),
        ({"orgId": "a\x00b"}, {"orgId": "a\x00b"}),
        ({"attributes": {"a": [None, {"b": 2**70}]}}, {"attributes": {"a": [None, {"b": 2**70}]}}),
    ],
    ids=range(6),
)
def test_whatever_validates_is_replayed(
    warehouse: Warehouse, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """A row event that `lmdp validate` accepts becomes a row of the warehouse; None leaves the field out."""
    event = {name: value for name, value in {**ROW, **changes}.items() if value is not None}
    line = json.dumps(event).encode()
    assert faults(line, SPEC, validator(SPEC)) == []
    warehouse.commit(Load([READ(line)], [], [], datetime.now(UTC)))
    (row,) = warehouse.query("SELECT * FROM ROW_EVENTS").table.to_pylist()
    found = {name: json.loads(row[name]) if isinstance(value, dict) else row[name] for name, value in expected.items()}
    assert found == expected


def test_a_value_beyond_a_double_is_refused_by_both() -> None:
    """Neither `validate` nor `replay` takes an integer that no double holds."""
    line = json.dumps({**ROW, "value": 10**400}).encode()
    assert faults(line, SPEC, validator(SPEC)) == ["value is beyond the largest double"]
    with pytest.raises(DatapointError, match="beyond the largest double") as caught:
        READ(line)
    assert caught.value.code == "Row.Invalid"
