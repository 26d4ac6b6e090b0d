"""What a chart shows, as the address has it: read again it is the same, and what cannot be read does no harm."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

import pytest

from lmdp.page.address import State, address, parse
from lmdp.page.selection import Picture, Selection, moment_ms, written

CPU = Selection("acme", "7", "Cpu", None, "CpuUsage")
TOP = Selection("", "", "Net", None, "InOctets", "rate", "sum", "device")


@pytest.mark.parametrize(
    "picture",
    [
        Picture((CPU,), "6h"),
        Picture((CPU, TOP), span=(1_795_860_300_000, 1_795_863_901_000)),
        Picture(),
    ],
)
def test_a_picture_is_what_its_address_shows(picture: Picture) -> None:
    """Selections, a range that ends now, and one that does not."""
    assert Picture.of(parse(address("explore", picture.state()))[1]) == picture


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"range": "6h", "s": '[["acme","7","Cpu",null,"CpuUsage","raw"]]'},
         Picture((Selection("acme", "7", "Cpu", None, "CpuUsage", "raw"),), "6h")),
        ({"s": '[["acme","7","Cpu",null,"CpuUsage","pie"]]'}, Picture((CPU,))),
        ({"s": "[1]", "range": "own"}, Picture()),
        ({"s": f'[["a","b","c",null,"m","","","",{"[" * 7_000}'}, Picture()),
        ({"s": "no", "range": "2026-11-28T11:00:00Z,2026-11-28T10:00:00Z"}, Picture()),
        ({"range": "2026-13-28T11:00:00Z,2026-11-28T10:00:00Z"}, Picture()),
    ],
)  # fmt: skip
def test_an_address_of_any_kind_is_read(state: State, expected: Picture) -> None:
    """An older version's, and ones that nobody wrote: what is wrong is as at first."""
    assert Picture.of(state) == expected


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-11-28 14:05", UTC, 1_795_874_700_000),
        (" 2026-11-28T14:05:07Z ", UTC, 1_795_874_707_000),
        ("2026-11-28 14:05", ZoneInfo("America/New_York"), 1_795_892_700_000),
        ("2026-11-28 2:05 PM", UTC, None),
        ("2026-02-30 10:00", UTC, None),
        ("", UTC, None),
    ],
)
def test_a_time_is_of_its_zone(text: str, zone: tzinfo, expected: int | None) -> None:
    """Hours are from 0 to 23; what is no time is none."""
    assert moment_ms(text, zone) == expected
    if expected is not None:
        assert moment_ms(written(expected, zone), zone) == expected
