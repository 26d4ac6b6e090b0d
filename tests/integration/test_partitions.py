"""What changes about a topic while it is read, or between two reads of it."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]  # it re-exports in silence

from lmdp.errors import SettingsError
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.kafka.consumer import KafkaSource
from lmdp.machine.kafka.positions import Drain
from lmdp.machine.metrics import Progress
from lmdp.machine.offsets import Fetch, OffsetRange
from lmdp.machine.settings import ConsumeSettings, StopEvents
from lmdp.machine.sink import Load
from lmdp.testing.pipeline import MemorySink
from running import bundle, consuming, expected, publish, until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker


def _forget(admin: AdminClient, topic: str, *offsets: int) -> None:
    """Let the broker remove what stands before these offsets, as retention does."""
    places = [TopicPartition(topic, partition, offset) for partition, offset in enumerate(offsets)]
    for done in admin.delete_records(places).values():
        done.result(20)


def test_added_partitions_are_read_from_their_start(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """A topic that grows during a run is followed, and nothing is read twice for it."""
    topic = new_topic(2)
    publish(kafka_broker.access, topic, map(bundle, range(100)))
    with consuming(kafka_broker.access, tmp_path / "w.duckdb", ConsumeSettings(topic)) as run:
        until(lambda: run.rows() == 100)
        admin.create_partitions([NewPartitions(topic, 4)])[topic].result(20)
        until(lambda: run.told("new partitions"))
        for partition in range(4):
            numbers = range(100 + partition * 10, 110 + partition * 10)
            publish(kafka_broker.access, topic, map(bundle, numbers), partition=partition)
        until(lambda: run.rows() >= 140)
        assert run.instances() == expected(range(140))
        assert run.warehouse.duplicates() == 0


def test_a_topic_made_anew_is_another_one(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Deleted and made again under its name during a run: read from its start, and that is said."""
    topic = new_topic(1)
    publish(kafka_broker.access, topic, map(bundle, range(100)))
    with consuming(kafka_broker.access, tmp_path / "w.duckdb", ConsumeSettings(topic)) as run:
        until(lambda: run.rows() == 100)
        admin.delete_topics([topic])[topic].result(20)
        kafka_broker.create_topic(topic, 1)
        # More than the old one had: offsets of the old one exist in it too.
        publish(kafka_broker.access, topic, map(bundle, range(100, 400)))
        until(lambda: run.rows() >= 400)
        assert run.instances() == expected(range(400))
        assert run.told("is not the topic that this warehouse has read before")
        assert run.warehouse.duplicates() == 0


def test_messages_that_retention_took_are_counted_and_told(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """The gap is said with its offsets, the rest is read once, and the next start does not tell it again."""
    topic, path = new_topic(2), tmp_path / "w.duckdb"
    for partition in range(2):
        publish(
            kafka_broker.access, topic, map(bundle, range(partition * 50, partition * 50 + 50)), partition=partition
        )
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        until(lambda: run.rows() == 100)
    publish(kafka_broker.access, topic, map(bundle, range(1000, 1070)), partition=0)
    publish(kafka_broker.access, topic, map(bundle, range(2000, 4000)), partition=1)
    _forget(admin, topic, 120, 50)
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        until(lambda: run.rows() == 2000)
        until(lambda: run.told(f"LOST: 70 messages of {topic}-0 (offsets 50 to 119)"))
        assert (run.progress.gaps, run.warehouse.tally.exact().gaps) == (70, 70)
        assert run.instances() == expected([*range(100), *range(2000, 4000)])
        assert run.warehouse.duplicates() == 0
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        publish(kafka_broker.access, topic, [bundle(5000)], partition=0)
        until(lambda: run.rows() == 1)
        assert (run.progress.gaps, run.told("LOST")) == (0, False)


class _ResetFirst:
    """A client that gives a partition's reset in front of what has arrived of others, in one answer."""

    def __init__(self, client: Consumer) -> None:
        self._client = client
        self._held: list[Message] = []
        self._has_reset = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def consume(self, most: int, timeout: float) -> list[Message]:
        """Return nothing before both are there."""
        if self._has_reset:
            return self._client.consume(most, timeout)
        self._held += self._client.consume(most, timeout)
        resets = [one for one in self._held if (error := one.error()) and error.code() == KafkaError._AUTO_OFFSET_RESET]
        if resets and any(one.error() is None for one in self._held):
            self._has_reset = True
            return [*resets, *(one for one in self._held if one not in resets)]
        return []


def test_a_reset_of_one_partition_skips_nothing_of_another(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str]
) -> None:
    """In a group only the partition that is reset is read again: what came of others with it is kept."""
    topic, said = new_topic(2), list[str]()
    for partition in range(2):
        publish(kafka_broker.access, topic, map(bundle, range(20)), partition=partition)
    _forget(admin, topic, 5)
    sink, settings = MemorySink(), ConsumeSettings(topic, group=topic, shared=True)
    source = KafkaSource(
        kafka_broker.access, sink, settings, Progress(), StopEvents(), said.append, Drain(Event(), said.append)
    )
    ids = (source.identity.cluster, source.identity.topic_id, topic)
    sink.loads.append(Load([], [], [OffsetRange(*ids, 0, 0, 2, 0, 0)], datetime.now(UTC)))
    source._consumer = _ResetFirst(source._consumer)  # type: ignore[assignment]  # enough of one
    found: list[Fetch] = []

    def read() -> bool:
        found.extend(source.poll())
        return sum(len(fetch.messages) for fetch in found) >= 35

    until(read)
    source.close()
    assert sorted((fetch.partition, message.offset) for fetch in found for message in fetch.messages) == [
        *((0, offset) for offset in range(5, 20)),
        *((1, offset) for offset in range(20)),
    ]
    assert [(fetch.first, fetch.lost_from) for fetch in found if fetch.lost_from is not None] == [(5, 2)]


class _Asked(MemorySink):
    """A sink that notes which partitions' offsets it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = list[int]()

    def offsets(self, cluster: str, topic_id: str, topic: str, partitions: Collection[int] = ()) -> dict[int, int]:
        self.asked += partitions
        return super().offsets(cluster, topic_id, topic, partitions)


def test_an_assignment_that_comes_at_the_end_is_not_taken(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str]
) -> None:
    """A run that ends before it reads its first partitions does not take them from their writer."""
    topic, sink = new_topic(2), _Asked()
    settings = ConsumeSettings(topic, group=topic, shared=True)
    source = KafkaSource(kafka_broker.access, sink, settings, Progress(), StopEvents(), print, Drain(Event(), print))

    def is_assigned() -> bool:
        try:
            members = admin.describe_consumer_groups([topic])[topic].result(10).members
        except KafkaException:  # the coordinator has just begun
            return False
        return any(member.assignment and member.assignment.topic_partitions for member in members)

    until(is_assigned)
    source.close()
    assert sink.asked == []


def test_a_run_that_joins_a_group_is_drained_once_it_has_partitions() -> None:
    """A group gives nothing to a process that joins until others have given some back: that is no end."""
    wanted = Event()
    wanted.set()
    drain, settings = Drain(wanted, print), ConsumeSettings("t", group="g", shared=True)
    with MemoryBroker() as broker:
        broker.create_topic("t")
        source = KafkaSource(broker.access, MemorySink(), settings, Progress(), StopEvents(drain=wanted), print, drain)
        drained = []
        for given in ([], [TopicPartition("t", 1)], []):
            source._on_assign(source._consumer, given)
            drained.append(source.is_drained())
        source.close()
    assert drained == [False, True, True]


def test_offsets_of_partitions_that_were_given_away_are_not_committed() -> None:
    """Neither after a revocation nor after a loss: the new owner may have committed further ones."""
    settings = ConsumeSettings("t", group="g", shared=True)
    with MemoryBroker() as broker:
        broker.create_topic("t")
        source = KafkaSource(
            broker.access, MemorySink(), settings, Progress(), StopEvents(), print, Drain(Event(), print)
        )
        places = [TopicPartition("t", part) for part in range(3)]
        source._on_assign(source._consumer, places)
        source._group._waiting.update({0: 1, 1: 1, 2: 1})  # the look-up has no answer yet
        source._on_revoke(source._consumer, places[:1])
        source._on_lost(source._consumer, places[1:2])
        assert source._group._waiting == {2: 1}
        source.close()


def test_a_partition_that_was_empty_is_missed_too(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """What comes after the first start, and goes before the second one, is lost and said, though nothing was read."""
    topic, path = new_topic(2), tmp_path / "w.duckdb"
    publish(kafka_broker.access, topic, map(bundle, range(30)))
    _forget(admin, topic, 5)
    with consuming(kafka_broker.access, path, ConsumeSettings(topic, (0,))) as run:
        until(lambda: run.rows() == 10)  # the first start misses nothing: it begins where the topic does
        assert (run.progress.gaps, run.warehouse.tally.exact().gaps) == (0, 0)
    empty = new_topic(1)
    with consuming(kafka_broker.access, path, ConsumeSettings(empty)) as run:
        until(lambda: run.warehouse.query(f"SELECT 1 FROM OFFSETS WHERE TOPIC = '{empty}'").table.num_rows)
    publish(kafka_broker.access, empty, map(bundle, range(100, 140)))
    _forget(admin, empty, 25)
    with consuming(kafka_broker.access, path, ConsumeSettings(empty)) as run:
        until(lambda: run.rows() == 15)
        assert run.told(f"LOST: 25 messages of {empty}-0 (offsets 0 to 24)")
        assert (run.progress.gaps, run.warehouse.tally.exact().gaps, run.warehouse.duplicates()) == (25, 25, 0)


def test_a_topic_is_split_over_two_files(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Two consumers with half of the partitions each have every row once between them."""
    topic = new_topic(4)
    publish(kafka_broker.access, topic, map(bundle, range(400)))
    halves = ConsumeSettings(topic, (0, 1)), ConsumeSettings(topic, (2, 3))
    with (
        consuming(kafka_broker.access, tmp_path / "a.duckdb", halves[0]) as one,
        consuming(kafka_broker.access, tmp_path / "b.duckdb", halves[1]) as other,
    ):
        until(lambda: one.rows() + other.rows() >= 400)
        assert sorted(one.instances() + other.instances()) == expected(range(400))
        assert one.rows() > 0
        assert other.rows() > 0


def test_a_partition_that_is_not_there(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """The start is refused, with what there is."""
    topic = new_topic(2)
    with (
        pytest.raises(SettingsError, match=r"no partition 2, 7; it has 2, from 0 to 1"),
        consuming(kafka_broker.access, tmp_path / "w.duckdb", ConsumeSettings(topic, (1, 2, 7))) as run,
    ):
        until(lambda: run.error is not None)
