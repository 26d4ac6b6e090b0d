"""librdkafka's records as messages, and the settings of the client that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as Record

from lmdp.core.otlp.compression import GZIP, ZSTD
from lmdp.core.pipeline import Message
from lmdp.machine.kafka.log_offsets import Log

# https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
CONSUMER_SETTINGS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # a gap is found and said here, never jumped over in silence
    # What is fetched ahead is compressed on the wire and several times larger here; more of it is no faster.
    "queued.max.messages.kbytes": 4_096,
    "max.partition.fetch.bytes": 262_144,
    "fetch.max.bytes": 1_048_576,  # within the time of a request, also where a few tens of kB come a second
    "fetch.wait.max.ms": 100,
    # How long to fetch nothing once so much is there; librdkafka's second is ten times as long as that lasts.
    "fetch.queue.backoff.ms": 10,
    "isolation.level": "read_committed",
}
TOPIC_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})  # noqa: SLF001 - the library's public names
OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001 - as above


def partition_of(record: Record) -> int:
    """The partition of a record that was received; only one that was not sent yet has none."""
    partition = record.partition()
    assert partition is not None
    return partition


def offset_of(record: Record) -> int:
    """The offset of a record, or of an end that was reached."""
    offset = record.offset()
    assert offset is not None
    return offset


def epoch_of(record: Record) -> int:
    """The epoch of the leader that took it; -1 where the broker tells none."""
    epoch = record.leader_epoch()
    return -1 if epoch is None else epoch


def runs_of(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records in their order, those of one partition and leader together.

    What is no message stands alone, and so does what is compressed: nobody knows before how much is in it.
    """
    for key, run in groupby(records, _run):
        together = list(run)
        yield from [together] if key else ([record] for record in together)


def _run(record: Record) -> tuple[int, int] | None:
    if record.error() or (record.value() or b"").startswith((GZIP, ZSTD)):
        return None
    return partition_of(record), epoch_of(record)


def message_of(record: Record) -> Message:
    """The message in a record."""
    kind, timestamp = record.timestamp()
    return Message(
        record.value(),
        record.topic() or "",
        partition_of(record),
        offset_of(record),
        timestamp if kind else None,
        record.key(),
    )


def lag_of(consumer: Consumer, topic: str, positions: Mapping[int, int], logs: Mapping[int, Log]) -> dict[int, int]:
    """How many offsets each partition has beyond its position: by its last answer, before the first one by `logs`."""
    lag = {}
    for part, position in positions.items():
        _, high = consumer.get_watermark_offsets(TopicPartition(topic, part), cached=True)
        end = high if high >= 0 or part not in logs else logs[part].end
        lag[part] = max(0, end - position)
    return lag
