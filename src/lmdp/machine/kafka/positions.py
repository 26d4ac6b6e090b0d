"""Positions of a consumer, and against the logs of its topic: all read, stalled, or where to continue after a reset."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import TopicPartition

from lmdp.machine.offsets import Fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from threading import Event

    from lmdp.machine.kafka.topic_watcher import Log, TopicSnapshot
    from lmdp.machine.offsets import TopicIdentity
    from lmdp.machine.settings import Notify

_IDLE_S = 2.0  # a broker that has just begun may let its last stable offset lag for a moment
STALLED_S = 60.0
"""No answer of a broker takes that long: librdkafka gives up on it before."""

# librdkafka reports where the log was truncated only in words:
# https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_offset.c
_TRUNCATED = re.compile(r"log truncation detected .*broker end offset is (\d+)")


class Positions:
    """The next offset of each partition of `topic` that is read, and the leader's epoch of what was read before it.

    `begun` are those that begin, to be handed out. Not thread-safe.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._epochs: dict[int, int] = {}
        self.offsets: dict[int, int] = {}
        self.begun: list[Fetch] = []

    def set(self, partition: int, offset: int, epoch: int = -1) -> None:
        """Set the next offset of a partition; -1 where the epoch is not known."""
        self.offsets[partition], self._epochs[partition] = offset, epoch

    def begin(self, partitions: Iterable[int]) -> None:
        """Hand out where partitions begin, so that it is committed: what retention takes from then on is lost."""
        self.begun += [Fetch(part, self.offsets[part], self.offsets[part]) for part in partitions]

    def remove(self, partitions: Iterable[int]) -> None:
        """Remove partitions that are another's now."""
        for partition in partitions:
            self.offsets.pop(partition, None)
            self._epochs.pop(partition, None)
        self.begun = [fetch for fetch in self.begun if fetch.partition in self.offsets]

    def places(self, partitions: Iterable[int]) -> list[TopicPartition]:
        """Return where to read: by the leader's epoch the broker reports whether it still has what was read."""
        return [
            TopicPartition(self._topic, part, self.offsets[part], leader_epoch=self._epochs[part])
            for part in partitions
        ]


class Drain:
    """Decides when everything up to the ends of a topic has been read. One for a run, whatever its sources.

    What comes later is left to the next run, so that a run on a live topic ends, too. Not thread-safe.
    """

    def __init__(self, wanted: Event, notify: Notify) -> None:
        self._wanted = wanted
        self._notify = notify
        self._asked: float | None = None
        self._identity: TopicIdentity | None = None
        self._ends: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._waiting_since = 0.0
        self.asked()

    def asked(self) -> bool:
        """Return whether the end is wanted; note since when."""
        if self._asked is None and self._wanted.is_set():
            self._asked = time.monotonic()
        return self._asked is not None

    def needs_snapshot(self, snapshot: TopicSnapshot) -> bool:
        """Return whether a newer snapshot is needed to know where to end."""
        return self._asked is not None and snapshot.begun < self._asked

    def done(self, snapshot: TopicSnapshot, positions: Mapping[int, int]) -> bool:
        """Return whether the partitions of `positions` have been read up to the ends, or to an open transaction."""
        if self._asked is None or self.needs_snapshot(snapshot):
            return False
        if self._identity != snapshot.identity:
            if positions.keys() - snapshot.logs.keys():
                return False
            self._identity = snapshot.identity
            self._ends = {part: log.end for part, log in snapshot.logs.items()}
        waiting = {part: at for part, at in positions.items() if at < self._ends.get(part, 0)}
        if waiting != self._waiting:
            self._waiting, self._waiting_since = waiting, time.monotonic()
        if not waiting:
            return True
        if snapshot.begun < self._waiting_since + _IDLE_S:
            return False
        return self._are_blocked(snapshot, waiting)

    def _are_blocked(self, snapshot: TopicSnapshot, waiting: Mapping[int, int]) -> bool:
        """Return whether nothing more can be read of `waiting`, and report why."""
        logs = snapshot.logs
        if any(part not in logs or at < logs[part].stable for part, at in waiting.items()):
            return False
        topic = snapshot.identity.topic
        for part, at in waiting.items():
            if at < logs[part].end:  # else the broker lost its newest messages
                self._notify(_open_transaction(topic, part, at, logs[part]))
        return True


def _open_transaction(topic: str, partition: int, position: int, log: Log) -> str:
    return (
        f"{topic}-{partition}: offsets {position:,} to {log.end - 1:,} are behind an open transaction, so they were "
        "not read. A later run reads them once the producer commits or aborts it. To find one that hangs: "
        "kafka-transactions.sh --bootstrap-server HOST:PORT find-hanging --broker-id ID"
    )


class StallDetector:
    """Finds partitions that have messages and give none: a client can be stuck on one without an error.

    Not thread-safe.
    """

    def __init__(self, seconds: float = STALLED_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._behind: dict[int, tuple[int, float]] = {}
        self._looked = clock()

    def stalled(self, positions: Mapping[int, int], logs: Mapping[int, Log]) -> list[int]:
        """Return the partitions that have been behind their log at the same position for too long.

        What was behind before a long pause counts from now on: nothing was read meanwhile, whatever a broker gave.
        """
        now = self._clock()
        if now - self._looked > self._seconds / 2:
            self._behind = {}
        self._looked = now
        behind = {part: at for part, at in positions.items() if part in logs and at < logs[part].stable}
        seen = self._behind
        self._behind = {
            part: seen[part] if part in seen and seen[part][0] == at else (at, now) for part, at in behind.items()
        }
        return [part for part, (_, since) in self._behind.items() if now - since >= self._seconds]


@dataclass(frozen=True, slots=True)
class OffsetReset:
    """Continue at `offset`; the messages from `lost_from` (None: nothing) up to it expired unread."""

    offset: int
    text: str
    lost_from: int | None = None


def truncated_at(text: str) -> int | None:
    """Return the offset from which on a broker lost what it had, by librdkafka's text; None where it names none."""
    found = _TRUNCATED.search(text)
    return int(found[1]) if found else None


def reset(name: str, wanted: int, low: int, high: int, truncated: int | None = None) -> OffsetReset:
    """Decide for the partition `name`, which has `low` up to, not including, `high`, and of which `wanted` was next.

    From `truncated` on it has other messages than those that were read: the broker lost its newest ones, and took
    new ones.
    """
    if truncated is None and high < wanted:
        truncated = high
    again = wanted if truncated is None else min(truncated, wanted)
    if again < low:
        return OffsetReset(
            low,
            f"LOST: {low - again:,} messages of {name} (offsets {again:,} to {low - 1:,}) had passed the topic's "
            "retention before they were read. Raise its retention above the longest outage.",
            again,
        )
    if again < wanted:
        return OffsetReset(
            again,
            f"{name} had messages up to offset {wanted:,}, and they end at {again:,} now: the broker has lost its "
            f"newest ones. The rows of those that were read stay; continuing from {again:,}.",
        )
    text = f"{name} did not give offset {wanted:,} for a moment, though it has it; continuing from there."
    return OffsetReset(wanted, text)
