"""Messages onto a Kafka topic: simulated Collectors at their rate, or files as fast as the broker takes them.

What counts as published is what the broker acknowledged, never what was handed over.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from lmdp.errors import SettingsError, UnreachableError
from lmdp.machine.kafka.access import ClientErrors, translate
from lmdp.support.input_files import read_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from confluent_kafka import Message as Delivered

    from lmdp.machine.kafka.access import KafkaAccess
    from lmdp.machine.simulation.collectors import Simulation

# https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
PRODUCER_SETTINGS: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "delivery.timeout.ms": 120_000,
    "queue.buffering.max.messages": 50_000,
    "queue.buffering.max.kbytes": 65_536,
    "linger.ms": 20,
    "compression.type": "zstd",
    # The Java client's partitioner, which Collectors use: the same device goes to the same partition.
    "partitioner": "murmur2_random",
    # Its topic's limit is the broker's to know; this one is only below what librdkafka can send.
    "message.max.bytes": 64 * 2**20,
}
REFRESH_SECONDS = 10.0
_TICK_S = 0.02
_SERVE_S = 0.05
_UNACKNOWLEDGED = "not acknowledged in time; the broker may or may not have it"


@dataclass(frozen=True, slots=True)
class Published:
    """Counts of a publisher. `datapoints` is None where only bytes were sent, as from files: nobody counted them.

    `failed` messages were not acknowledged, `failures` has their reasons; `seconds` from the first send to the last
    acknowledgement.
    """

    messages: int
    datapoints: int | None
    bytes: int
    failed: int
    seconds: float
    failures: dict[str, int] = field(default_factory=dict)


def open_producer(access: KafkaAccess, reasons: ClientErrors, further: Mapping[str, Any] | None = None) -> Producer:
    """Return an idempotent producer whose errors go to `reasons`. Raises SettingsError."""
    try:
        return Producer({**access.config(), **PRODUCER_SETTINGS, "error_cb": reasons, **(further or {})})
    except KafkaException as error:
        raise SettingsError(
            f"The Kafka client could not be made: {error.args[0].str()}. Look at --ca, --cert and --key."
        ) from error


class Publisher:
    """An idempotent producer for one topic, with a bounded queue and counted deliveries.

    `has_space` says whether the broker may be sent more (for one that keeps little); `stop` ends every wait. Raises
    SettingsError when the certificates are unusable; a broker that is not there shows only in what fails.
    """

    def __init__(
        self,
        access: KafkaAccess,
        topic: str,
        *,
        has_space: Callable[[], bool] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.stop = stop or threading.Event()
        self._access = access
        self._topic = topic
        self._has_space = has_space
        self._messages = self._datapoints = self._bytes = 0
        self._uncounted = False
        self._failures: Counter[str] = Counter()
        self._reports: dict[int | None, Callable[[KafkaError | None, Delivered], None]] = {}
        self._reasons = ClientErrors()
        self._started = self._ended = 0.0
        self._fingerprint = access.fingerprint()
        self._producer = open_producer(access, self._reasons)

    def send(self, value: bytes, key: bytes | None = None, datapoints: int | None = None) -> bool:
        """Queue one message, waiting while the queue or the broker is full; False when `stop` came first."""
        while self._has_space is not None and not self._has_space():
            if self.stop.is_set():
                return False
            self.wait(_TICK_S)
        self._started = self._started or time.monotonic()
        report = self._reports.get(datapoints) or self._reports.setdefault(
            datapoints, partial(self._delivered, datapoints)
        )
        while not self.stop.is_set():
            try:
                self._producer.produce(self._topic, value, key, on_delivery=report)
            except BufferError:
                self.wait(_TICK_S)
            except KafkaException as error:
                self._refused(error.args[0])
                return True
            else:
                self._producer.poll(0)
                return True
        return False

    def wait(self, seconds: float) -> None:
        """Serve delivery reports for so long, or until `stop`.

        The wait is not librdkafka's: it would last until the wall clock says so, for hours when that is set back.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.stop.is_set():
            self._producer.poll(0)
            self.stop.wait(min(left, _SERVE_S))
        self._producer.poll(0)

    def refresh(self) -> None:
        """Take up certificates that changed on disk, with a new client; unusable ones are left until they change."""
        fingerprint = self._access.fingerprint()
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        try:
            fresh = open_producer(self._access, self._reasons)
        except SettingsError:  # a file half written: the old client continues
            return
        self._empty(REFRESH_SECONDS)
        self._producer = fresh

    def so_far(self) -> Published:
        """Return what is acknowledged by now; may be asked from another thread."""
        datapoints = None if self._uncounted else self._datapoints
        failures = dict(self._failures)
        seconds = max(0.0, self._ended - self._started)
        return Published(self._messages, datapoints, self._bytes, sum(failures.values()), seconds, failures)

    def finish(self, timeout_s: float = 30.0) -> Published:
        """Wait for what is under way; what has no answer after `timeout_s` is given up and counted as failed."""
        self._empty(timeout_s)
        return self.so_far()

    def _empty(self, timeout_s: float) -> None:
        if self._producer.flush(timeout_s):
            self._producer.purge()
            self._producer.flush(5)

    def _delivered(self, datapoints: int | None, error: KafkaError | None, message: Delivered) -> None:
        if error is not None:
            self._failures[_reason(error)] += 1
            return
        self._messages += 1
        self._bytes += len(message)
        self._ended = time.monotonic()
        if datapoints is None:
            self._uncounted = True
        else:
            self._datapoints += datapoints

    def _refused(self, error: KafkaError) -> None:
        """Count a message that the client library itself refuses; a client that is broken for good ends it all."""
        if error.fatal():
            cause = translate(error, self._access, topic=self._topic, reasons=self._reasons)
            raise UnreachableError(
                f"{cause} The Kafka client gave up for good; {self._messages} messages were acknowledged before that. "
                "Publish the others again."
            )
        self._failures[_reason(error)] += 1


def simulate(
    publisher: Publisher,
    simulation: Simulation,
    *,
    interval_s: float,
    duration_s: float | None = None,
    burst: bool = False,
) -> None:
    """Publish one round of polls an interval, spread evenly over it or (`burst`) at once, until the duration or stop.

    A round that has begun is ended, unless it is an interval late. Rounds that the broker or this machine is too slow
    for are left out, as a Collector leaves out polls.
    """
    started = begin = time.monotonic()
    ends = started + duration_s if duration_s is not None else float("inf")
    while begin < ends and time.monotonic() < ends and not publisher.stop.is_set():
        publisher.wait(begin - time.monotonic())
        publisher.refresh()
        if not _round(publisher, simulation, begin, interval_s, ends + interval_s, burst=burst):
            return
        begin += interval_s
        if time.monotonic() - begin > interval_s:
            begin = time.monotonic()
    publisher.wait(ends - time.monotonic() if duration_s is not None else 0)


def _round(
    publisher: Publisher, simulation: Simulation, begin: float, interval_s: float, latest: float, *, burst: bool
) -> bool:
    spread_s = 0.0 if burst else interval_s
    gap_s = spread_s / max(1, len(simulation))
    for n, message in enumerate(simulation.polls(time.time_ns() // 1_000_000, int(spread_s * 1000))):
        due = begin + min(n * gap_s, spread_s)
        now = time.monotonic()
        if now < due:
            publisher.wait(max(due - now, _TICK_S))
        if now > latest or not publisher.send(message.value, message.key, message.datapoints):
            return False
    return True


def publish_files(publisher: Publisher, paths: Iterable[Path | str]) -> None:
    """Publish every message of the files, in order; their datapoints are not counted, for nothing here decodes them."""
    for path in paths:
        for message in read_messages(path):
            if not publisher.send(message.value or b""):
                return


def _reason(error: KafkaError) -> str:
    if error.code() in (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT, KafkaError._MSG_TIMED_OUT):  # noqa: SLF001 - the library's public names
        return _UNACKNOWLEDGED
    return str(error.str())
