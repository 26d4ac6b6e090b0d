"""Offsets that a broker has, of all partitions in one request each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # it re-exports without saying so

if TYPE_CHECKING:
    from collections.abc import Iterable

    from confluent_kafka.admin import AdminClient

_GRACE_S = 1.0  # librdkafka ends a request by itself; its future is waited for a little longer


@dataclass(frozen=True, slots=True)
class Log:
    """One partition's log: its `first` offset, the last `stable` one and the `end`, each exclusive but `first`.

    A consumer reads up to `stable`. From there to the `end` an open transaction is in the way.
    https://kafka.apache.org/documentation/#consumerconfigs_isolation.level
    """

    first: int
    stable: int
    end: int


def read_logs(admin: AdminClient, topic: str, partitions: Iterable[int], seconds: float) -> dict[int, Log]:
    """Return the logs of those partitions that answer within `seconds`; one without a leader is left out."""
    places = [TopicPartition(topic, partition) for partition in partitions]
    if not places:
        return {}
    earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
    kinds = (
        (earliest, IsolationLevel.READ_UNCOMMITTED),
        (latest, IsolationLevel.READ_COMMITTED),
        (latest, IsolationLevel.READ_UNCOMMITTED),
    )
    asked = [
        admin.list_offsets(dict.fromkeys(places, spec), isolation_level=level, request_timeout=seconds)
        for spec, level in kinds
    ]
    logs = {}
    for place in places:
        try:
            first, stable, end = (int(answer[place].result(seconds + _GRACE_S).offset) for answer in asked)
        except (KafkaException, TimeoutError):
            continue
        logs[place.partition] = Log(first, stable, max(stable, end))  # it may have grown between the requests
    return logs
