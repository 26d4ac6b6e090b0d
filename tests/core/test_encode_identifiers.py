"""How the encoder writes keys, so that Firehose finds the landing table's columns."""

from __future__ import annotations

import json

import pytest

import simulated_day as day
from lmdp.core.column_names import KeyStyle
from lmdp.core.encode import encode
from lmdp.core.specification import load_spec


@pytest.mark.parametrize(
    ("style", "keys"),
    [
        ("quoted", ["orgId", "tsUnixMs"]),
        ("wrapped", ['"orgId"', '"tsUnixMs"']),
        ("upper", ["ORGID", "TSUNIXMS"]),
    ],
)
def test_keys_are_written_in_the_style(style: KeyStyle, keys: list[str]) -> None:
    """The values are the same in every style; a wrapped key has literal quotes."""
    rows = [day.row(day.BEGIN, 1.5)]
    (plain,), (styled,) = encode(rows), encode(rows, load_spec(), identifiers=style)
    found = json.loads(styled)
    assert list(found.values()) == list(json.loads(plain).values())
    assert set(keys) <= set(found)
