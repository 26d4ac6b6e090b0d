"""A topic as it is now: cluster, id, partitions and offsets, looked up every few seconds in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # it re-exports without saying so

from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.kafka.access import MEMORY_CLUSTER, REQUEST_SECONDS, Admin, KafkaAccess
from lmdp.machine.offsets import TopicIdentity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from confluent_kafka.admin import AdminClient, TopicDescription  # type: ignore[attr-defined]  # it re-exports without saying so

_GLANCE_S = 0.05
_RETRY_S = 0.1
_STOP_S = 2.0  # how long the end waits for an answer
_GRACE_S = 1.0  # librdkafka ends a request by itself; its future is waited for a little longer


@dataclass(frozen=True, slots=True)
class Log:
    """One partition's log: its `first` offset, the last `stable` one and the `end`, each exclusive but `first`.

    A consumer reads up to `stable`. From there to the `end` an open transaction is in the way.
    https://kafka.apache.org/documentation/#consumerconfigs_isolation.level
    """

    first: int
    stable: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicSnapshot:
    """A topic at one moment: its partitions, and the logs of those that answered.

    `begun` is when its requests began (`time.monotonic`): nothing in it is older.
    """

    identity: TopicIdentity
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


class TopicWatcher:
    """Watches a topic. `cluster` names a cluster that cannot name itself, such as a broker inside this process.

    `latest` is the last snapshot, or why there is none; None before the first answer.
    """

    def __init__(self, access: KafkaAccess, topic: str, cluster: str = "") -> None:
        self._access = access
        self._topic = topic
        self._cluster = cluster
        self._admin = Admin(access)
        self.latest: TopicSnapshot | LmdpError | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()

    def snapshot(self, seconds: float = REQUEST_SECONDS) -> TopicSnapshot:
        """Ask now, within `seconds` each of two requests.

        Raises SettingsError where the topic is not there, UnreachableError where the broker is not.
        """
        self._admin.client.poll(0)
        self._admin.reasons.clear()  # what was wrong before may be fixed by now
        begun = time.monotonic()
        with self._admin.translating(self._topic) as client:
            # Names no topic: many brokers create one that a client asks for by this request.
            metadata = self._admin.metadata(seconds)
            cluster = str(metadata.cluster_id)
            if cluster.startswith(MEMORY_CLUSTER):
                if self._topic not in metadata.topics:
                    raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
                identity = TopicIdentity(self._cluster or cluster, "", self._topic)
                partitions = tuple(sorted(metadata.topics[self._topic].partitions))
            else:
                described = self._described(seconds)
                identity = TopicIdentity(cluster, str(described.topic_id), self._topic)
                partitions = tuple(sorted(info.id for info in described.partitions))
            if not partitions:
                raise UnreachableError(
                    f"Kafka at {self._access.bootstrap_servers} does not know the partitions of {self._topic} yet: it "
                    "may just have begun. Try again."
                )
            return TopicSnapshot(identity, partitions, read_logs(client, self._topic, partitions, seconds), begun)

    def logs(self, partitions: Collection[int], stop: threading.Event) -> dict[int, Log]:
        """Return the logs of all these partitions; one without a leader is waited for. Raises UnreachableError."""
        ends = time.monotonic() + REQUEST_SECONDS
        while True:
            logs = read_logs(self._admin.client, self._topic, partitions, REQUEST_SECONDS)
            missing = sorted(set(partitions) - logs.keys())
            if not missing:
                return logs
            if time.monotonic() < ends and not stop.wait(_RETRY_S):
                # librdkafka remembers that a broker did not know a topic, until it sees the list of them.
                with contextlib.suppress(KafkaException):
                    self._admin.metadata()
            else:
                raise UnreachableError(
                    f"Kafka at {self._access.bootstrap_servers} has no leader for partition {missing[0]} of "
                    f"{self._topic}. That passes soon after a topic is created, or a broker has gone. Try again; if it "
                    "lasts, look at the brokers."
                )

    def replaced(
        self, identity: TopicIdentity, seconds: float = REQUEST_SECONDS, stop: threading.Event | None = None
    ) -> bool:
        """Return whether another topic has the name by now; a topic that is gone is not replaced yet.

        An id never comes back, so what was read before a `False` was this topic's. Raises LmdpError as `snapshot`
        does, and soon after `stop` where there is no answer.
        """
        if not identity.topic_id:
            return False
        with self._admin.translating(self._topic):
            try:
                return str(self._described(seconds, stop).topic_id) != identity.topic_id
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        return False

    def start(self, every_s: float) -> None:
        """Take a snapshot now and every `every_s` seconds, in the background."""
        threading.Thread(target=self._go, args=(every_s,), name="watch", daemon=True).start()

    def first(self, stop: threading.Event) -> TopicSnapshot:
        """Return the first snapshot; raises as `snapshot` does, and UnreachableError as soon as `stop` is set."""
        while self.latest is None and not stop.wait(_GLANCE_S):
            pass
        if isinstance(self.latest, TopicSnapshot):
            return self.latest
        raise self.latest or UnreachableError(f"Kafka at {self._access.bootstrap_servers} had not answered yet.")

    def refresh(self) -> None:
        """Take the next snapshot now."""
        self._wake.set()

    def stop(self) -> None:
        """Take no more snapshots; one under way ends by itself."""
        self._stop.set()
        self._wake.set()

    def _described(self, seconds: float, stop: threading.Event | None = None) -> TopicDescription:
        answer = self._admin.client.describe_topics(TopicCollection([self._topic]), request_timeout=seconds)
        described = answer[self._topic]
        waited = 0.0
        while True:
            try:
                found: TopicDescription = described.result(_GLANCE_S)
            except TimeoutError:
                waited += _GLANCE_S if stop is not None and stop.is_set() else 0.0
                if waited >= _STOP_S:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None  # noqa: SLF001 - its public name
            else:
                return found

    def _go(self, every_s: float) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                self.latest = self.snapshot()
            except LmdpError as error:
                self.latest = error
            if not self._stop.is_set():
                self._wake.wait(every_s)


def read_logs(admin: AdminClient, topic: str, partitions: Iterable[int], seconds: float) -> dict[int, Log]:
    """Return the logs of those partitions that answer within `seconds`; one without a leader is left out."""
    places = [TopicPartition(topic, partition) for partition in partitions]
    if not places:
        return {}
    earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
    kinds = (
        (earliest, IsolationLevel.READ_UNCOMMITTED),
        (latest, IsolationLevel.READ_COMMITTED),
        (latest, IsolationLevel.READ_UNCOMMITTED),
    )
    asked = [
        admin.list_offsets(dict.fromkeys(places, spec), isolation_level=level, request_timeout=seconds)
        for spec, level in kinds
    ]
    logs = {}
    for place in places:
        try:
            first, stable, end = (int(answer[place].result(seconds + _GRACE_S).offset) for answer in asked)
        except (KafkaException, TimeoutError):
            continue
        logs[place.partition] = Log(first, stable, max(stable, end))  # it may have grown between the requests
    return logs
