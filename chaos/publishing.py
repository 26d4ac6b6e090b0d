"""A publisher that continues whatever happens to its broker, and knows what was acknowledged."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, Message, Producer

from running import bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lmdp.machine.kafka.access import KafkaAccess

_FLUSH_S = 180


@dataclass(slots=True)
class Publishing:
    """Numbered messages on their way: how many were `sent`, and which the broker said that it has."""

    sent: int = 0
    acknowledged: set[int] = field(default_factory=set)
    failures: set[str] = field(default_factory=set)
    make: Callable[[int], bytes] = bundle
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def end(self) -> None:
        """Send no more, and wait for what is under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def begin(self, access: KafkaAccess, topic: str, rate: int, first: int) -> None:
        """Send `rate` bundles a second from the number `first` on."""
        self._thread = threading.Thread(target=self._go, args=(access, topic, rate, first), name="publishing")
        self._thread.start()

    def _go(self, access: KafkaAccess, topic: str, rate: int, first: int) -> None:
        producer = Producer(
            {
                **access.config(),
                "enable.idempotence": True,
                "linger.ms": 20,
                "sticky.partitioning.linger.ms": 20,
                "topic.metadata.refresh.interval.ms": 1000,
                "queue.buffering.max.messages": 1_000_000,
                "delivery.timeout.ms": _FLUSH_S * 1000,
            }
        )
        begun = time.monotonic()
        while not self._stop.is_set():
            for _ in range(int((time.monotonic() - begun) * rate) - self.sent):
                number = first + self.sent
                producer.produce(topic, self.make(number), on_delivery=partial(self._delivered, number))
                self.sent += 1
            producer.poll(0.05)
        producer.flush(_FLUSH_S)

    def _delivered(self, number: int, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.acknowledged.add(number)
        else:
            self.failures.add(error.str())


@contextlib.contextmanager
def publishing(
    access: KafkaAccess, topic: str, *, rate: int, first: int = 0, make: Callable[[int], bytes] = bundle
) -> Iterator[Publishing]:
    """Publish beside the block; `end` it there to look at what was acknowledged."""
    at_work = Publishing(make=make)
    at_work.begin(access, topic, rate, first)
    try:
        yield at_work
    finally:
        at_work.end()
