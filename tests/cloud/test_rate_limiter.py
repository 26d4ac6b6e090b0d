"""The rate of calls while Firehose throttles."""

from __future__ import annotations

import pytest

from lmdp.cloud.rate_limiter import RateLimiter


def acquire(limiter: RateLimiter, now: float) -> float:
    """Return a start; without a latest time there always is one."""
    start = limiter.acquire(now)
    assert start is not None
    return start


def test_no_gap_without_throttling() -> None:
    """Calls start as they come."""
    limiter = RateLimiter()
    assert [acquire(limiter, 5.0) for _ in range(3)] == [5.0, 5.0, 5.0]


def test_throttling_slimiters_the_starts_out_and_successes_bring_them_together() -> None:
    """The gap doubles with each throttled call, and a few successes remove it."""
    limiter = RateLimiter()
    gaps = []
    for success in (False, False, False, True, True, True, True):
        start = acquire(limiter, 0.0)
        if success:
            limiter.succeeded()
        else:
            limiter.throttled(start)
        gaps.append(round(acquire(limiter, 0.0) - start, 3))
    assert gaps[:3] == [0.02, 0.06, 0.12]
    start = acquire(limiter, 100.0)
    assert acquire(limiter, 100.0) == start


def test_calls_that_are_throttled_together_count_once() -> None:
    """Eight concurrent calls change the gap once."""
    limiter = RateLimiter()
    starts = [acquire(limiter, 1.0) for _ in range(8)]
    for start in starts:
        limiter.throttled(start)
    first = acquire(limiter, 2.0)
    assert acquire(limiter, 2.0) - first == pytest.approx(0.02)


def test_the_gap_has_an_end() -> None:
    """However long it lasts, a call a second is tried."""
    limiter = RateLimiter()
    for _ in range(20):
        limiter.throttled(acquire(limiter, 0.0))
    first = acquire(limiter, 0.0)
    assert acquire(limiter, 0.0) - first == pytest.approx(1.0)


def test_a_start_that_is_too_late_is_not_reserved() -> None:
    """Calls that gave up do not make those wait that come after them, in this invocation or the next."""
    limiter = RateLimiter()
    for _ in range(20):
        limiter.throttled(acquire(limiter, 0.0))
    first = acquire(limiter, 0.0)
    assert [limiter.acquire(0.0, latest=first) for _ in range(50)] == [None] * 50
    assert acquire(limiter, 0.0) - first == pytest.approx(1.0)
