"""Partitions that have messages and give none for long: a client can be stuck on one without an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lmdp.machine.kafka.log_offsets import Log

# No answer of a broker takes that long: librdkafka gives up on it before.
STALLED_S = 60.0


class Stalled:
    """Since when each partition has been behind at the same offset. Not thread-safe."""

    def __init__(self, seconds: float = STALLED_S) -> None:
        self._seconds = seconds
        self._behind: dict[int, tuple[int, float]] = {}

    def look(self, positions: Mapping[int, int], logs: Mapping[int, Log]) -> list[int]:
        """Return the partitions that have been behind their log at the same position for too long."""
        now = time.monotonic()
        behind = {part: at for part, at in positions.items() if part in logs and at < logs[part].stable}
        seen = self._behind
        self._behind = {
            part: seen[part] if part in seen and seen[part][0] == at else (at, now) for part, at in behind.items()
        }
        return [part for part, (_, since) in self._behind.items() if now - since >= self._seconds]
