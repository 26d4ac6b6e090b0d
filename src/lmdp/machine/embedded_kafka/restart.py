"""Restarts an embedded Kafka that has ended by itself: its data is on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from lmdp.errors import LmdpError
from lmdp.support.disk_space import free_bytes

if TYPE_CHECKING:
    from lmdp.machine.embedded_kafka.broker import KafkaBroker
    from lmdp.machine.settings import Notify

WANTED_BYTES = 20_000_000
"""Bytes that a start needs: Kafka reserves indexes of 10 MB, and writes more."""

_AGAIN_S = 10.0


class Restarter:
    """Restarts a broker whose data is below `folder`; `notify` shows what an operator must know."""

    def __init__(self, broker: KafkaBroker | None, folder: Path, notify: Notify) -> None:
        self._broker = broker
        self._folder = folder
        self._notify = notify
        self._reported = ""
        self._next = 0.0

    def check(self) -> None:
        """Start it again when it has ended (a full disk does that to it, or want of memory) and there is space."""
        broker = self._broker
        if broker is None or broker.pid is not None or time.monotonic() < self._next:
            return
        broker.stop()
        free = free_bytes(self._folder)
        if free < WANTED_BYTES:
            self._report(
                "no space",
                f"the embedded Kafka has ended, and there is no space in {self._folder} to start it again ({free:,} "
                f"bytes free there, about {WANTED_BYTES:,} wanted). What it had acknowledged is on disk. Free space: "
                "it is started then.",
            )
            return
        self._report("starting", "the embedded Kafka has ended; starting it again")
        try:
            broker.start()
        except (LmdpError, OSError) as error:
            self._next = time.monotonic() + _AGAIN_S
            self._report(str(error), f"the embedded Kafka did not start: {error} It is tried again.")
        else:
            self._report("", "the embedded Kafka is back")

    def _report(self, state: str, text: str) -> None:
        """Report a state once, until it is another."""
        if state != self._reported:
            self._reported = state
            self._notify(text)
