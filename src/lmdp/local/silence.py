"""Partitions that have given nothing for long: a client can be stuck on one without a word of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# No answer of a broker takes that long: librdkafka gives up on it before.
SILENT_S = 60.0


class Silence:
    """When each partition was last heard of. Not thread-safe."""

    def __init__(self, seconds: float = SILENT_S) -> None:
        self._seconds = seconds
        self._heard: dict[int, float] = {}

    def heard(self, partitions: Iterable[int]) -> None:
        """Note that something came of them now."""
        self._heard |= dict.fromkeys(partitions, time.monotonic())

    def broken(self, partitions: Iterable[int]) -> list[int]:
        """Those that were silent for long; each is named once in so long."""
        now = time.monotonic()
        silent = [part for part in partitions if now - self._heard.setdefault(part, now) >= self._seconds]
        self.heard(silent)
        return silent
