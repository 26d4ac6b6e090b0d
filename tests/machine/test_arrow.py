"""Rows as columns, a piece at a time."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.arrow import row_columns, row_pieces

FIELDS = load_spec().fields
MIB = 2**20


def rows(count: int) -> list[tuple[Any, ...]]:
    """Rows that differ in their device."""
    return [
        ("t", str(n), None, "CPU", None, "Load", None, "gauge", "1970-01-01T00:00:00.000Z", 0, n, "{}", "{}", "{}")
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (0, 0, []),
        (5, 0, [5]),
        (25_000, 25_000 * 500, [10_000, 10_000, 5_000]),
        (300, 300 * MIB, [16] * 18 + [12]),
        (2, 100 * MIB, [1, 1]),
    ],
)
def test_pieces_are_small_in_rows_and_in_bytes(count: int, size: int, expected: list[int]) -> None:
    """At most 10,000 rows, and about 16 MiB by what is known of their size; all rows, in their order."""
    given = rows(count)
    pieces = list(row_pieces(given, FIELDS, size))
    assert [piece.num_rows for piece in pieces] == expected
    if pieces:
        assert pa.concat_tables(pieces).equals(row_columns(given, FIELDS))
