"""Rate limiter for the calls that share one stream: while Firehose throttles, they start one by one, with gaps."""

from __future__ import annotations

import threading
from math import inf
from typing import Final

_LEAST_GAP: Final = 0.02
_MOST_GAP: Final = 1.0


class RateLimiter:
    """Assigns start times to calls. Throttling doubles the gap between two starts, a success halves it.

    Concurrent calls are throttled together: only one that started after the last change changes the gap again.
    All times are seconds of one monotonic clock, which the caller reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gap = 0.0
        self._next = 0.0
        self._changed = 0.0

    def acquire(self, now: float, latest: float = inf) -> float | None:
        """Reserve and return the time at which a call that is ready at `now` may start.

        Returns None, and reserves nothing, where that is later than `latest`.
        """
        with self._lock:
            start = max(now, self._next)
            if start > latest:
                return None
            self._next = start + self._gap
            return start

    def throttled(self, start: float) -> None:
        """Record that the call that started at `start` was throttled."""
        with self._lock:
            if start >= self._changed:
                self._gap = min(max(2 * self._gap, _LEAST_GAP), _MOST_GAP)
                self._next += self._gap
                self._changed = self._next

    def succeeded(self) -> None:
        """Record that a call succeeded."""
        if self._gap:
            with self._lock:
                self._gap = 0.5 * self._gap if self._gap > _LEAST_GAP else 0.0
