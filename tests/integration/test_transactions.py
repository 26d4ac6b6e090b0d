"""Offsets without a message: transaction markers, aborted and compacted messages, and what retention does to them."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports in silence
    AdminClient,
    NewPartitions,
    NewTopic,
)

from lmdp.core.pipeline import TransformSettings, transform
from lmdp.machine.batch import Batch
from lmdp.machine.kafka.consumer import KafkaSource
from lmdp.machine.kafka.group_offsets import owner_of
from lmdp.machine.kafka.positions import Drain
from lmdp.machine.metrics import Progress
from lmdp.machine.settings import ConsumeSettings, StopEvents
from lmdp.testing.pipeline import MemorySink
from running import bundle, consuming, expected, publish, until
from transacting import aborted, committed, group_offsets, remove_before, transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker
    from lmdp.machine.kafka.access import KafkaAccess
    from running import Consuming


def plain(access: KafkaAccess, topic: str, numbers: Iterable[int]) -> None:
    """Put bundles on the topic without a transaction."""
    publish(access, topic, map(bundle, numbers))


def next_offsets(run: Consuming) -> list[int]:
    """What OFFSETS has, by partition."""
    table = run.warehouse.query("SELECT NEXT_OFFSET AS N FROM OFFSETS ORDER BY PARTITION").table
    return [int(number) for number in table.column("N").to_pylist()]


def loads(run: Consuming) -> list[tuple[int, int, int]]:
    """First offset, next offset and rows of each line of LOADS, of one partition."""
    sql = "SELECT FIRST_OFFSET AS A, NEXT_OFFSET AS Z, ROWS AS R FROM LOADS ORDER BY 1"
    return [(line["A"], line["Z"], line["R"]) for line in run.warehouse.query(sql).table.to_pylist()]


@pytest.mark.parametrize(
    ("parts", "rows", "end"),
    [
        ([(committed, range(10))], 10, 11),
        ([(aborted, range(200))], 0, 201),
        ([(committed, range(10)), (aborted, range(10, 30))], 10, 32),
        ([(plain, range(3)), (aborted, range(3, 4))], 3, 5),
    ],
    ids=["committed", "aborted", "committed then aborted", "plain then aborted"],
)
def test_the_end_of_the_log_is_the_next_offset(
    kafka_broker: KafkaBroker,
    admin: AdminClient,
    new_topic: Callable[..., str],
    tmp_path: Path,
    parts: list[tuple[Callable[[KafkaAccess, str, range], None], range]],
    rows: int,
    end: int,
) -> None:
    """Offsets without a message are read, not lost: in OFFSETS, for lag monitors, and after retention."""
    topic, path = new_topic(1), tmp_path / "w.duckdb"
    for put, numbers in parts:
        put(kafka_broker.access, topic, numbers)
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        run.ends.drain.set()
        until(lambda: run.ended)
        assert (run.rows(), next_offsets(run)) == (rows, [end])
    until(lambda: group_offsets(kafka_broker.access, topic, 1) == [(end, owner_of(path))])
    remove_before(admin, topic, end)
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        until(lambda: run.progress.lag == {0: 0})
        publish(kafka_broker.access, topic, [bundle(1000)])
        until(lambda: run.rows() == 1)
        assert (run.said, run.progress.gaps, run.warehouse.tally.exact().gaps) == ([], 0, 0)
        assert next_offsets(run) == [end + 1]
        assert run.warehouse.duplicates() == 0


def test_a_real_gap_behind_a_transaction_is_reported(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """What retention removes unread is lost, to the offset: the marker before it was read."""
    topic, path = new_topic(1), tmp_path / "w.duckdb"
    committed(kafka_broker.access, topic, range(10))
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        until(lambda: next_offsets(run) == [11])
    publish(kafka_broker.access, topic, map(bundle, range(10, 30)))
    remove_before(admin, topic, 18)
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        until(lambda: run.rows() == 13)
        assert run.told(f"LOST: 7 messages of {topic}-0 (offsets 11 to 17)")
        assert (run.progress.gaps, run.warehouse.tally.exact().gaps) == (7, 7)


def test_transactions_in_a_live_run(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Committed, aborted and open ones, retention behind them, and an added partition: each row once, no loss."""
    topic = new_topic(1)
    with consuming(kafka_broker.access, tmp_path / "w.duckdb", ConsumeSettings(topic)) as run:
        committed(kafka_broker.access, topic, range(10))
        aborted(kafka_broker.access, topic, range(10, 30))
        until(lambda: next_offsets(run) == [32])
        until(lambda: run.progress.lag == {0: 0})
        until(lambda: group_offsets(kafka_broker.access, topic, 1)[0][0] == 32)
        lines = loads(run)
        assert [first for first, _, _ in lines] == [0, *(end for _, end, _ in lines[:-1])]  # they adjoin
        assert (lines[-1][1], sum(rows for _, _, rows in lines)) == (32, 10)
        time.sleep(2)
        assert loads(run) == lines  # idle polls write nothing
        remove_before(admin, topic, 32)
        admin.create_partitions([NewPartitions(topic, 2)])[topic].result(20)
        until(lambda: run.told("new partitions"))
        opened = transaction(kafka_broker.access, topic, range(30, 35))
        publish(kafka_broker.access, topic, map(bundle, range(35, 40)), partition=1)
        until(lambda: run.rows() == 15)
        until(lambda: (run.progress.lag or {}).get(0) == 5)  # nobody can read them yet
        assert next_offsets(run)[0] == 32
        opened.commit_transaction(30)
        until(lambda: run.rows() == 20)
        until(lambda: [offset for offset, _ in group_offsets(kafka_broker.access, topic, 2)] == [38, 5])
        assert (run.told("LOST"), run.progress.gaps, run.warehouse.duplicates()) == (False, 0, 0)
        assert run.instances() == expected([*range(10), *range(30, 40)])


def test_transactions_that_end_during_a_commit(kafka_broker: KafkaBroker, new_topic: Callable[..., str]) -> None:
    """What queues up meanwhile is one batch, ends of the partition and all: its next offset is behind the last."""
    topic, settings = new_topic(1), TransformSettings(org_id="acme")
    source = KafkaSource(
        *(kafka_broker.access, MemorySink(), ConsumeSettings(topic), Progress(), StopEvents(), print),
        Drain(Event(), print),
    )
    batch = Batch(source.identity)

    def read(until_offset: int) -> bool:
        for fetch in source.poll():
            batch.add(fetch, transform(fetch.messages, settings), 0.0)
        return batch.next_offsets.get(0) == until_offset

    def queued() -> int:
        return int(source._consumer.get_watermark_offsets(TopicPartition(topic, 0), cached=True)[1])

    for end in range(11, 56, 11):
        committed(kafka_broker.access, topic, range(10))
        until(lambda end=end: queued() == end)  # type: ignore[misc]  # it is called at once
    until(lambda: read(55))
    source.close()
    ranges = [(part.first, part.next) for part in batch.load(datetime.now(UTC)).ranges if part.first < part.next]
    assert [first for first, _ in ranges] == [0, *(following for _, following in ranges[:-1])]
    assert ranges[-1][1] == 55


def test_until_idle_ends_before_an_open_transaction(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """What is behind it cannot be read: reported with its offsets, left to a later run, and lost by none."""
    topic, path = new_topic(1), tmp_path / "w.duckdb"
    publish(kafka_broker.access, topic, map(bundle, range(4)))
    hanging = transaction(kafka_broker.access, topic, range(4, 7))
    publish(kafka_broker.access, topic, map(bundle, range(7, 9)))
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        run.ends.drain.set()
        until(lambda: run.ended)
        assert run.rows() == 4
        assert run.told(f"{topic}-0: offsets 4 to 8 are behind an open transaction")
    hanging.abort_transaction(30)
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        run.ends.drain.set()
        until(lambda: run.ended)
        assert (run.instances(), run.said) == (expected([*range(4), 7, 8]), [])


def test_until_idle_ends_on_a_live_topic(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """It ends at the ends that it saw at its start, however much comes meanwhile; all partitions, also quiet ones."""
    topic = new_topic(50)
    publish(kafka_broker.access, topic, map(bundle, range(100)))
    live = Producer({**kafka_broker.access.config(), "linger.ms": 5})
    with consuming(kafka_broker.access, tmp_path / "w.duckdb", ConsumeSettings(topic)) as run:
        run.ends.drain.set()
        ends, number = time.monotonic() + 60, 100
        while not run.ended and time.monotonic() < ends:
            live.produce(topic, bundle(number), partition=0)
            live.poll(0.01)
            number += 1
        assert run.ended
        assert set(expected(range(100))) <= set(run.instances())
    assert live.flush(30) == 0


def test_a_compacted_topic(
    kafka_broker: KafkaBroker, admin: AdminClient, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Compacted offsets are holes in the log, and no loss: at its start, within it, and before its end."""
    topic, path = f"test.{uuid.uuid4().hex[:12]}", tmp_path / "w.duckdb"
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "200",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "200",
        "delete.retention.ms": "0",
    }
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(20)
    keyed = Producer({**kafka_broker.access.config(), "transactional.id": uuid.uuid4().hex})
    keyed.init_transactions(30)
    for start in range(0, 60, 20):
        keyed.begin_transaction()
        for number in range(start, start + 20):
            keyed.produce(topic, bundle(number), key=b"one", partition=0)
        keyed.commit_transaction(30)
        time.sleep(0.5)
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        run.ends.drain.set()
        until(lambda: run.ended)
        assert next_offsets(run) == [63]
        assert "i-59" in run.instances()
    with consuming(kafka_broker.access, path, ConsumeSettings(topic)) as run:
        until(lambda: run.progress.lag == {0: 0})
        assert (run.said, run.warehouse.tally.exact().gaps, run.warehouse.duplicates()) == ([], 0, 0)
