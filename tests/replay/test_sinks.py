"""Replays to Kafka and to Firehose."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from msgspec import structs

from cloud.names import REGION, STREAM
from lmdp import TransformSettings, transform
from lmdp.core.column_names import styled
from lmdp.errors import LmdpError, UnreachableError
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.replay.retry import Report
from lmdp.replay.sinks import Send, into_firehose, into_kafka
from lmdp.replay.stores import Folder
from lmdp.support.reject_files import write_to_folder
from lmdp.testing.firehose import DENIED
from replay.failures import (
    NOW,
    SPEC,
    How,
    files,
    firehose_record,
    message,
    of_tenant,
    rejects,
    row_json,
    run,
    sent,
    two,
)  # fmt: skip
from running import bundle


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaAccess]:
    """Librdkafka's own broker, in this process."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (found,) = owner.list_topics(timeout=10).brokers.values()
    yield KafkaAccess(f"{found.host}:{found.port}")
    owner.flush(5)


def replay(folder: Path, send: Send, how: How) -> Report:
    """Replay a folder."""
    return sent(Folder.open(folder), send, how)


def on_topic(broker: KafkaAccess, topic: str) -> list[Any]:
    """The messages of a topic."""
    consumer = Consumer({**broker.config(), "group.id": "test", "log_level": 0})
    parts = [TopicPartition(topic, n, 0) for n in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
    wanted = sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)
    consumer.assign(parts)
    found: list[Any] = []
    while len(found) < wanted:
        found += consumer.consume(wanted - len(found), timeout=5)
    consumer.close()
    return found


def test_kafka(tmp_path: Path, broker: KafkaAccess) -> None:
    """A message goes whole, with its key and time, once; what would still be rejected whole stays."""
    whole = two(1)
    rejects(tmp_path, message(whole, 5), message(b"no bundle", 6), message(bundle(7), 7))
    report = replay(tmp_path, into_kafka(broker, "replayed"), run(whole=True))
    assert (report.counts.messages, dict(report.reasons)) == (3, {"Decode.Malformed": 1})
    found = on_topic(broker, "replayed")
    assert [(each.key(), each.timestamp()[1]) for each in found] == [
        (b"key", 1_770_000_000_005),
        (b"key", 1_770_000_000_007),
    ]
    assert found[1].value() == bundle_rejected(7)
    assert replay(tmp_path, into_kafka(broker, "replayed"), run(whole=True)).replayed == 0
    assert len(on_topic(broker, "replayed")) == 2


def test_kafka_gets_the_tenant_as_a_header(tmp_path: Path, broker: KafkaAccess) -> None:
    """A consumer that trusts it makes the same rows."""
    write_to_folder(tmp_path, [of_tenant("acmé", 1), of_tenant("", 2)], NOW)
    replay(tmp_path, into_kafka(broker, "tenants"), run(whole=True))
    assert [each.headers() for each in on_topic(broker, "tenants")] == [[("lmdp-tenant", "acmé".encode())], None]


def bundle_rejected(number: int) -> bytes:
    """What a reject of this bundle has: its failed datapoint, which is all of it."""
    (reject,) = transform([message(bundle(number), number)], TransformSettings()).rejects
    return reject.raw


def test_kafka_is_not_there(tmp_path: Path) -> None:
    """Nothing is sent before the broker is known to be there."""
    rejects(tmp_path, message(bundle(1), 5))
    with pytest.raises(LmdpError):
        into_kafka(KafkaAccess("127.0.0.1:9"), "t", seconds=1)
    assert not (tmp_path / "replayed").exists()


def test_kafka_refuses(tmp_path: Path, broker: KafkaAccess) -> None:
    """A message that is not acknowledged leaves its object where it is."""
    send = into_kafka(broker, "refused")
    rejects(tmp_path, message(bundle(1), 5))

    def too_large(outcome: Any) -> int:
        outcome.messages = [structs.replace(outcome.messages[0], value=b"x" * 70_000_000)]
        return send(outcome)

    with pytest.raises(UnreachableError, match="1 of 1 messages to refused were not acknowledged"):
        replay(tmp_path, too_large, run(whole=True))
    assert not any(name.startswith("replayed") for name in files(tmp_path))


def test_firehose(tmp_path: Path, double: Any) -> None:
    """Bundles and failed rows become records, with the keys that are wanted now."""
    rejects(tmp_path, message(bundle(1), 5))
    failed = [firehose_record(json.dumps(row_json(n)).encode()) for n in (2, 3)]
    (tmp_path / "failed").write_text("".join(map(json.dumps, [*failed, firehose_record(b"{}")])))
    keys = styled(SPEC, "upper")
    for _ in range(2):
        replay(tmp_path, into_firehose(STREAM, REGION, os.environ, keys), run())
        assert sorted(json.loads(record)["INSTANCE"] for record in double.accepted) == ["i-1", "i-2", "i-3"]
        assert {json.loads(record)["ORGID"] for record in double.accepted} == {"acme"}
    assert len([name for name in files(tmp_path) if not name.startswith("replayed/")]) == 1


def test_firehose_refuses(tmp_path: Path, double: Any) -> None:
    """An object whose rows are not accepted stays; those before it are done with."""
    for n in range(2):
        rejects(tmp_path, message(bundle(n), n))
    send, calls = into_firehose(STREAM, REGION, os.environ, SPEC), []

    def second_fails(outcome: Any) -> int:
        calls.append(1)
        if len(calls) == 2:
            double.script.append(DENIED)
        return send(outcome)

    with pytest.raises(LmdpError, match=r"otlp-0-1-1.*AccessDenied"):
        replay(tmp_path, second_fails, run())
    assert len([name for name in files(tmp_path) if not name.startswith("replayed/")]) == 1
    assert replay(tmp_path, send, run()).replayed == 1
    assert len(double.accepted) == 2
