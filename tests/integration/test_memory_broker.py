"""librdkafka's test broker, as `--broker memory` uses it."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition

from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.kafka.access import cluster_identity


def test_messages_pass_from_one_client_to_another() -> None:
    """A topic has 4 partitions once it is created, and what one client produces another consumes."""
    with MemoryBroker() as broker:
        broker.create_topic("t")
        producer = Producer(broker.access.config())
        assert sorted(producer.list_topics("t", timeout=5).topics["t"].partitions) == [0, 1, 2, 3]
        producer.produce("t", b"bundle", partition=2)
        assert producer.flush(5) == 0
        consumer = Consumer({**broker.access.config(), "group.id": "g"})
        consumer.assign([TopicPartition("t", 2, 0)])
        message = consumer.poll(5)
        consumer.close()
        assert message is not None
        assert (message.value(), message.offset()) == (b"bundle", 0)


def test_each_is_a_cluster_of_its_own() -> None:
    """Two brokers have two cluster ids, so that offsets of one are never taken for the other's; topics have no id."""
    with MemoryBroker() as one, MemoryBroker() as other:
        first, second = cluster_identity(one.access, "t", seconds=5), cluster_identity(other.access, "t", seconds=5)
    assert first[0].startswith("mockCluster")
    assert first[0] != second[0]
    assert (first[1], second[1]) == (None, None)


def test_no_certificates_are_needed() -> None:
    """Its access is plaintext and without fault."""
    with MemoryBroker() as broker:
        assert (broker.access.is_tls(), broker.access.faults()) == (False, [])
