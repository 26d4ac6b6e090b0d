"""The sinks of a replay other than a warehouse: a Kafka topic, a Firehose stream, or Snowflake directly.

All are at-least-once: what was sent before a crash is sent again afterwards, and METRICS shows each row once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Final, TypeAlias

from lmdp.errors import UnreachableError
from lmdp.replay.retry import Outcome

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from lmdp.core.specification import Spec
    from lmdp.machine.kafka.access import KafkaAccess

Send: TypeAlias = Callable[[Outcome], int]
"""Delivers an outcome whole or raises, and returns the bytes that it sent."""

SECONDS: Final = 300.0
"""The time after which an object's rows are given up, in seconds; the next replay tries them again."""

_ASK_SECONDS: Final = 10.0
_FLUSH_SECONDS: Final = 150.0  # beyond librdkafka's own time for a message, which is 120 s here
_CALLS: Final = 8


def into_kafka(access: KafkaAccess, topic: str, *, seconds: float = _ASK_SECONDS) -> Send:
    """Return a sink for messages as they were: value, key, time, from which a row may have its own, and tenant.

    `seconds` is how long the broker may take to answer at first. Raises LmdpError.
    """
    from confluent_kafka import KafkaException  # noqa: PLC0415 - librdkafka, only where it is wanted

    from lmdp.machine.kafka.access import ClientErrors, cluster_identity  # noqa: PLC0415 - as above
    from lmdp.machine.kafka.producer import open_producer  # noqa: PLC0415 - as above

    cluster_identity(access, topic, seconds=seconds)  # nothing is sent before the topic is known to be there
    producer = open_producer(access, ClientErrors())

    def send(outcome: Outcome) -> int:
        failures: Counter[str] = Counter()

        def done(error: KafkaError | None, _message: object) -> None:
            failures.update([error.str()] if error else [])

        for message in outcome.messages:
            time = message.timestamp or 0  # 0: the time of sending
            headers: list[tuple[str, str | bytes | None]] = list(message.headers)
            produce = partial(
                producer.produce, topic, message.value, message.key, on_delivery=done, timestamp=time, headers=headers
            )
            try:
                while not _queued(produce):
                    producer.poll(0.1)
            except KafkaException as error:
                failures[error.args[0].str()] += 1
        failures["no answer"] += producer.flush(_FLUSH_SECONDS)
        if failures.total():
            reasons = "; ".join(f"{count}: {reason}" for reason, count in failures.items() if count)
            raise UnreachableError(
                f"{failures.total():,} of {len(outcome.messages):,} messages to {topic} were not acknowledged "
                f"({reasons})."
            )
        return sum(len(message.value or b"") for message in outcome.messages)

    return send


def _queued(produce: Callable[[], object]) -> bool:
    """Return whether there was space in the producer's queue."""
    try:
        produce()
    except BufferError:
        return False
    return True


def into_firehose(stream: str, region: str, env: Mapping[str, str], row_spec: Spec) -> Send:
    """Return a sink for rows; `row_spec` has the fields named as the rows' keys. Raises LmdpError."""
    from lmdp.cloud.firehose_sink import deliver, open_firehose  # noqa: PLC0415 - botocore, only where it is wanted
    from lmdp.core.encode import encode  # noqa: PLC0415 - as above

    firehose = open_firehose(stream, region, env, _CALLS)

    def send(outcome: Outcome) -> int:
        rows: Sequence[bytes] = encode(outcome.rows, row_spec)
        deliver(firehose, rows, firehose.clock() + SECONDS)
        return sum(map(len, rows))

    return send


def into_snowflake(env: Mapping[str, str], spec: Spec, stop: Event) -> Send:
    """Return a sink for rows, through the direct writer's pipe; once `stop` is set nothing is repeated.

    Raises LmdpError.
    """
    from lmdp.core.column_names import styled  # noqa: PLC0415 - as above
    from lmdp.core.encode import encode  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.elastic import post  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.session import Session  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.settings import WriterSettings  # noqa: PLC0415 - as above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - as above

    settings = WriterSettings.from_env(env, SnowflakeSettings.from_env(env))
    session, row_spec = Session(settings.account, stop), styled(spec, settings.identifiers)

    def send(outcome: Outcome) -> int:
        rows: Sequence[bytes] = encode(outcome.rows, row_spec)
        post(session, settings.place, rows, SECONDS)
        return sum(map(len, rows))

    return send


def profile_region() -> str | None:
    """Return the Region of the user's AWS profile or environment."""
    from botocore.session import Session  # noqa: PLC0415 - as above

    region: str | None = Session().get_config_variable("region")
    return region
