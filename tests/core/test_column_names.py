"""The styles of a row's keys."""

from __future__ import annotations

import json

import pytest

from lmdp import Message, TransformSettings, encode, transform
from lmdp.core.column_names import KEY_STYLES, KeyStyle, key_overhead, styled
from lmdp.core.specification import load_spec

BUNDLE = (
    b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"hostId","value":{"stringValue":"1"}}]},"scopeMetrics":'
    b'[{"scope":{"name":"CPU"},"metrics":[{"name":"m","gauge":{"dataPoints":[{"timeUnixNano":"1000000","asInt":"1"}]}}'
    b"]}]}]}"
)


@pytest.mark.parametrize(
    ("style", "keys"),
    [
        ("quoted", ["orgId", "deviceId", "tsUnixMs"]),
        ("wrapped", ['"orgId"', '"deviceId"', '"tsUnixMs"']),
        ("upper", ["ORGID", "DEVICEID", "TSUNIXMS"]),
    ],
)
def test_keys_of_a_row(style: KeyStyle, keys: list[str]) -> None:
    """A row's keys are written in the style that is set, its values are the same."""
    done = transform([Message(BUNDLE)], TransformSettings(org_id="acme"))
    (row,) = encode(done.rows, styled(load_spec(), style))
    assert set(keys) <= json.loads(row).keys()
    assert list(json.loads(row).values()) == list(json.loads(encode(done.rows)[0]).values())


def test_overhead() -> None:
    """No style makes a row longer than what is kept free for it."""
    row = tuple(
        "{}" if field.type == "map" else 1 if field.type in ("number", "milliseconds") else "x"
        for field in load_spec().fields
    )
    plain = len(encode([row])[0])
    for style in KEY_STYLES:
        assert len(encode([row], styled(load_spec(), style))[0]) - plain == key_overhead(load_spec(), style)
