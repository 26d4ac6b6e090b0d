"""A pipe of our own: it cuts a partition into batches, hands them to the function, and tries until they are in."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
import os
import random
import sys
import time
import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session
from moto.server import ThreadedMotoServer

from chaos.proxy import Proxy, proxy_to
from chaos.scenario import Outcome, Site, broken
from lmdp.cloud.handler import Function, open_function
from lmdp.core.specification import load_spec
from lmdp.errors import DeliveryError, LmdpError
from lmdp.machine.simulation.collectors import Odds, Simulation
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.testing.firehose import FirehoseDouble, RandomFaults, firehose_double

REGION, STREAM = "eu-west-1", "metrics"
TOPIC = "lm.metrics.otlp"
START_MS = 1_764_000_000_000
# What an invocation has, what of it is kept back for its end, and what a machine under load may add to that.
SECONDS, MARGIN, LOAD = 4.0, 1.0, 6.0
POISON = (b"no bundle", b'{"resourceLogs": []}', b"{", b"\x1f\x8b\x08\x00", b'{"resourceMetrics": 7}')
SHORTEST_RETRY = 60


@dataclass(slots=True)
class Context:
    """Lambda's context of one invocation."""

    seconds: float = SECONDS
    aws_request_id: str = "00000000-0000-0000-0000-000000000001"
    began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that is left."""
        return int(1000 * (self.began + self.seconds - time.monotonic()))


@dataclass(slots=True)
class Reported:
    """The sum of the function's reports; `counts` are those of invocations that did not raise."""

    counts: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    longest: float = 0.0

    def add(self, summary: dict[str, Any]) -> None:
        """An invocation that did not raise."""
        names = ("messages", "datapoints", "converted", "rows", "rejectedMessages", "rejectedDatapoints", "delivered")
        self.counts.update({name: summary[name] for name in names})
        self.dropped.update(summary["dropped"])
        self.repeats += summary["probableRepeats"]

    def adds_up(self) -> bool:
        """The sums that hold for everything that was handed over, however often."""
        counts = self.counts
        return (
            counts["datapoints"] == counts["converted"] + self.dropped["noRecordedValue"] + counts["rejectedDatapoints"]
        ) and counts["rows"] == counts["delivered"] == counts["converted"] - self.dropped["nonFinite"]


@dataclass(slots=True)
class Cloud:
    """A function with a Firehose double and moto's S3, each behind a network of its own."""

    env: dict[str, str]
    double: FirehoseDouble
    bucket: Any
    to_firehose: Proxy
    to_s3: Proxy
    function: Function

    def another(self, **more: str) -> Function:
        """A function in an environment of its own, as Lambda has many; warm."""
        made = open_function({**self.env, **more})
        # S3's client takes long to make: now, so that every invocation has the same time.
        made([record(9, 0, b"warm")], Context(60))
        return made


@contextlib.contextmanager
def cloud(random_faults: RandomFaults | None = None) -> Iterator[Cloud]:
    """Start the doubles, and a function that finds them as one finds AWS."""
    with contextlib.ExitStack() as parts:
        double = parts.enter_context(firehose_double(STREAM, random_faults))
        to_firehose = parts.enter_context(proxy_to(*_address(double.url)))
        s3 = parts.enter_context(_s3())
        to_s3 = parts.enter_context(proxy_to(*_address(s3)))
        env = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "an-example",  # pragma: allowlist secret
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{to_s3.port}",
            "AWS_ENDPOINT_URL_FIREHOSE": f"http://127.0.0.1:{to_firehose.port}",
            "LMDP_DELIVERY_STREAM": STREAM,
            "LMDP_REJECTS_BUCKET": f"lmdp-chaos-{uuid.uuid4()}",  # moto keeps its buckets as long as the process lives
            "LMDP_ORG_ID": "acme",
            "LMDP_MARGIN_SECONDS": str(MARGIN),
        }
        patch = parts.enter_context(pytest.MonkeyPatch.context())
        for name in [name for name in os.environ if name.startswith(("AWS_", "LMDP_"))]:
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        bucket = Session().create_client("s3", REGION, endpoint_url=s3)
        bucket.create_bucket(
            Bucket=env["LMDP_REJECTS_BUCKET"], CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        parts.callback(bucket.close)
        patch.setattr(sys, "stdout", io.StringIO())  # the function's own log, in every test of it
        made = Cloud(env, double, bucket, to_firehose, to_s3, None)  # type: ignore[arg-type]  # in the next line
        made.function = made.another()
        yield made


def _address(url: str) -> tuple[str, int]:
    host, port = url.split("//")[1].split(":")
    return host, int(port)


@contextlib.contextmanager
def _s3() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def record(partition: int, offset: int, value: bytes | None) -> dict[str, Any]:
    """A record in the shape that a pipe gives.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
    """
    return {
        "eventSource": "aws:kafka",
        "eventSourceKey": f"{TOPIC}-{partition}",
        "topic": TOPIC,
        "partition": str(partition),
        "offset": offset,
        "timestamp": START_MS,
        "timestampType": "CREATE_TIME",
        "value": None if value is None else b64encode(value).decode(),
        "headers": [],
    }


@dataclass(frozen=True, slots=True)
class Put:
    """The contents of a topic: its partitions' records, the datapoints in them, and how many cannot be read."""

    partitions: tuple[tuple[dict[str, Any], ...], ...]
    datapoints: int
    poison: int

    @property
    def messages(self) -> int:
        """All of them."""
        return sum(map(len, self.partitions))


def published(rounds: int, partitions: int = 1, *, devices: int = 5, poison: int = 0) -> Put:
    """A simulated LMDP's messages, `devices` x 20 a round, with poison in their midst."""
    simulation = Simulation(devices, 20, odds=Odds(no_data=0, restart=0, repeat=0, late=0))
    polls = [poll for n in range(rounds) for poll in simulation.polls(START_MS + 60_000 * n)]
    values = [poll.value for poll in polls]
    chance = random.Random(3)
    for n in range(poison):
        values.insert(chance.randrange(len(values)), POISON[n % len(POISON)])
    parts = tuple(
        tuple(record(part, offset, value) for offset, value in enumerate(values[part::partitions]))
        for part in range(partitions)
    )
    return Put(parts, sum(poll.datapoints for poll in polls), poison)


def hand_over(function: Function, batch: Sequence[dict[str, Any]], reported: Reported) -> bool:
    """One invocation; False when it failed, and the pipe has to try again."""
    context = Context()
    try:
        reported.add(function(json.loads(json.dumps(batch)), context))
    except LmdpError as error:
        reported.failures[type(error).__name__] += 1
        reported.repeats += error.delivered.repeats if isinstance(error, DeliveryError) else 0
        return False
    finally:
        reported.longest = max(reported.longest, time.monotonic() - context.began)
    return True


Cut = Callable[[int], int]
"""How many records a try takes, by the offset at which it begins."""


def pipe(function: Function, records: Sequence[dict[str, Any]], reported: Reported, cut: Cut) -> None:
    """Hand over a partition in order; a failed batch comes again, cut differently, without end (here: 60 times)."""
    at = failed = 0
    while at < len(records):
        batch = records[at : at + cut(at)]
        if hand_over(function, batch, reported):
            at, failed = at + len(batch), 0
        else:
            failed += 1
            assert failed < SHORTEST_RETRY, f"a batch did not get through in {failed} tries: {reported.failures}"


def landed(site: Site, records: Sequence[bytes]) -> tuple[int, int]:
    """Put what Firehose took where Snowflake would have it; return the rows of ROW_EVENTS and of METRICS."""
    spec = load_spec()
    maps = {each.name for each in spec.fields if each.type == "map"}

    def row(content: bytes) -> tuple[Any, ...]:
        values = json.loads(content)
        return tuple(
            json.dumps(values[name], sort_keys=True, separators=(",", ":")) if name in maps else values.get(name)
            for name in (each.name for each in spec.fields)
        )

    path: Path = site.folder() / "warehouse.duckdb"
    with Warehouse.open(path, spec) as warehouse:
        warehouse.commit(Load([row(content) for content in records], [], [], datetime.now(UTC)))
        counts = "SELECT (SELECT count(*) FROM ROW_EVENTS) AS R, (SELECT count(*) FROM METRICS) AS M"
        (found,) = warehouse.query(counts).table.to_pylist()
        return found["R"], found["M"]


def rejected(running: Cloud) -> tuple[int, int]:
    """The lines in the error bucket, and the offsets that they are of; those of warming up left out."""
    places: Counter[tuple[int, int]] = Counter()
    name = running.env["LMDP_REJECTS_BUCKET"]
    for page in running.bucket.get_paginator("list_objects_v2").paginate(Bucket=name):
        for entry in page.get("Contents", []):
            content = running.bucket.get_object(Bucket=name, Key=entry["Key"])["Body"].read()
            for envelope in map(json.loads, gzip.decompress(content).splitlines()):
                places[envelope["source"]["partition"], envelope["source"]["offset"]] += 1
    del places[9, 0]
    return places.total(), len(places)


def judged(site: Site, running: Cloud, put: Put, reported: Reported, times: int, promises: dict[str, bool]) -> Outcome:
    """METRICS holds each datapoint once, each message that is none is a reject, and the sums hold."""
    rows, metrics = landed(site, running.double.accepted)
    lines, rejects = rejected(running)
    again = sum(reported.failures.values())
    return Outcome(
        times,
        put.messages,
        put.datapoints,
        metrics,
        0,
        rejects,
        f"{rows - metrics:,} repeats in ROW_EVENTS, {again} batches again, {lines - rejects} rejects again, longest "
        f"invocation {reported.longest:.1f} of {SECONDS:.0f} s",
        broken(
            {
                **promises,
                "rejects are missing, or too many": rejects == put.poison,
                "what was handed over does not add up": reported.adds_up(),
                "not every message was handled": reported.counts["messages"] >= put.messages,
                "more repeats than it reported": rows - metrics <= reported.repeats,
                "an invocation outlasted its time": reported.longest < SECONDS + LOAD,
            }
        ),
    )
