"""A consumer group's offsets, for those who watch its lag; a run into Snowflake also resumes from its own.

The metadata of a committed offset carries its owner, so that two warehouses that share a group find out.
https://kafka.apache.org/documentation/#brokerconfigs_offset.metadata.max.bytes
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from lmdp.machine.kafka.access import REQUEST_SECONDS, KafkaAccess, grant
from lmdp.support.program import program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from lmdp.machine.settings import Notify

DEFAULT_GROUP = "lmdp"
_MARK = "lmdp "
_LONGEST_OWNER = 1_000  # the broker takes 4,096 bytes by default
_LOOK_S = 15.0
_ANSWER_S = 2.0
_GLANCE_S = 0.05

_WITHOUT_LAG = "lag monitors will not see this consumer, and the rows come all the same"
_WITHOUT_RESUME = (
    "the next run reads messages without rows again, and what went through a channel that was idle for 30 days"
)

Owners = dict[int, str]


def owner_of(sink: str | Path, topic_id: str = "") -> str:
    """Return the owner's text for a sink: by its address and the topic's id, or by its host and its name there."""
    name = f"{sink} {topic_id}" if "://" in str(sink) else f"{socket.gethostname()}:{sink}"
    return f"{_MARK}{name}"[:_LONGEST_OWNER]


def read_owners(consumer: Consumer) -> Owners | None:
    """Return the metadata of the group's offsets, by assigned partition that has one; None where no answer comes.

    librdkafka's administrative client crashes here when the group's coordinator has just begun:
    https://github.com/confluentinc/confluent-kafka-javascript/issues/374
    """
    try:
        places = _committed(consumer, consumer.assignment(), _ANSWER_S)
    except KafkaException:
        return None
    return {place.partition: place.metadata or "" for place in places}


def read_own(consumer: Consumer, topic: str, partitions: Iterable[int], owner: str) -> dict[int, int]:
    """Return the group's offsets that `owner` has committed; none where this client has no rights on the group.

    Raises KafkaException when there is no answer.
    """
    places = _committed(consumer, [TopicPartition(topic, part) for part in partitions], REQUEST_SECONDS)
    return {place.partition: place.offset for place in places if place.metadata == owner}


def _committed(consumer: Consumer, partitions: list[TopicPartition], seconds: float) -> list[TopicPartition]:
    try:
        places = consumer.committed(partitions, timeout=seconds)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return []
        raise
    for place in places:
        if place.error is not None:
            raise KafkaException(place.error)
    return [place for place in places if place.offset >= 0]


class GroupOffsets:
    """Commits to the group `group` how far `topic` is read, unless that is denied or the group is another client's.

    Who has committed before is looked up in a thread of its own, from the first commit on: it waits for the answer.
    `counted`: the next run resumes from these offsets, where the sink has none.
    """

    def __init__(
        self,
        consumer: Consumer,
        access: KafkaAccess,
        topic: str,
        group: str,
        owner: str,
        notify: Notify,
        *,
        counted: bool = False,
    ) -> None:
        self._consumer = consumer
        self._access = access
        self._topic = topic
        self._group = group
        self._owner = owner
        self._notify = notify
        self._without = _WITHOUT_RESUME if counted else _WITHOUT_LAG
        self._denied = False
        self._owners: Owners | None = None
        self._is_checked = False
        self._waiting: dict[int, int] = {}
        self._committed: set[int] = set()
        self._others: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, offsets: Mapping[int, int]) -> None:
        """Commit these for the partitions that the group has nothing of from this client yet."""
        self.commit({part: offset for part, offset in offsets.items() if part not in self._committed})

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit the next offset of each partition; not waited for, and lag monitors see it later when it fails."""
        self._waiting.update(offsets)
        if self._thread is None and self._waiting:
            thread = threading.Thread(target=self._look_up, name="group", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: the next commit tries again
                thread.start()
                self._thread = thread
        if not self._waiting or not self._may():
            return
        places = [
            TopicPartition(self._topic, part, offset, metadata=self._owner) for part, offset in self._waiting.items()
        ]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException:
            return
        self._committed |= self._waiting.keys()
        self._waiting.clear()

    def look(self) -> None:
        """Commit what has waited, and report another warehouse that commits to the same group."""
        self.commit({})
        for part, other in (self._owners or {}).items():
            if part in self._committed and other.startswith(_MARK) and other not in {self._owner, *self._others}:
                self._others.add(other)
                self._notify(
                    f"the group {self._group} is used by two warehouses, {other.removeprefix(_MARK)} and "
                    f"{self._owner.removeprefix(_MARK)}: "
                    "lag monitors see now the one, now the other. The rows of both are complete. Give one of them a "
                    f"group of its own: {program()} run --group NAME"
                )

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions that are another process's, whose offsets may be further by now."""
        for part in partitions:
            self._waiting.pop(part, None)
            self._committed.discard(part)

    def close(self, seconds: float) -> None:
        """Commit what has waited, which may need an answer first."""
        ends = time.monotonic() + seconds
        while self._waiting and not self._denied and self._owners is None and time.monotonic() < ends:
            time.sleep(_GLANCE_S)
        self.commit({})
        self._stop.set()

    def close_client(self) -> None:
        """Close the consumer's client once the look-up has ended: nobody may use one that is closed."""
        if self._thread is not None:
            self._thread.join()
        self._consumer.close()

    def deny(self) -> None:
        """Commit no more: this client has no rights on the group."""
        if not self._denied:
            self._denied = True
            self._notify(
                f"no rights on the group {self._group}: {self._without}. To grant them: "
                f"{grant(self._access, self._topic, self._group)}"
            )

    def _look_up(self) -> None:
        while not (self._stop.is_set() or self._denied):
            owners = read_owners(self._consumer)
            self._owners = self._owners if owners is None else owners
            self._stop.wait(_ANSWER_S if self._owners is None else _LOOK_S)

    def _may(self) -> bool:
        """Return whether the group is known not to be another client's, whose offsets would be lost."""
        owners = self._owners
        if self._denied or owners is None:
            return False
        if not self._is_checked:
            self._is_checked = True
            # Before owners were written, `lmdp` was the only group.
            if any(not name.startswith(_MARK) and (name or self._group != DEFAULT_GROUP) for name in owners.values()):
                self._denied = True
                self._notify(
                    f"the group {self._group} has offsets of another client on {self._topic}, which stay as they are: "
                    f"{self._without}. Name another group: {program()} run --group NAME"
                )
        return not self._denied
