"""Row to JSON: one object, its fields in their order, nothing null."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmdp import encode
from lmdp.core.encode import row_bytes

ROW = (
    "acme",
    "1",
    "n",
    "CPU",
    "i",
    "M",
    "%",
    "gauge",
    "2024-05-09T14:05:58.360Z",
    1715263558360,
    1.5,
    '{"a":1}',
    "{}",
    "{}",
)
LINE = (
    '{"orgId":"acme","deviceId":"1","deviceName":"n","datasource":"CPU","instance":"i","metric":"M","unit":"%",'
    '"type":"gauge","ts":"2024-05-09T14:05:58.360Z","tsUnixMs":1715263558360,"value":1.5,"attributes":{"a":1},'
    '"resource":{},"scope":{}}'
)


def changed(**columns: Any) -> tuple[Any, ...]:
    """ROW with other values, by the column's name."""
    return tuple({**dict(zip(json.loads(LINE), ROW, strict=True)), **columns}.values())


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (ROW, LINE),
        (changed(deviceName=None), LINE.replace('"deviceName":"n",', "")),
        (
            changed(deviceName=None, instance=None, unit=None),
            LINE.replace('"deviceName":"n",', "").replace('"instance":"i",', "").replace('"unit":"%",', ""),
        ),
        (changed(value=0), LINE.replace("1.5", "0")),
        (changed(value=-0.0), LINE.replace("1.5", "-0.0")),
        (changed(value=7.0), LINE.replace("1.5", "7.0")),
        (changed(value=1e22), LINE.replace("1.5", "1e22")),
        (changed(value=5e-324), LINE.replace("1.5", "5e-324")),
        (changed(value=0.1 + 0.2), LINE.replace("1.5", "0.30000000000000004")),
        (changed(value=2**64), LINE.replace("1.5", "18446744073709551616")),
        (changed(tsUnixMs=-1), LINE.replace("1715263558360", "-1")),
        (changed(metric='"\\/'), LINE.replace('"M"', '"\\"\\\\/"')),
        (changed(metric="\x00\n\x1f\x7f"), LINE.replace('"M"', '"\\u0000\\n\\u001f\x7f"')),
        (changed(metric="é日\u2028\U0001f600"), LINE.replace('"M"', '"é日\u2028\U0001f600"')),
        (changed(attributes='{"é":"\\n"}'), LINE.replace('{"a":1}', '{"é":"\\n"}')),
    ],
)
def test_row(row: tuple[Any, ...], line: str) -> None:
    """One JSON object in UTF-8 without a newline, which reads back to the row, and whose size is what is said."""
    (written,) = encode([row])
    assert written == line.encode()
    assert row_bytes(row) == len(written)
    assert b"\n" not in written
    assert [value for value in row[:11] if value is not None] == list(json.loads(written).values())[:-3]


def test_many_rows() -> None:
    """One object a row, in their order; none for none."""
    assert encode([]) == []
    assert encode([ROW, changed(value=2.5)]) == [LINE.encode(), LINE.replace("1.5", "2.5").encode()]


@pytest.mark.parametrize("row", [ROW[:-1], (*ROW, "x")])
def test_a_row_has_all_columns(row: tuple[Any, ...]) -> None:
    """A row of another width is a fault of the program, and no half row is written."""
    with pytest.raises(ValueError, match="columns"):
        encode([row])
