"""The embedded Kafka that has ended by itself, started again: its data is on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from lmdp.errors import LmdpError
from lmdp.support.disk_space import free_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmdp.machine.embedded_kafka.broker import KafkaBroker

WANTED_BYTES = 20_000_000
"""What a start needs: Kafka reserves indexes of 10 MB, and goes on writing."""

_AGAIN_S = 10.0


class Revival:
    """Looks after a broker whose data is below `folder`; `say` is told what a person must know."""

    def __init__(self, broker: KafkaBroker | None, folder: Path, say: Callable[[str], None]) -> None:
        self._broker = broker
        self._folder = folder
        self._say = say
        self._said = ""
        self._next = 0.0

    def look(self) -> None:
        """Start it again when it has ended (a full disk does that to it, or want of memory) and there is room."""
        broker = self._broker
        if broker is None or broker.pid is not None or time.monotonic() < self._next:
            return
        broker.stop()
        free = free_bytes(self._folder)
        if free < WANTED_BYTES:
            self._tell(
                "no room",
                f"the embedded Kafka has ended, and there is no room in {self._folder} to start it again ({free:,} "
                f"bytes free there, about {WANTED_BYTES:,} wanted). What it had acknowledged is on disk. Make room: "
                "it is started then.",
            )
            return
        self._tell("starting", "the embedded Kafka has ended; starting it again")
        try:
            broker.start()
        except (LmdpError, OSError) as error:
            self._next = time.monotonic() + _AGAIN_S
            self._tell(str(error), f"the embedded Kafka did not start: {error} It is tried again.")
        else:
            self._tell("", "the embedded Kafka is back")

    def _tell(self, state: str, text: str) -> None:
        """Say it once, until something else is to be said."""
        if state != self._said:
            self._said = state
            self._say(text)
