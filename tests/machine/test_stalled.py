"""Partitions that have messages and give none."""

from __future__ import annotations

import time

from lmdp.machine.kafka.log_offsets import Log
from lmdp.machine.kafka.stalled import Stalled


def test_a_partition_is_stalled_when_it_is_behind_at_one_place_for_long() -> None:
    """One that moves, one that is at its end, and one behind an open transaction are not."""
    stalled, logs = Stalled(0.2), {part: Log(0, 10, 20) for part in range(4)}
    assert stalled.look({0: 5, 1: 5, 2: 10, 3: 9, 4: 0}, logs) == []
    time.sleep(0.25)
    assert stalled.look({0: 5, 1: 6, 2: 10, 3: 10, 4: 0}, logs) == [0]
    time.sleep(0.25)
    assert stalled.look({0: 6, 1: 6, 2: 10, 3: 10, 4: 0}, logs) == [1]


def test_the_time_begins_when_messages_are_there() -> None:
    """A partition may be quiet for hours."""
    stalled = Stalled(0.1)
    assert stalled.look({0: 10}, {0: Log(0, 10, 10)}) == []
    time.sleep(0.15)
    assert stalled.look({0: 10}, {0: Log(0, 11, 11)}) == []
    time.sleep(0.15)
    assert stalled.look({0: 10}, {0: Log(0, 11, 11)}) == [0]
