"""A process that reads a topic to its end: `python -m benchmarks.consumed WAY`, with what to read as JSON on stdin.

The ways: `lmdp` as `lmdp run --workers 0` does, `lmdp-2` with two workers (or another number), `plain` as one writes
it first, `consume` takes the messages and drops them.
It prints `ready`, and at the end one JSON object; its seconds are those of the reading. A second line on stdin says
that nothing more will be published.
"""

from __future__ import annotations

import contextlib
import functools
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.measure import peak_mib
from lmdp.machine.kafka.access import KafkaAccess

BATCH_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Task:
    """A topic with so many messages on so many partitions (0: until asked to end), and the file to write."""

    access: KafkaAccess
    topic: str
    partitions: int
    messages: int
    file: Path

    @classmethod
    def read(cls, text: str) -> Task:
        """From one line of JSON."""
        given = json.loads(text)
        files = (Path(given[name]) if given[name] else None for name in ("ca", "cert", "key"))
        access = KafkaAccess(given["servers"], *files)
        return cls(access, given["topic"], given["partitions"], given["messages"], Path(given["file"]))

    def written(self) -> str:
        """As one line of JSON."""
        access = {"servers": self.access.bootstrap_servers}
        files = {name: str(getattr(self.access, name) or "") for name in ("ca", "cert", "key")}
        what = {"topic": self.topic, "partitions": self.partitions, "messages": self.messages, "file": str(self.file)}
        return json.dumps({**access, **files, **what})


def lmdp(task: Task, workers: int = 0) -> dict[str, Any]:
    """The consumer of `lmdp run`, from its start to its last commit; its workers' start and CPU count."""
    from lmdp.core.pipeline import TransformSettings  # noqa: PLC0415 - as above
    from lmdp.machine.metrics import Progress  # noqa: PLC0415 - as above
    from lmdp.machine.services import consume  # noqa: PLC0415 - the others do without
    from lmdp.machine.settings import ConsumeSettings, StopEvents  # noqa: PLC0415 - the others do without
    from lmdp.machine.warehouse.warehouse import Warehouse  # noqa: PLC0415 - as above

    settings = TransformSettings(org_id="acme")
    progress, ends = Progress(), StopEvents()
    if task.messages:
        ends.drain.set()
    else:
        threading.Thread(target=_when_asked, args=(ends.drain,), daemon=True).start()
    with Warehouse.open(task.file, settings.spec) as warehouse:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        begun, cpu = time.monotonic(), time.process_time()
        reading = ConsumeSettings(task.topic, workers=workers)
        ended = threading.Event()
        largest = _largest_child(ended)
        consume(task.access, warehouse, settings, reading, progress, ends, lambda _: None)
        ended.set()
        own = time.process_time() - cpu
        theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
        duplicates = warehouse.tally.count().duplicates
    return {
        "rows": progress.counts.rows,
        "messages": progress.counts.messages,
        "datapoints": progress.counts.datapoints,
        "duplicates": duplicates,
        "seconds": (progress.last_commit or begun) - begun,
        "cpu": own + theirs.ru_utime + theirs.ru_stime,
        "own": own,
        "workerMiB": largest(),
        "p50": progress.latencies.quantile(0.5),
        "p99": progress.latencies.quantile(0.99),
    }


def _largest_child(ended: threading.Event) -> Callable[[], float]:
    """Watch the children until `ended`; return what gives the most MiB of one. `ru_maxrss` begins at the parent's."""
    most = [0]

    def watch() -> None:
        while not ended.wait(0.2):
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    most.append(child.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    return lambda: max(most) / 2**20


def _when_asked(drain: threading.Event) -> None:
    sys.stdin.readline()
    drain.set()


def plain(task: Task) -> dict[str, Any]:
    """A loop: poll, flatten, and every 50,000 rows an insert by way of Arrow; then the offsets go to Kafka."""
    from benchmarks.peers.plain_table import PlainTable  # noqa: PLC0415 - the others do without

    table, rows, messages = PlainTable(task.file), 0, 0
    begun, cpu = time.monotonic(), time.process_time()
    consumer = _consumer(task)
    batch: list[bytes] = []
    for value in _values(consumer, task):
        messages += 1
        batch.append(value)
        if len(batch) * 6 >= BATCH_ROWS or messages == task.messages:
            rows += table.insert(batch)
            consumer.commit(asynchronous=False)
            batch = []
    return {"rows": rows, "messages": messages, "seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu}


def consume_only(task: Task) -> dict[str, Any]:
    """The floor: every message arrives."""
    begun, cpu = time.monotonic(), time.process_time()
    messages = sum(1 for _ in _values(_consumer(task), task))
    return {"rows": 0, "messages": messages, "seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu}


def _consumer(task: Task) -> Consumer:
    config = {**task.access.config(), "group.id": f"bench-{task.file.name}", "enable.auto.commit": False}
    consumer = Consumer(config)
    consumer.assign([TopicPartition(task.topic, part, OFFSET_BEGINNING) for part in range(task.partitions)])
    return consumer


def _values(consumer: Consumer, task: Task) -> Iterator[bytes]:
    left = task.messages
    while left:
        for record in consumer.consume(500, 1.0):
            if record.error() is None:
                left -= 1
                yield record.value() or b""


WAYS: Final[dict[str, Callable[[Task], dict[str, Any]]]] = {
    "lmdp": lmdp,
    **{f"lmdp-{workers}": functools.partial(lmdp, workers=workers) for workers in (1, 2, 4)},
    "plain": plain,
    "consume": consume_only,
}


def main() -> None:
    """Read the task, do it, and print the result."""
    way, task = WAYS[sys.argv[1]], Task.read(sys.stdin.readline())
    sys.stdout.write(json.dumps({**way(task), "peakMiB": peak_mib()}) + "\n")


if __name__ == "__main__":
    main()
