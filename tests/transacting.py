"""Transactions on a topic, retention, and what lag monitors see: for tests on a real Kafka."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, Producer, TopicPartition

from running import bundle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka.admin import AdminClient

    from lmdp.machine.kafka.access import KafkaAccess

_S = 60


def transaction(access: KafkaAccess, topic: str, numbers: Iterable[int], partition: int = 0) -> Producer:
    """Put bundles on the topic in a transaction that is still open."""
    producer = Producer({**access.config(), "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(_S)
    producer.begin_transaction()
    for number in numbers:
        producer.produce(topic, bundle(number), partition=partition)
    assert producer.flush(_S) == 0
    return producer


def committed(access: KafkaAccess, topic: str, numbers: Iterable[int], partition: int = 0) -> None:
    """Put bundles on the topic in a transaction, and commit it: its marker has an offset, too."""
    transaction(access, topic, numbers, partition).commit_transaction(_S)


def aborted(access: KafkaAccess, topic: str, numbers: Iterable[int], partition: int = 0) -> None:
    """The same, aborted: nobody gets these messages."""
    transaction(access, topic, numbers, partition).abort_transaction(_S)


def remove_before(admin: AdminClient, topic: str, *offsets: int) -> None:
    """Let the broker remove what is before these offsets, as retention does."""
    places = [TopicPartition(topic, partition, offset) for partition, offset in enumerate(offsets)]
    for done in admin.delete_records(places).values():
        done.result(_S)


def group_offsets(access: KafkaAccess, topic: str, partitions: int) -> list[tuple[int, str | None]]:
    """What the group `lmdp` has for each partition, as kafka-consumer-groups shows it: offset and metadata."""
    consumer = Consumer({**access.config(), "group.id": "lmdp"})
    try:
        places = consumer.committed([TopicPartition(topic, partition) for partition in range(partitions)], timeout=_S)
    finally:
        consumer.close()
    return [(place.offset, place.metadata) for place in places]
