"""What a topic is by now: its cluster, its id and its partitions, asked every few seconds beside the consumer."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection

from lmdp.errors import LmdpError
from lmdp.local.kafka import MEMORY_CLUSTER, REQUEST_SECONDS, KafkaAccess, admin_client, translate


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

    def look(self) -> Sighting:
        """Ask now. Raises SettingsError where the topic is not there, Unreachable where the broker is not."""
        try:
            metadata = self._admin.list_topics(self._topic, timeout=REQUEST_SECONDS)
            found = metadata.topics[self._topic]
            if found.error is not None:
                raise KafkaException(found.error)
            cluster = str(metadata.cluster_id)
            return Sighting(self._identity(cluster), tuple(sorted(found.partitions)))
        except KafkaException as error:
            self._admin.poll(0)
            raise translate(error, self._access, topic=self._topic, reasons=self._reasons) from error

    def start(self, every_s: float) -> None:
        """Go on looking in the background."""
        self._thread = threading.Thread(target=self._go, args=(every_s,), name="watch", daemon=True)
        self._thread.start()

    def latest(self) -> Sighting | LmdpError | None:
        """What the last look in the background gave, or why it gave nothing; None before the first."""
        return self._latest

    def stop(self) -> None:
        """Look no more; a look that is under way ends by itself."""
        self._stop.set()

    def _identity(self, cluster: str) -> Identity:
        if cluster.startswith(MEMORY_CLUSTER):
            return Identity(self._cluster or cluster, "", self._topic)
        described = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=REQUEST_SECONDS)
        return Identity(cluster, str(described[self._topic].result().topic_id), self._topic)

    def _go(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self._latest = self.look()
            except LmdpError as error:
                self._latest = error
