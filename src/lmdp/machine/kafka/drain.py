"""The end of a run that ends by itself: what the topic had when the end was asked for has been read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from threading import Event

    from lmdp.machine.kafka.log_offsets import Log
    from lmdp.machine.kafka.topic_identity import Identity, Sighting

_IDLE_S = 2.0  # a broker that has just begun may let its last stable offset lag for a moment


class Drain:
    """Decides when everything up to the ends of a topic has been read. One for a run, whatever its sessions.

    What comes later is left to the next run, so that a run on a live topic ends, too. Not thread-safe.
    """

    def __init__(self, wanted: Event, say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._say = say
        self._asked: float | None = None
        self._identity: Identity | None = None
        self._ends: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._waiting_since = 0.0
        self.asked()

    def asked(self) -> bool:
        """Tell whether the end is wanted; note since when."""
        if self._asked is None and self._wanted.is_set():
            self._asked = time.monotonic()
        return self._asked is not None

    def needs_a_look(self, sighting: Sighting) -> bool:
        """Tell whether a newer sighting is needed to know where to end."""
        return self._asked is not None and sighting.begun < self._asked

    def done(self, sighting: Sighting, positions: Mapping[int, int]) -> bool:
        """Tell whether the partitions of `positions` have been read up to the ends, or to an open transaction."""
        if self._asked is None or self.needs_a_look(sighting):
            return False
        if self._identity != sighting.identity:
            if positions.keys() - sighting.logs.keys():
                return False
            self._identity = sighting.identity
            self._ends = {part: log.end for part, log in sighting.logs.items()}
        waiting = {part: at for part, at in positions.items() if at < self._ends.get(part, 0)}
        if waiting != self._waiting:
            self._waiting, self._waiting_since = waiting, time.monotonic()
        if not waiting:
            return True
        if sighting.begun < self._waiting_since + _IDLE_S:
            return False
        return self._are_blocked(sighting, waiting)

    def _are_blocked(self, sighting: Sighting, waiting: Mapping[int, int]) -> bool:
        """Tell whether nothing more can be read of `waiting`, and report why."""
        logs = sighting.logs
        if any(part not in logs or at < logs[part].stable for part, at in waiting.items()):
            return False
        topic = sighting.identity.topic
        for part, at in waiting.items():
            if at < logs[part].end:  # else the broker lost its newest messages
                self._say(_open_transaction(topic, part, at, logs[part]))
        return True


def _open_transaction(topic: str, partition: int, position: int, log: Log) -> str:
    return (
        f"{topic}-{partition}: offsets {position:,} to {log.end - 1:,} are behind an open transaction, so they were "
        "not read. A later run reads them once the producer commits or aborts it. To find one that hangs: "
        "kafka-transactions.sh --bootstrap-server HOST:PORT find-hanging --broker-id ID"
    )
