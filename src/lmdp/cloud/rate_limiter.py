"""The pace of calls that share one stream: while Firehose throttles, they start one after the other, with gaps."""

from __future__ import annotations

import threading
from math import inf
from typing import Final

_LEAST_GAP: Final = 0.02
_MOST_GAP: Final = 1.0


class Pace:
    """Hands out times to start at. Throttling doubles the gap between two starts, a clean call halves it.

    Calls that run side by side are throttled together: only one that started after the last change changes it again.
    All times are seconds of one monotonic clock, which the caller reads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gap = 0.0
        self._next = 0.0
        self._changed = 0.0

    def turn(self, now: float, latest: float = inf) -> float | None:
        """The time at which a call that is ready at `now` may start; it is taken by asking.

        None where that is later than `latest`: then nothing is taken, so that whoever comes next need not wait for it.
        """
        with self._lock:
            start = max(now, self._next)
            if start > latest:
                return None
            self._next = start + self._gap
            return start

    def throttled(self, start: float) -> None:
        """A call that started at `start` was told to slow down."""
        with self._lock:
            if start >= self._changed:
                self._gap = min(max(2 * self._gap, _LEAST_GAP), _MOST_GAP)
                self._next += self._gap
                self._changed = self._next

    def clean(self) -> None:
        """A call went through."""
        if self._gap:
            with self._lock:
                self._gap = 0.5 * self._gap if self._gap > _LEAST_GAP else 0.0
