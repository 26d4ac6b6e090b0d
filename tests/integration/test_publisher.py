"""The publisher against a broker: what it counts is what the topic holds."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from lmdp.errors import SettingsError
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.kafka import producer as publisher_module
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.kafka.producer import Publisher, publish_files, simulate
from lmdp.machine.simulation.collectors import Odds, Simulation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker

TOPIC = "lm.metrics.otlp"


@pytest.fixture
def memory() -> Iterator[KafkaAccess]:
    """Give librdkafka's own broker in this process: it speaks the protocol, and keeps little."""
    with MemoryBroker() as broker:
        yield broker.access


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def target(request: pytest.FixtureRequest) -> tuple[KafkaAccess, str]:
    """Give access to each kind of broker, and a topic of the test's own."""
    if request.param == "memory":
        return request.getfixturevalue("memory"), TOPIC
    return request.getfixturevalue("kafka_broker").access, request.getfixturevalue("new_topic")()


def on_topic(access: KafkaAccess, topic: str, count: int) -> list[tuple[bytes | None, bytes]]:
    """Give the key and value of each of the topic's `count` messages."""
    return [(message.key(), message.value() or b"") for message in messages_on(access, topic, count)]


def messages_on(access: KafkaAccess, topic: str, count: int) -> list[Message]:
    """Read `count` messages from the topic's partitions, and look that no more follow."""
    consumer = Consumer({**access.config(), "group.id": "test", "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found: list[Message] = []
    until = time.monotonic() + 20
    while len(found) < count and time.monotonic() < until:
        found += consumer.consume(count - len(found), 0.5)
    more = consumer.consume(1, 0.5)
    consumer.close()
    assert not more
    assert all(message.error() is None for message in found)
    return found


def test_a_simulation_is_on_the_topic_as_counted(target: tuple[KafkaAccess, str]) -> None:
    """Acknowledged messages, datapoints and bytes equal what a consumer then reads, repeats included."""
    publisher, expected = Publisher(*target), Simulation(3, 20, seed=5, odds=Odds(repeat=0.1))
    sent = list(expected.polls(1_760_000_000_000))
    for message in sent:
        assert publisher.send(message.value, message.key, message.datapoints)
    published = publisher.finish()
    assert (published.messages, published.failed, published.failures) == (len(sent), 0, {})
    assert published.datapoints == sum(message.datapoints for message in sent)
    assert published.bytes == sum(len(message.value) for message in sent)
    assert Counter(on_topic(*target, len(sent))) == Counter((m.key, m.value) for m in sent)


@pytest.mark.parametrize(("burst", "least_ms", "most_ms"), [(False, 1800, 3000), (True, 0, 1000)])
def test_a_round_is_spread_over_its_interval_or_sent_at_once(
    memory: KafkaAccess, *, burst: bool, least_ms: int, most_ms: int
) -> None:
    """Kafka's own timestamps lie over the whole interval, or in a burst together; the duration ends it either way."""
    publisher, begun = Publisher(memory, TOPIC), time.monotonic()
    simulate(publisher, Simulation(1, 20, odds=Odds(0, 0, 0, 0)), interval_s=2, duration_s=2, burst=burst)
    assert 1.9 < time.monotonic() - begun < 4
    assert publisher.finish().messages == 20
    sent_ms = [message.timestamp()[1] for message in messages_on(memory, TOPIC, 20)]
    assert least_ms <= max(sent_ms) - min(sent_ms) <= most_ms


def test_the_duration_says_how_many_rounds(memory: KafkaAccess) -> None:
    """Two seconds at an interval of half a second are four rounds."""
    publisher = Publisher(memory, TOPIC)
    simulate(publisher, Simulation(2, 5, odds=Odds(0, 0, 0, 0)), interval_s=0.5, duration_s=2)
    assert publisher.finish().messages == 40


def test_stop_ends_a_simulation_without_end(target: tuple[KafkaAccess, str]) -> None:
    """Told to stop, it ends within moments, and what it sent is flushed and counted."""
    publisher = Publisher(*target)
    thread = threading.Thread(target=simulate, args=(publisher, Simulation(1, 50)), kwargs={"interval_s": 1})
    thread.start()
    time.sleep(0.7)
    publisher.stop.set()
    thread.join(5)
    assert not thread.is_alive()
    published = publisher.finish()
    assert published.failed == 0
    assert len(on_topic(*target, published.messages)) == published.messages > 0


def test_it_waits_while_there_is_no_room(memory: KafkaAccess) -> None:
    """While `room` says no, nothing is sent; when it says yes, all of it is."""
    asked = Counter[str]()

    def room() -> bool:
        asked["times"] += 1
        return asked["times"] > 10

    publisher = Publisher(memory, TOPIC, has_space=room)
    begun = time.monotonic()
    assert publisher.send(b"{}", None, 0)
    assert time.monotonic() - begun > 0.15
    assert publisher.finish().messages == 1


def test_stop_ends_the_wait_for_room(memory: KafkaAccess) -> None:
    """A broker that never has room does not hold the publisher when it is told to stop."""
    publisher = Publisher(memory, TOPIC, has_space=lambda: False)
    threading.Timer(0.3, publisher.stop.set).start()
    assert not publisher.send(b"{}")
    assert publisher.finish().messages == 0


def test_files_are_published_in_order(target: tuple[KafkaAccess, str], tmp_path: Path) -> None:
    """Each line, or each other file whole, is one message; their datapoints are not known."""
    (tmp_path / "a.jsonl").write_bytes(b'{"a":1}\n\n{"b":2}\n')
    (tmp_path / "b.json").write_bytes(b'{\n"c": 3\n}\n')
    publisher = Publisher(*target)
    publish_files(publisher, [tmp_path / "a.jsonl", tmp_path / "b.json"])
    published = publisher.finish()
    assert (published.messages, published.datapoints, published.failed) == (3, None, 0)
    assert sorted(value for _, value in on_topic(*target, 3)) == [b'{\n"c": 3\n}\n', b'{"a":1}', b'{"b":2}']


def test_a_full_queue_waits_for_the_broker(target: tuple[KafkaAccess, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a queue of 10 messages, 300 arrive all the same."""
    monkeypatch.setitem(publisher_module.PRODUCER_SETTINGS, "queue.buffering.max.messages", 10)
    publisher = Publisher(*target)
    assert all(publisher.send(b"%d" % n, None, 1) for n in range(300))
    published = publisher.finish()
    assert (published.messages, published.datapoints, published.failed) == (300, 300, 0)
    assert Counter(value for _, value in on_topic(*target, 300)) == Counter(b"%d" % n for n in range(300))


def test_what_a_missing_broker_never_acknowledged_is_failed_and_not_published() -> None:
    """Nothing answers: at the end every message is counted as failed, with the reason, within the time given."""
    publisher = Publisher(KafkaAccess("127.0.0.1:1"), TOPIC)
    for _ in range(7):
        publisher.send(b"{}", None, 3)
    begun = time.monotonic()
    published = publisher.finish(timeout_s=0.5)
    assert time.monotonic() - begun < 5
    assert (published.messages, published.datapoints, published.failed) == (0, 0, 7)
    assert list(published.failures.values()) == [7]
    assert "not acknowledged" in next(iter(published.failures))


def test_a_message_that_the_client_refuses_is_counted_and_the_others_go_on(target: tuple[KafkaAccess, str]) -> None:
    """A message beyond every limit fails alone."""
    publisher = Publisher(*target)
    for value in (b"{}", bytes(65 * 2**20), b"{}"):
        assert publisher.send(value, None, 1)
    published = publisher.finish()
    assert (published.messages, published.datapoints, published.failed) == (2, 2, 1)
    assert "too large" in next(iter(published.failures)).lower()


def test_unusable_certificates_are_told_at_the_start(tmp_path: Path) -> None:
    """A CA file that is none is a fault of the settings, not a traceback."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match="could not be made"):
        Publisher(KafkaAccess("127.0.0.1:1", ca=tmp_path / "ca.pem"), TOPIC)


@pytest.mark.kafka
def test_changed_certificate_files_are_taken_up(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """A renewed pair is used from then on, a broken one is left alone, and no message is lost over either."""
    files = {name: tmp_path / name for name in ("ca", "cert", "key")}
    for name, path in files.items():
        shutil.copy(getattr(kafka_broker.access, name), path)
    access, topic = KafkaAccess(kafka_broker.bootstrap_servers, files["ca"], files["cert"], files["key"]), new_topic()
    publisher = Publisher(access, topic)
    clients = [publisher._producer]
    for value, content in ((b"1", None), (b"2", files["cert"].read_text() + "\n"), (b"3", "no certificate")):
        if content is not None:
            files["cert"].write_text(content)
        publisher.refresh()
        clients.append(publisher._producer)
        publisher.send(value, None, 1)
    assert [old is new for old, new in pairwise(clients)] == [True, False, True]
    assert publisher.finish().messages == 3
    assert sorted(value for _, value in on_topic(kafka_broker.access, topic, 3)) == [b"1", b"2", b"3"]
