"""What a schema says of a row event, and what it cannot say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmdp.core.specification import load_spec
from lmdp.support.row_validator import faults, validator

ROW: dict[str, Any] = {
    "orgId": "acme",
    "deviceId": "7",
    "datasource": "Cpu",
    "metric": "CpuUsage",
    "type": "gauge",
    "ts": "2025-11-24T16:00:00.000Z",
    "tsUnixMs": 1_764_000_000_000,
    "value": 1.5,
    "attributes": {},
    "resource": {},
    "scope": {"name": "Cpu"},
}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"value": 3}, []),
        ({"deviceName": "web-1", "unit": "%"}, []),
        ({"tsUnixMs": 1_764_000_000_000.0}, []),
        ({"tsUnixMs": 1_764_000_000_001}, ["ts is 2025-11-24T16:00:00.000Z, but tsUnixMs"]),
        ({"ts": "2025-11-24T16:00:00Z"}, ["ts"]),
        ({"tsUnixMs": 10**18}, ["tsUnixMs"]),
        ({"tsUnixMs": 10**30}, ["tsUnixMs"]),
        ({"type": "counter"}, ["$.type"]),
        ({"metric": ""}, ["$.metric"]),
        ({"value": True}, ["$.value"]),
        ({"unit": None}, ["$.unit"]),
        ({"attributes": []}, ["$.attributes"]),
        ({"other": 1}, ["other"]),
    ],
)
def test_faults(changed: dict[str, Any], told: list[str]) -> None:
    """Each fault names its field; a row without fault has none."""
    spec = load_spec()
    found = faults(json.dumps(ROW | changed).encode(), spec, validator(spec))
    assert len(found) == len(told), found
    assert [text in fault for text, fault in zip(told, found, strict=True)] == [True] * len(told), found


@pytest.mark.parametrize("name", ["orgId", "deviceId", "datasource", "metric", "type", "ts", "tsUnixMs", "value"])
def test_a_missing_required_field(name: str) -> None:
    """Each of them is missed by name."""
    spec = load_spec()
    row = {key: value for key, value in ROW.items() if key != name}
    (found,) = faults(json.dumps(row).encode(), spec, validator(spec))
    assert name in found


@pytest.mark.parametrize("line", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b"null", b"[]", b'"x"', b"7"])
def test_what_is_no_object(line: bytes) -> None:
    """Anything else than an object is one fault, or several, and no exception."""
    spec = load_spec()
    assert faults(line, spec, validator(spec))
