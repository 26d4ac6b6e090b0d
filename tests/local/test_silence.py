"""Which partitions are silent."""

from __future__ import annotations

import time

from lmdp.local.silence import Silence


def test_a_silent_partition_is_named_once_in_so_long() -> None:
    """From the first look on; what gave something, or was named, is silent for the whole time again."""
    silence = Silence(0.2)
    assert silence.broken((0, 1)) == []
    time.sleep(0.25)
    silence.heard([1])
    assert silence.broken((0, 1)) == [0]
    assert silence.broken((0, 1)) == []
    time.sleep(0.25)
    assert silence.broken((0, 1, 2)) == [0, 1]


def test_nothing_is_silent_at_first() -> None:
    """A client has its time to begin."""
    assert Silence(60.0).broken(range(100)) == []
