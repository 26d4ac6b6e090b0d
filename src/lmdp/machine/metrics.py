"""Progress of a consumer: counts, lag, latencies, and what blocks it.

One thread writes; any may read, since every reading is of whole values.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from lmdp.core.pipeline import Counts
from lmdp.core.rejects import Reject
from lmdp.support.reject_share import RejectShare

_Number = TypeVar("_Number", int, float)

_RATE_SECONDS = 10.0
_LATELY_SECONDS = 60.0
_PLACES = 5  # looks at the topic, some seconds apart, over which a partition's rates are taken


def quantile(counted: Counter[_Number], q: float) -> _Number | None:
    """Return the number that a share `q` of those counted did not exceed; None without any."""
    wanted, seen = q * counted.total(), 0
    for number, times in sorted(counted.items()):
        seen += times
        if times and seen >= wanted:
            return number
    return None


class Latencies:
    """Latencies of messages, in buckets a twentieth wide, so that a billion of them take no more space than one."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.total_ms = 0.0

    def add(self, milliseconds: float, messages: int = 1) -> None:
        """Count `messages` that took so long; a clock that runs ahead counts as no time."""
        self._buckets[round(math.log(max(milliseconds, 1.0)) * 20)] += messages
        self.total_ms += max(milliseconds, 0.0) * messages

    def buckets(self) -> list[tuple[float, int]]:
        """Each bucket's time in milliseconds, right to a fortieth, and how many messages took so long; in order."""
        return [(round(math.exp(bucket / 20), 3), messages) for bucket, messages in sorted(self._buckets.items())]

    def quantile(self, q: float) -> int | None:
        """Return the time in milliseconds that a share `q` of the messages did not exceed; None before the first."""
        bucket = quantile(self._buckets, q)
        return None if bucket is None else round(math.exp(bucket / 20))


class PartitionOffsets(NamedTuple):
    """Offsets of a partition: the first that Kafka has, the end, and the next that is read."""

    first: int
    end: int
    next: int


@dataclass(slots=True)
class Progress:
    """A run's counts so far. `lag` is in messages by partition; `gaps` counts messages that retention took."""

    counts: Counts = field(default_factory=Counts)
    bytes_out: int = 0
    commits: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    lag: dict[int, int] = field(default_factory=dict)
    gaps: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    last_commit: float | None = None
    trouble: str = ""
    last_trouble: tuple[int, str] | None = None  # Unix ms, and what it was
    first_reject: str = ""
    tally: RejectShare = field(default_factory=RejectShare)
    _recent: deque[tuple[float, RejectShare]] = field(default_factory=lambda: deque(maxlen=1000))
    _places: deque[tuple[float, dict[int, PartitionOffsets]]] = field(default_factory=lambda: deque(maxlen=_PLACES))

    def committed(self, counts: Counts, rejects: Sequence[Reject], bytes_out: int) -> None:
        """Note a transaction that is in the warehouse."""
        now = time.monotonic()
        self.counts += counts
        self.reasons += Counter(reject.code for reject in rejects)
        if rejects and not self.first_reject:
            self.first_reject = f"{rejects[0].code}: {rejects[0].message}"
        tally = RejectShare.of(counts, rejects)
        self.tally = self.tally.plus(tally)
        self.bytes_out += bytes_out
        self.commits += 1
        self.last_commit = now
        self._recent.append((now, tally))

    def block(self, text: str, notify: Callable[[str], None], place: str = "") -> None:
        """Note what blocks the pipeline, and report it once; `place` begins the texts that differ in numbers alone."""
        before, self.trouble = self.trouble, text
        self.last_trouble = (time.time_ns() // 1_000_000, text)
        if before != text and not (place and before.startswith(place)):
            notify(f"{text} Reading resumes by itself from where it was.")

    def rows_per_second(self) -> float:
        """Return the rows a second over the last ten seconds."""
        return self.lately(_RATE_SECONDS).rows / _RATE_SECONDS

    def messages_per_second(self) -> float:
        """Return the messages a second over the last ten seconds."""
        return self.lately(_RATE_SECONDS).messages / _RATE_SECONDS

    def note_places(self, places: dict[int, PartitionOffsets]) -> None:
        """Note where the partitions are now."""
        self._places.append((time.monotonic(), places))

    def partitions(self) -> dict[str, dict[str, float | None]]:
        """Return each partition's offsets, lag, and messages a second; a rate is None before the second look."""
        looks = list(self._places)
        if not looks:
            return {}
        (since, before), (now, places) = looks[0], looks[-1]

        def rate(old: int, new: int) -> float | None:
            return round(max(0, new - old) / (now - since), 1) if now > since else None

        return {
            str(part): {
                "first": place.first,
                "next": place.next,
                "end": place.end,
                "lag": place.end - place.next,
                "writtenPerSecond": rate(before.get(part, place).end, place.end),
                "readPerSecond": rate(before.get(part, place).next, place.next),
            }
            for part, place in sorted(places.items())
        }

    def live(self) -> dict[str, Any]:
        """Return what changes from second to second; read from memory alone."""
        return {
            **self.counts.report(),
            "bytesOut": self.bytes_out,
            "commits": self.commits,
            "secondsSinceCommit": round(time.monotonic() - self.last_commit, 1) if self.last_commit else None,
            "rowsPerSecond": round(self.rows_per_second(), 1),
            "messagesPerSecond": round(self.messages_per_second(), 1),
            "rejectsByCode": dict(sorted(self.reasons.items())),
            "lag": {str(partition): messages for partition, messages in sorted(self.lag.items())},
            "partitions": self.partitions(),
            "lost": self.gaps,
            "latenciesMs": self.latencies.buckets(),
            "latencySumMs": round(self.latencies.total_ms, 1),
            "trouble": self.trouble,
        }

    def report(self, seconds: float) -> dict[str, Any]:
        """Return the counts, rates and latencies of a run that took `seconds`."""
        return {
            **self.counts.report(),
            "bytesOut": self.bytes_out,
            "seconds": round(seconds, 3),
            "rowsPerSecond": round(self.counts.rows / seconds, 1) if seconds > 0 else 0.0,
            "latencyMs": {"p50": self.latencies.quantile(0.5), "p99": self.latencies.quantile(0.99)},
        }

    def lately(self, seconds: float = _LATELY_SECONDS) -> RejectShare:
        """Return the tally of the last seconds; a rate of commits beyond sixteen a second shortens them."""
        since, total = time.monotonic() - seconds, RejectShare()
        for at, tally in list(self._recent):
            if at >= since:
                total = total.plus(tally)
        return total
