"""A rig for every sink of lmdp: where rows, messages or rejects leave it."""

from __future__ import annotations

import gzip
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from botocore.exceptions import ClientError, ReadTimeoutError
from confluent_kafka import Consumer, Producer, TopicPartition

from cloud.names import BUCKET, REGION, STREAM
from contract.sink_contract import Fate, Outcome
from lmdp import Message, Reject, TransformSettings
from lmdp.cloud.firehose_sink import deliver, open_firehose
from lmdp.cloud.reject_sink import reject_bucket
from lmdp.core.specification import Spec, load_spec
from lmdp.errors import (
    ChannelTakenError,
    DeliveryError,
    LmdpError,
    RejectsNotWrittenError,
    UnreachableError,
    WarehouseReplacedError,
)
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load, Sink
from lmdp.machine.transform_worker import transform_for_sink
from lmdp.replay.retry import Outcome as Replayed
from lmdp.replay.sinks import into_kafka
from lmdp.snowflake.streaming.elastic import post
from lmdp.snowflake.streaming.session import Account, Session
from lmdp.support.reject_files import write_to_folder
from lmdp.testing.firehose import DENIED, THROTTLED, UNAVAILABLE, Fault, FirehoseDouble, firehose_double
from lmdp.testing.pipeline import MemorySink
from lmdp.testing.snowpipe import Fault as Snowpipe
from lmdp.testing.snowpipe import SnowpipeDouble, snowpipe_double
from new_warehouse import open_warehouse
from running import bundle
from snowpipe_parts import KEY, PLACE, public, sink_of

NOW_MS = 1_770_000_000_000
NO_PARTS = "it writes whole or not at all"


def failed(count: int, error: LmdpError, permanent: type[LmdpError] | None = None) -> Outcome:
    """Return the outcome of a sink that raised, and so accepted nothing."""
    raised = "permanent" if permanent is not None and isinstance(error, permanent) else "retryable"
    return Outcome(count, 0, count, raised=raised)


class FirehoseRig:
    """The Firehose sink, with the double behind it, one call after the other."""

    cannot: ClassVar[Mapping[Fate, str]] = {}
    concurrency = 1
    scripts: ClassVar[dict[Fate, list[Fault]]] = {
        Fate.FINE: [],
        Fate.SOMETIMES_REFUSED: [
            THROTTLED,
            Fault(entries=frozenset(range(0, 500, 20))),
            UNAVAILABLE,
            Fault(entries=frozenset({0})),
        ],
        Fate.ALWAYS_BUSY: [Fault(entries=frozenset(range(100))), *[THROTTLED] * 500],
        Fate.NEVER_ALLOWED: [Fault(), DENIED, Fault(seconds=0.05)],
        Fate.ANSWER_LOST: [
            Fault(entries=frozenset(range(250)), lose=True),
            Fault(drop=True),
            Fault(garble=True),
        ],
    }

    def __init__(self, double: FirehoseDouble) -> None:
        self.double = double
        self.firehose = open_firehose(STREAM, REGION, {"AWS_ENDPOINT_URL_FIREHOSE": double.url}, self.concurrency)

    @classmethod
    @contextmanager
    def open(cls, _folder: Path) -> Iterator[FirehoseRig]:
        """Open the sink, and what is behind it."""
        with firehose_double(STREAM) as double:
            yield cls(double)

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""
        self.double.script.clear()
        self.double.script.extend(self.scripts[fate])

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""
        rows = [b'{"n":%d}' % n for n in range(first, first + count)]
        seconds = 1.0 if len(self.double.script) > 100 else 30.0  # little time where nothing gets through
        try:
            done = deliver(self.firehose, rows, self.firehose.clock() + seconds)
        except DeliveryError as error:
            done, raised = error.delivered, "retryable" if error.retryable else "permanent"
        else:
            raised = ""
        return Outcome(done.rows, done.accepted, done.refused, done.repeats, raised)

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        return Counter(int(record[5:-1]) for record in self.double.accepted)


class ConcurrentFirehoseRig(FirehoseRig):
    """The same, several calls at a time."""

    concurrency = 4


def commit(
    sink: Sink,
    first: int,
    count: int,
    *,
    tries: int = 1,
    permanent: type[LmdpError] = WarehouseReplacedError,
    row_spec: Spec | None = None,
) -> Outcome:
    """Commit a row a number in one load; after an error the same load again, as often as `tries` allows."""
    settings = TransformSettings(org_id="acme")
    done = transform_for_sink([Message(bundle(n)) for n in range(first, first + count)], settings, row_spec)
    part = OffsetRange("cluster", "id", "topic", 0, first, first + count, len(done.rows), 0)
    messages = [(0, n, n - first + 1) for n in range(first, first + count)]
    load = Load(done.rows, [], [part], datetime.now(UTC), messages=messages, number=first + 1)
    try:
        sink.commit(load, then=lambda _bytes: None)
    except LmdpError as error:
        if tries > 1:
            return commit(sink, first, count, tries=tries - 1, permanent=permanent, row_spec=row_spec)
        return failed(count, error, permanent)
    return Outcome(count, count, 0)


def numbers(instances: Iterable[str]) -> Counter[int]:
    """Return how often each number is among the instances of `bundle`."""
    return Counter(int(name.removeprefix("i-")) for name in instances)


class WarehouseRig:
    """DuckDB's file: one transaction a batch."""

    cannot: ClassVar[Mapping[Fate, str]] = {
        Fate.SOMETIMES_REFUSED: "a transaction has all rows or none",
        Fate.ALWAYS_BUSY: "a full disk is a limit of the process: tests/machine/test_full_disk.py",
        Fate.ANSWER_LOST: "a commit is answered unless the process is killed: chaos/crash.py",
    }

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warehouse = open_warehouse(path)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[WarehouseRig]:
        """Open the sink, and what is behind it."""
        rig = cls(folder / "warehouse.duckdb")
        yield rig
        rig.warehouse.close()

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""
        aside = self.path.with_suffix(".aside")
        if fate is Fate.NEVER_ALLOWED:
            self.path.replace(aside)
            self.path.write_bytes(b"another file")
        elif aside.exists():
            aside.replace(self.path)

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""
        return commit(self.warehouse, first, count)

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        found = self.warehouse.query('SELECT "instance" AS I FROM ROW_EVENTS', limit_rows=10_000).table
        return numbers(found.column("I").to_pylist())


class SnowflakeSinkRig:
    """Snowflake through a named channel, with the double behind it."""

    cannot: ClassVar[Mapping[Fate, str]] = {}
    stale: ClassVar[Snowpipe] = Snowpipe("append", 400, "STALE_CONTINUATION_TOKEN_SEQUENCER")
    scripts: ClassVar[dict[Fate, list[Snowpipe]]] = {
        Fate.FINE: [],
        Fate.SOMETIMES_REFUSED: [
            Snowpipe("append", 429, "ERR_TOO_MANY_REQUESTS"),
            Snowpipe("append", 401, "ERR_TOKEN_EXPIRED"),
            Snowpipe("append", 503, "ERR_GENERAL_EXCEPTION_RETRY_REQUEST", bare=True),
        ],
        Fate.ALWAYS_BUSY: [Snowpipe("append", 429, "ERR_TOO_MANY_REQUESTS")] * 500,
        Fate.NEVER_ALLOWED: [stale] * 5,
        Fate.ANSWER_LOST: [Snowpipe("append", lose=True), Snowpipe("append", garble=True)],
    }

    def __init__(self, double: SnowpipeDouble) -> None:
        self.double = double
        self.sink = sink_of(double)

    @classmethod
    @contextmanager
    def open(cls, _folder: Path) -> Iterator[SnowflakeSinkRig]:
        """Open the sink, and what is behind it."""
        with snowpipe_double(key=public(KEY)) as double:
            yield cls(double)

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery; a sink that was fenced is another process's from then on."""
        self.double.script = list(self.scripts[fate])
        self.sink = sink_of(self.double, retry_s=1.0 if fate is Fate.ALWAYS_BUSY else 30.0)

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""
        return commit(self.sink, first, count, permanent=ChannelTakenError, row_spec=load_spec())

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        return numbers(json.loads(row)["instance"] for row in self.double.committed())


class ElasticRig:
    """Snowflake in elastic mode, with the double behind it."""

    cannot: ClassVar[Mapping[Fate, str]] = {}
    scripts: ClassVar[dict[Fate, list[Snowpipe]]] = {
        Fate.FINE: [],
        Fate.SOMETIMES_REFUSED: [
            Snowpipe("elastic", 429, "ERR_TOO_MANY_REQUESTS"),
            Snowpipe("elastic", 401, "ERR_TOKEN_EXPIRED"),
        ],
        Fate.ALWAYS_BUSY: [Snowpipe("elastic"), *[Snowpipe("elastic", 429, "ERR_TOO_MANY_REQUESTS")] * 500],
        Fate.NEVER_ALLOWED: [
            Snowpipe("elastic"),
            Snowpipe("elastic", 404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"),
        ],
        Fate.ANSWER_LOST: [Snowpipe("elastic", lose=True), Snowpipe("elastic", garble=True)],
    }

    def __init__(self, double: SnowpipeDouble) -> None:
        self.double = double
        self.session = Session(Account(double.url, "LM_FIREHOSE_SVC", lambda: KEY))

    @classmethod
    @contextmanager
    def open(cls, _folder: Path) -> Iterator[ElasticRig]:
        """Open the sink, and what is behind it."""
        with snowpipe_double(key=public(KEY)) as double:
            yield cls(double)

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""
        self.double.script = list(self.scripts[fate])

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`, each large enough that they do not fit into one request."""
        lines = [b'{"n":%d,"x":"%s"}' % (n, b"x" * 5_000) for n in range(first, first + count)]
        seconds = 1.0 if len(self.double.script) > 100 else 30.0  # little time where nothing gets through
        raised = ""
        try:
            done = post(self.session, PLACE, lines, seconds)
        except DeliveryError as error:
            done, raised = error.delivered, "retryable" if error.retryable else "permanent"
        return Outcome(done.rows, done.accepted, done.refused, done.repeats, raised)

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        return Counter(json.loads(row)["n"] for row in self.double.committed())


class MemorySinkRig:
    """The double of the pipeline's sink that ships."""

    cannot: ClassVar[Mapping[Fate, str]] = {Fate.SOMETIMES_REFUSED: "a load is kept whole or not at all"}

    def __init__(self) -> None:
        self.sink = MemorySink()
        self.tries = 1

    @classmethod
    @contextmanager
    def open(cls, _folder: Path) -> Iterator[MemorySinkRig]:
        """Open the sink."""
        yield cls()

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""
        errors: dict[Fate, LmdpError] = {
            Fate.ALWAYS_BUSY: UnreachableError("busy"),
            Fate.NEVER_ALLOWED: WarehouseReplacedError("replaced"),
        }
        self.sink.failures = deque([errors[fate]] if fate in errors else [])
        self.sink.in_doubt = deque([UnreachableError("no answer")] if fate is Fate.ANSWER_LOST else [])
        self.tries = 2 if fate is Fate.ANSWER_LOST else 1

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""
        return commit(self.sink, first, count, tries=self.tries)

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        at = [field.name for field in load_spec().fields].index("instance")
        return numbers(row[at] for row in self.sink.rows())


def rejects(first: int, count: int) -> list[Reject]:
    """Return a reject an offset, in three partitions."""
    return [
        Reject("Decode.Malformed", "why", b"%d" % n, "topic", n % 3, n, NOW_MS, None)
        for n in range(first, first + count)
    ]


def offsets(content: bytes) -> list[int]:
    """Return the offsets of the rejects in a file."""
    return [json.loads(line)["source"]["offset"] for line in gzip.decompress(content).splitlines()]


class RejectFolderRig:
    """The folder of rejects."""

    cannot: ClassVar[Mapping[Fate, str]] = {
        Fate.SOMETIMES_REFUSED: f"{NO_PARTS}; the batch is written again as a whole",
        Fate.NEVER_ALLOWED: "every fault of a folder can be fixed, and the batch written again",
        Fate.ANSWER_LOST: "a file system answers",
    }

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[RejectFolderRig]:
        """Open the sink, and what is behind it."""
        yield cls(folder / "rejects")

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""
        if fate is Fate.ALWAYS_BUSY:
            self.folder.write_bytes(b"a file in its place")
        elif self.folder.is_file():
            self.folder.unlink()

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""
        try:
            write_to_folder(self.folder, rejects(first, count), NOW_MS)
        except UnreachableError as error:
            return failed(count, error)
        return Outcome(count, count, 0)

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        return Counter(n for path in self.folder.rglob("*.gz") for n in offsets(path.read_bytes()))


class RejectBucketRig:
    """The bucket of rejects, with an S3 client in memory that raises botocore's errors."""

    cannot: ClassVar[Mapping[Fate, str]] = {
        Fate.NEVER_ALLOWED: "the pipe redelivers the batch, whatever the reason",
    }

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fate] = []
        self.write = reject_bucket(BUCKET, "rejects/", None, lambda: self)

    @classmethod
    @contextmanager
    def open(cls, _folder: Path) -> Iterator[RejectBucketRig]:
        """Open the sink, and what is behind it."""
        yield cls()

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""
        self.faults = {Fate.FINE: [], Fate.ALWAYS_BUSY: [fate] * 500}.get(fate, [Fate.FINE, fate])

    def put_object(self, *, Key: str, Body: bytes, **_: Any) -> None:  # noqa: N803 - S3's names
        """Answer as S3 does."""
        fate = self.faults.pop(0) if self.faults else Fate.FINE
        if fate in (Fate.SOMETIMES_REFUSED, Fate.ALWAYS_BUSY):
            answer: Any = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
            raise ClientError(answer, "PutObject")
        self.objects[Key] = Body
        if fate is Fate.ANSWER_LOST:
            raise ReadTimeoutError(endpoint_url="https://s3")

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""
        try:
            self.write(rejects(first, count), NOW_MS, 1.0 if len(self.faults) > 100 else 30.0)
        except RejectsNotWrittenError as error:
            return failed(count, error)
        return Outcome(count, count, 0)

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        return Counter(n for content in self.objects.values() for n in offsets(content))


class KafkaRig:
    """Replay's sink for a topic, with librdkafka's own broker behind it."""

    topic = "contract"
    cannot: ClassVar[Mapping[Fate, str]] = {
        Fate.SOMETIMES_REFUSED: "librdkafka repeats a refused message itself; its broker cannot be made to refuse one",
        Fate.NEVER_ALLOWED: "a replay is repeated whatever the reason, and sends again what was not acknowledged",
        Fate.ANSWER_LOST: "librdkafka is an idempotent producer; its broker cannot be made to lose an answer",
    }

    def __init__(self, access: KafkaAccess) -> None:
        self.access = access
        self.send = into_kafka(access, self.topic)
        self.too_large = False

    @classmethod
    @contextmanager
    def open(cls, _folder: Path) -> Iterator[KafkaRig]:
        """Open the sink, and what is behind it."""
        owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        (found,) = owner.list_topics(timeout=10).brokers.values()
        yield cls(KafkaAccess(f"{found.host}:{found.port}"))
        owner.flush(5)

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""
        self.too_large = fate is Fate.ALWAYS_BUSY

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""
        messages = [Message(b"%d" % n, timestamp=NOW_MS) for n in range(first, first + count)]
        if self.too_large:  # as for a topic whose max.message.bytes is to be raised
            messages[count // 2] = Message(bytes(65 * 2**20), timestamp=NOW_MS)
        try:
            self.send(Replayed(messages=messages))
        except UnreachableError as error:
            return failed(count, error)
        return Outcome(count, count, 0)

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""
        consumer = Consumer({**self.access.config(), "group.id": "contract", "log_level": 0})
        topic = consumer.list_topics(self.topic, timeout=10).topics[self.topic]
        parts = [TopicPartition(self.topic, n, 0) for n in topic.partitions]
        wanted = sum(consumer.get_watermark_offsets(part, timeout=10)[1] for part in parts)
        consumer.assign(parts)
        found: list[Any] = []
        while len(found) < wanted:
            found += consumer.consume(wanted - len(found), timeout=5)
        consumer.close()
        return Counter(int(each.value()) for each in found)


RIGS: tuple[Any, ...] = (
    FirehoseRig,
    ConcurrentFirehoseRig,
    WarehouseRig,
    SnowflakeSinkRig,
    ElasticRig,
    MemorySinkRig,
    RejectFolderRig,
    RejectBucketRig,
    KafkaRig,
)
