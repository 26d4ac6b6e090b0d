"""Where reading goes on when what was wanted is not there."""

from __future__ import annotations

import pytest

from lmdp.machine.kafka.positions import reset, truncated_at


@pytest.mark.parametrize(
    ("wanted", "low", "high", "cut", "continues", "lost", "told"),
    [
        (50, 120, 500, None, 120, 70, "LOST: 70 messages of t-0 (offsets 50 to 119) had passed"),
        (100, 0, 80, None, 80, 0, "up to offset 100, and they end at 80 now"),
        (100, 0, 110, 80, 80, 0, "up to offset 100, and they end at 80 now"),  # 30 new ones took the place of 20
        (100, 90, 110, 80, 90, 10, "LOST: 10 messages of t-0 (offsets 80 to 89)"),
        (100, 120, 130, 80, 120, 40, "LOST: 40 messages of t-0 (offsets 80 to 119)"),
        (100, 0, 110, 100, 100, 0, "did not give offset 100 for a moment"),
        (100, 0, 110, 105, 100, 0, "did not give offset 100 for a moment"),
        (100, 0, 110, None, 100, 0, "did not give offset 100 for a moment"),
        (0, 0, 0, None, 0, 0, "did not give offset 0 for a moment"),
    ],
)
def test_where_it_continues(
    wanted: int, low: int, high: int, cut: int | None, continues: int, lost: int, told: str
) -> None:
    """Never behind a message that is there and was not read, and never before one that was read and is still there."""
    found = reset("t-0", wanted, low, high, cut)
    assert found.offset == continues
    assert found.lost_from == (continues - lost if lost else None)
    assert told in found.text


@pytest.mark.parametrize(
    ("told", "cut"),
    [
        (
            "Partition log truncation detected at offset 100 (leader epoch 0): broker end offset is 80 (offset",
            80,
        ),
        ("fetch failed due to requested offset not available on the broker: Broker: Offset out of range", None),
        ("No epoch found less or equal to 7: broker end offset is -1 (offset leader epoch -1)", None),
        ("", None),
    ],
)
def test_where_a_log_was_cut(told: str, cut: int | None) -> None:
    """It is told in words alone; without them nothing is known of a cut."""
    assert truncated_at(told) == cut
