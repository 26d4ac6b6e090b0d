"""What a topic is by now: its cluster, its id and its partitions, asked every few seconds beside the consumer."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from lmdp.errors import LmdpError, Unreachable
from lmdp.local.kafka import MEMORY_CLUSTER, REQUEST_SECONDS, KafkaAccess, admin_client, ask_metadata, translate

if TYPE_CHECKING:
    from confluent_kafka.admin import TopicDescription, TopicMetadata  # type: ignore[attr-defined]  # it re-exports without saying so

_GLANCE_S = 0.05
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
    """A topic as it was seen, and its partitions then."""

    identity: Identity
    partitions: tuple[int, ...]


class Watch:
    """Looks at a topic. `cluster` names a cluster that cannot name itself, such as a broker inside this process."""

    def __init__(self, access: KafkaAccess, topic: str, cluster: str = "") -> None:
        self._access = access
        self._topic = topic
        self._cluster = cluster
        self._admin, self._reasons = admin_client(access)
        self._latest: Sighting | LmdpError | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self, seconds: float = REQUEST_SECONDS) -> Sighting:
        """Ask now, within `seconds` each of two requests.

        Raises SettingsError where the topic is not there, Unreachable where the broker is not.
        """
        self._admin.poll(0)
        self._reasons.errors.clear()  # what was wrong before may be mended by now
        try:
            # Names no topic: many brokers create one that a client asks for by this request.
            metadata = ask_metadata(self._admin, self._reasons, seconds)
            cluster = str(metadata.cluster_id)
            if cluster.startswith(MEMORY_CLUSTER):
                return self._in_memory(cluster, metadata.topics)
            described = self._described(seconds)
            partitions = tuple(sorted(info.id for info in described.partitions))
            if not partitions:
                raise Unreachable(
                    f"Kafka at {self._access.bootstrap_servers} does not know the partitions of {self._topic} yet: it "
                    "may just have begun. Try again."
                )
            return Sighting(Identity(cluster, str(described.topic_id), self._topic), partitions)
        except KafkaException as error:
            self._admin.poll(0)
            raise translate(error, self._access, topic=self._topic, reasons=self._reasons) from error

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
        """What the first look gives; raises as it does, and Unreachable at once when `stop` is set meanwhile."""
        while self._latest is None and not stop.wait(_GLANCE_S):
            pass
        if isinstance(self._latest, Sighting):
            return self._latest
        raise self._latest or Unreachable(f"Kafka at {self._access.bootstrap_servers} had not answered yet.")

    def latest(self) -> Sighting | LmdpError | None:
        """What the last look in the background gave, or why it gave nothing; None before the first."""
        return self._latest

    def stop(self) -> None:
        """Look no more; a look that is under way ends by itself."""
        self._stop.set()

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

    def _in_memory(self, cluster: str, topics: dict[str, TopicMetadata]) -> Sighting:
        if self._topic not in topics:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return Sighting(
            Identity(self._cluster or cluster, "", self._topic), tuple(sorted(topics[self._topic].partitions))
        )

    def _go(self, every_s: float) -> None:
        while not self._stop.is_set():
            try:
                self._latest = self.look()
            except LmdpError as error:
                self._latest = error
            self._stop.wait(every_s)
