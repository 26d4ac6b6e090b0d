"""Offsets for those who watch a consumer's lag: Kafka's group gets them, and nothing here reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class GroupOffsets:
    """Tells the group `group` how far `topic` is read, until that is denied; `say` is told so."""

    def __init__(self, consumer: Consumer, topic: str, group: str, say: Callable[[str], None]) -> None:
        self._consumer = consumer
        self._topic = topic
        self._group = group
        self._say = say
        self._denied = False
        self._committed: set[int] = set()

    def note(self, offsets: Mapping[int, int]) -> None:
        """Commit these for the partitions that the group has nothing of from this client yet."""
        self.commit({part: offset for part, offset in offsets.items() if part not in self._committed})

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit the next offset of each partition; not waited for, and lag monitors see it later when it fails."""
        if self._denied or not offsets:
            return
        places = [TopicPartition(self._topic, part, offset) for part, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException:
            return
        self._committed.update(offsets)

    def deny(self) -> None:
        """Tell it no more: this client has no rights on it."""
        if not self._denied:
            self._denied = True
            self._say(
                f"no rights on the group {self._group}: lag monitors will not see this consumer, and the rows come all "
                f"the same. To grant them: lmdp topic acls --reader NAME --group {self._group}"
            )
