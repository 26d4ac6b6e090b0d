"""Kafka → a loop that hands over and retries as EventBridge Pipes does → the function → Firehose's double → DuckDB."""

from __future__ import annotations

import gzip
import json
import os
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.session import Session
from confluent_kafka import Consumer, TopicPartition
from moto.server import ThreadedMotoServer

from lmdp.core.specification import load_spec
from lmdp.errors import DeliveryError, RejectsNotWrittenError
from lmdp.machine.simulation.collectors import Odds, Simulation
from lmdp.machine.sink import Load
from new_warehouse import open_warehouse
from running import publish

if TYPE_CHECKING:
    from confluent_kafka import Message as Delivered

    from lmdp.machine.embedded_kafka.broker import KafkaBroker
    from lmdp.machine.kafka.access import KafkaAccess

REGION, BUCKET, STREAM = "eu-west-1", "lmdp-pipes", "metrics"
START_MS = 1_764_000_000_000
POISON = [b"no bundle", b'{"resourceLogs": []}', b"{"]


@dataclass(frozen=True, slots=True)
class Context:
    """An invocation that has 2.5 s; half a second of it is kept back."""

    aws_request_id: str = "00000000-0000-0000-0000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds."""
        return 2_500


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An error bucket in moto's S3, found as a function finds it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "an-example",  # pragma: allowlist secret
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "LMDP_DELIVERY_STREAM": STREAM,
        "LMDP_REJECTS_BUCKET": BUCKET,
        "LMDP_ORG_ID": "acme",
        "LMDP_MARGIN_SECONDS": "0.5",
    }.items():
        monkeypatch.setenv(name, value)
    client = Session().create_client("s3", REGION)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield client
    client.close()
    server.stop()


def event_record(message: Delivered) -> dict[str, Any]:
    """A record in the shape that a pipe gives.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
    """
    topic, partition, value = message.topic(), message.partition(), message.value()
    return {
        "eventSource": "aws:kafka",
        "eventSourceKey": f"{topic}-{partition}",
        "topic": topic,
        "partition": str(partition),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "timestampType": "CREATE_TIME",
        "value": None if value is None else b64encode(value).decode(),
        "headers": [],
    }


def batches(access: KafkaAccess, topic: str, partitions: int, messages: int) -> Iterator[list[dict[str, Any]]]:
    """All messages of the topic, 300 at most at a time."""
    consumer = Consumer({**access.config(), "group.id": "pipes", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        seen, deadline = 0, time.monotonic() + 60
        while seen < messages and time.monotonic() < deadline:
            got = [message for message in consumer.consume(300, 0.5) if message.error() is None]
            seen += len(got)
            if got:
                yield json.loads(json.dumps([event_record(message) for message in got]))
        assert seen == messages
    finally:
        consumer.close()


def hand_over(
    function: Callable[[object, Any], dict[str, Any]], event: list[dict[str, Any]], told: Counter[str]
) -> None:
    """As a Kafka pipe does: an error sends the whole batch again, without end. Here there is one, far away."""
    for _ in range(50):
        try:
            summary = function(event, Context())
        except DeliveryError as error:
            told["batches again"] += 1
            told["repeats"] += error.delivered.repeats
        except RejectsNotWrittenError:  # the first client of S3 takes long to make
            told["batches again"] += 1
        else:
            told["repeats"] += summary["probableRepeats"]
            told["rejects"] += summary["rejectedMessages"]
            return
    pytest.fail("a batch did not get through in 50 tries")


def load(path: Path, records: list[bytes]) -> tuple[int, int]:
    """Put what Firehose took into a warehouse, as into Snowflake; gives the rows of the table and of METRICS."""
    spec = load_spec()
    maps = {field.name for field in spec.fields if field.type == "map"}

    def row(record: bytes) -> tuple[Any, ...]:
        values = json.loads(record)
        return tuple(
            json.dumps(values[name], sort_keys=True, separators=(",", ":")) if name in maps else values.get(name)
            for name in (field.name for field in spec.fields)
        )

    with open_warehouse(path) as warehouse:
        warehouse.commit(Load([row(record) for record in records], [], [], datetime.now(UTC)))
        counts = "SELECT (SELECT count(*) FROM ROW_EVENTS) AS R, (SELECT count(*) FROM METRICS) AS M"
        (found,) = warehouse.query(counts).table.to_pylist()
        return found["R"], found["M"]


def test_every_datapoint_once(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], bucket: Any, tmp_path: Path
) -> None:
    """With refused entries, throttling and broken connections METRICS has each datapoint once; repeats are counted."""
    from lmdp.cloud.handler import open_function  # noqa: PLC0415 - needs botocore
    from lmdp.testing.firehose import FINE, THROTTLED, Fault, RandomFaults, firehose_double  # noqa: PLC0415 - needs botocore

    name = new_topic(2)
    simulation = Simulation(10, 20, odds=Odds(no_data=0, restart=0, repeat=0, late=0))
    polls = [poll for n in range(5) for poll in simulation.polls(START_MS + 60_000 * n)]
    publish(kafka_broker.access, name, [*(poll.value for poll in polls), *POISON])
    random_faults = RandomFaults(entry_failures=0.05, throttle_bursts=0.05, burst_calls=3, drops=0.05, losses=0.03)
    told: Counter[str] = Counter()
    with firehose_double(STREAM, random_faults) as double:
        broken = [
            Fault(drop=True),
            Fault(lose=True),
            Fault(entries=frozenset(range(50)), lose=True),
            Fault(garble=True),
        ]
        double.script.extend([FINE, *[THROTTLED] * 12, FINE, *broken])
        function = open_function({**os.environ, "AWS_ENDPOINT_URL_FIREHOSE": double.url})
        for event in batches(kafka_broker.access, name, 2, len(polls) + len(POISON)):
            hand_over(function, event, told)
        rows, metrics = load(tmp_path / "warehouse.duckdb", double.accepted)
    assert not double.script
    assert metrics == sum(poll.datapoints for poll in polls)
    assert told["batches again"] > 0
    assert 0 < rows - metrics <= told["repeats"]
    assert told["rejects"] == len(POISON)
    assert rejected(bucket) == Counter({"Decode.Malformed": 2, "Decode.NotMetrics": 1})
    print(f"{rows:,} rows for {metrics:,} datapoints; {told['batches again']} batches were handed over again")


def rejected(bucket: Any) -> Counter[str]:
    """The reasons in the error bucket, each topic, partition and offset taken once."""
    found: dict[tuple[Any, ...], str] = {}
    for entry in bucket.list_objects_v2(Bucket=BUCKET)["Contents"]:
        content = bucket.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        for envelope in map(json.loads, gzip.decompress(content).splitlines()):
            source = envelope["source"]
            found[source["topic"], source["partition"], source["offset"]] = envelope["errorCode"]
    return Counter(found.values())
