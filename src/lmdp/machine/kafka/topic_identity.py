"""A topic as it is now: its cluster, id, partitions and offsets, looked up every few seconds in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.kafka.access import (
    MEMORY_CLUSTER,
    REQUEST_SECONDS,
    KafkaAccess,
    admin_client,
    ask_metadata,
    translate,
)
from lmdp.machine.kafka.log_offsets import Log, read_logs

if TYPE_CHECKING:
    from collections.abc import Collection

    from confluent_kafka.admin import TopicDescription, TopicMetadata  # type: ignore[attr-defined]  # it re-exports without saying so

_GLANCE_S = 0.05
_RETRY_S = 0.1
_STOP_S = 2.0  # how long the end waits for an answer


@dataclass(frozen=True, slots=True)
class Identity:
    """Which topic it is: another cluster under the same address, or a topic made anew, is another one.

    `topic_id` is empty where the broker gives none.
    """

    cluster: str
    topic_id: str
    topic: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """A topic as it was seen: its partitions, and the logs of those that answered.

    `begun` is when the look began (`time.monotonic`), so that what it saw is no older.
    """

    identity: Identity
    partitions: tuple[int, ...]
    logs: dict[int, Log] = field(default_factory=dict)
    begun: float = 0.0

    def chosen(self, partitions: tuple[int, ...] | None) -> tuple[int, ...]:
        """Return these partitions, or all for None. Raises SettingsError when the topic lacks one."""
        missing = [part for part in partitions or () if part not in self.partitions]
        if missing:
            raise SettingsError(
                f"--partitions: {self.identity.topic} has no partition {', '.join(map(str, missing[:10]))}; "
                f"it has {len(self.partitions)}, from 0 to {self.partitions[-1]}"
            )
        return partitions or self.partitions


class Watch:
    """Looks at a topic. `cluster` names a cluster that cannot name itself, such as a broker inside this process."""

    def __init__(self, access: KafkaAccess, topic: str, cluster: str = "") -> None:
        self._access = access
        self._topic = topic
        self._cluster = cluster
        self._admin, self._reasons = admin_client(access)
        self._latest: Sighting | LmdpError | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self, seconds: float = REQUEST_SECONDS) -> Sighting:
        """Ask now, within `seconds` each of two requests.

        Raises SettingsError where the topic is not there, UnreachableError where the broker is not.
        """
        self._admin.poll(0)
        self._reasons.errors.clear()  # what was wrong before may be fixed by now
        begun = time.monotonic()
        try:
            # Names no topic: many brokers create one that a client asks for by this request.
            metadata = ask_metadata(self._admin, self._reasons, seconds)
            cluster = str(metadata.cluster_id)
            if cluster.startswith(MEMORY_CLUSTER):
                identity, partitions = self._in_memory(cluster, metadata.topics)
                return Sighting(identity, partitions, self._logs(partitions, seconds), begun)
            described = self._described(seconds)
            partitions = tuple(sorted(info.id for info in described.partitions))
            if not partitions:
                raise UnreachableError(
                    f"Kafka at {self._access.bootstrap_servers} does not know the partitions of {self._topic} yet: it "
                    "may just have begun. Try again."
                )
            identity = Identity(cluster, str(described.topic_id), self._topic)
            return Sighting(identity, partitions, self._logs(partitions, seconds), begun)
        except KafkaException as error:
            self._admin.poll(0)
            raise translate(error, self._access, topic=self._topic, reasons=self._reasons) from error

    def logs(
        self, partitions: Collection[int], stop: threading.Event, seconds: float = REQUEST_SECONDS
    ) -> dict[int, Log]:
        """Return the logs of all these partitions; one without a leader is waited for. Raises UnreachableError."""
        ends = time.monotonic() + seconds
        while True:
            logs = read_logs(self._admin, self._topic, partitions, seconds)
            missing = sorted(set(partitions) - logs.keys())
            if not missing:
                return logs
            if time.monotonic() < ends and not stop.wait(_RETRY_S):
                # librdkafka remembers that a broker did not know a topic, until it sees the list of them.
                with contextlib.suppress(KafkaException):
                    ask_metadata(self._admin, self._reasons, seconds)
            else:
                raise UnreachableError(
                    f"Kafka at {self._access.bootstrap_servers} has no leader for partition {missing[0]} of "
                    f"{self._topic}. That passes soon after a topic is created, or a broker has gone. Try again; if it "
                    "lasts, look at the brokers."
                )

    def replaced(
        self, identity: Identity, seconds: float = REQUEST_SECONDS, stop: threading.Event | None = None
    ) -> bool:
        """Tell whether another topic has the name by now; a topic that is gone is not replaced yet.

        An id never comes back, so what was read before a `False` was this topic's. Raises LmdpError as `look` does, and
        soon after `stop` where there is no answer.
        """
        if not identity.topic_id:
            return False
        try:
            return str(self._described(seconds, stop).topic_id) != identity.topic_id
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return False
            self._admin.poll(0)
            raise translate(error, self._access, topic=self._topic, reasons=self._reasons) from error

    def start(self, every_s: float) -> None:
        """Look in the background, now and then again and again."""
        self._thread = threading.Thread(target=self._go, args=(every_s,), name="watch", daemon=True)
        self._thread.start()

    def first(self, stop: threading.Event) -> Sighting:
        """What the first look gives; raises as it does, and UnreachableError at once when `stop` is set meanwhile."""
        while self._latest is None and not stop.wait(_GLANCE_S):
            pass
        if isinstance(self._latest, Sighting):
            return self._latest
        raise self._latest or UnreachableError(f"Kafka at {self._access.bootstrap_servers} had not answered yet.")

    def latest(self) -> Sighting | LmdpError | None:
        """What the last look in the background gave, or why it gave nothing; None before the first."""
        return self._latest

    def hurry(self) -> None:
        """Look now, and not only when it is time again."""
        self._wake.set()

    def stop(self) -> None:
        """Look no more; a look that is under way ends by itself."""
        self._stop.set()
        self._wake.set()

    def _described(self, seconds: float, stop: threading.Event | None = None) -> TopicDescription:
        answer = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=seconds)[self._topic]
        waited = 0.0
        while True:
            try:
                found: TopicDescription = answer.result(_GLANCE_S)
            except TimeoutError:
                waited += _GLANCE_S if stop is not None and stop.is_set() else 0.0
                if waited >= _STOP_S:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001 - its public name
            else:
                return found

    def _logs(self, partitions: tuple[int, ...], seconds: float) -> dict[int, Log]:
        return read_logs(self._admin, self._topic, partitions, seconds)

    def _in_memory(self, cluster: str, topics: dict[str, TopicMetadata]) -> tuple[Identity, tuple[int, ...]]:
        if self._topic not in topics:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return Identity(self._cluster or cluster, "", self._topic), tuple(sorted(topics[self._topic].partitions))

    def _go(self, every_s: float) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self._latest = self.look()
            except LmdpError as error:
                self._latest = error
            if not self._stop.is_set():
                self._wake.wait(every_s)
