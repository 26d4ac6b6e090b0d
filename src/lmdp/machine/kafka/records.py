"""Records as the client hands them out: put together in runs, and made messages; and the errors among them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from confluent_kafka import KafkaError
from confluent_kafka import Message as Record

from lmdp.core.otlp.compression import GZIP, ZSTD
from lmdp.core.pipeline import Message

# Errors that come in a record's place.
TOPIC_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})  # noqa: SLF001 - the library's public names
OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001 - as above


def not_none(number: int | None) -> int:
    """Return the partition or offset of a record that was received; only one that was not sent yet has none."""
    assert number is not None
    return number


def epoch_of(record: Record) -> int:
    """Return the epoch of the leader that took it; -1 where the broker gives none."""
    epoch = record.leader_epoch()
    return -1 if epoch is None else epoch


def runs_of(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield records in their order, those of one partition and leader together.

    An event is alone, and so is what is compressed: nobody knows beforehand how much is in it.
    """
    for key, run in groupby(records, _run):
        together = list(run)
        yield from [together] if key else ([record] for record in together)


def _run(record: Record) -> tuple[int, int] | None:
    if record.error() or (record.value() or b"").startswith((GZIP, ZSTD)):
        return None
    return not_none(record.partition()), epoch_of(record)


def message_of(record: Record) -> Message:
    """Return the message in a record."""
    kind, timestamp = record.timestamp()
    headers: Any = record.headers() or ()
    return Message(
        record.value(),
        record.topic() or "",
        not_none(record.partition()),
        not_none(record.offset()),
        timestamp if kind else None,
        record.key(),
        tuple(headers),
    )
