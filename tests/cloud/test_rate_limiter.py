"""The pace of calls while Firehose throttles."""

from __future__ import annotations

import pytest

from lmdp.cloud.rate_limiter import Pace


def turn(pace: Pace, now: float) -> float:
    """A turn without a latest time is always given."""
    start = pace.turn(now)
    assert start is not None
    return start


def test_no_gap_without_throttling() -> None:
    """Calls start as they come."""
    pace = Pace()
    assert [turn(pace, 5.0) for _ in range(3)] == [5.0, 5.0, 5.0]


def test_throttling_spaces_the_starts_out_and_clean_calls_bring_them_together() -> None:
    """The gap doubles with each throttled call, and a few clean ones take it away."""
    pace = Pace()
    gaps = []
    for clean in (False, False, False, True, True, True, True):
        start = turn(pace, 0.0)
        if clean:
            pace.clean()
        else:
            pace.throttled(start)
        gaps.append(round(turn(pace, 0.0) - start, 3))
    assert gaps[:3] == [0.02, 0.06, 0.12]
    start = turn(pace, 100.0)
    assert turn(pace, 100.0) == start


def test_calls_that_are_throttled_together_count_once() -> None:
    """Eight calls of one moment are one sign, not eight."""
    pace = Pace()
    starts = [turn(pace, 1.0) for _ in range(8)]
    for start in starts:
        pace.throttled(start)
    first = turn(pace, 2.0)
    assert turn(pace, 2.0) - first == pytest.approx(0.02)


def test_the_gap_has_an_end() -> None:
    """However long it lasts, a call a second is tried."""
    pace = Pace()
    for _ in range(20):
        pace.throttled(turn(pace, 0.0))
    first = turn(pace, 0.0)
    assert turn(pace, 0.0) - first == pytest.approx(1.0)


def test_a_turn_that_comes_too_late_is_not_taken() -> None:
    """Calls that gave up do not make those wait that come after them, in this invocation or the next."""
    pace = Pace()
    for _ in range(20):
        pace.throttled(turn(pace, 0.0))
    first = turn(pace, 0.0)
    assert [pace.turn(0.0, latest=first) for _ in range(50)] == [None] * 50
    assert turn(pace, 0.0) - first == pytest.approx(1.0)
