"""A real Kafka for the benchmark, topics filled with messages that nobody has read, and processes that read them."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import scratch, workloads
from benchmarks.consumed import Task
from lmdp.errors import KafkaUnavailableError
from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
from lmdp.machine.kafka.producer import Publisher
from lmdp.machine.simulation.collectors import SimulatedMessage, Simulation

CORES: Final = 2  # of any machine: the goals are set for two, the broker on them
PARTITIONS: Final = 4
DEVICES, INSTANCES = 250, 20  # more devices than partitions, so that each partition gets its part
READ_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Backlog:
    """A topic with messages that wait."""

    topic: str
    partitions: int
    messages: int
    datapoints: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A reader's run: rows (or what it makes instead), seconds from start to end, CPU, and its memory's peak.

    With worker processes, `cpu` is that of all and `own` without them, and `worker_mib` the largest worker's peak.
    """

    made: int
    seconds: float
    cpu: float
    peak_mib: float
    own: float = 0.0
    worker_mib: float = 0.0


class Kafka:
    """An embedded broker with its folder."""

    def __init__(self, broker: KafkaBroker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder

    def topic(self, partitions: int = PARTITIONS) -> str:
        """A new one."""
        name = f"bench.{uuid.uuid4().hex[:12]}"
        self.broker.create_topic(name, partitions)
        return name

    def backlog(self, messages: int, partitions: int = PARTITIONS) -> Backlog:
        """A topic with so many messages of simulated Collectors, none twice."""
        topic = self.topic(partitions)
        publisher = Publisher(self.broker.access, topic)
        for message in itertools.islice(polled(), messages):
            publisher.send(message.value, message.key, message.datapoints)
        done = publisher.finish()
        if done.messages != messages:
            raise RuntimeError(f"{messages - done.messages} of {messages} messages were not published")
        return Backlog(topic, partitions, messages, done.datapoints or 0)

    def task(self, backlog: Backlog) -> Task:
        """To read it, into a new file."""
        file = self.folder / f"{uuid.uuid4().hex}.duckdb"
        return Task(self.broker.access, backlog.topic, backlog.partitions, backlog.messages, file)


@contextmanager
def running(folder: Path) -> Iterator[Kafka]:
    """A broker, and this process and all that it starts meanwhile on two cores.

    Raises PeerMissingError where there is none.
    """
    try:
        settings = embedded(folder / "kafka")
    except KafkaUnavailableError as error:
        raise scratch.PeerMissingError(str(error)) from error
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if cores:
        os.sched_setaffinity(0, set(sorted(cores)[:CORES]))
    try:
        with KafkaBroker(settings) as broker:
            yield Kafka(broker, folder)
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


@contextmanager
def once(folder: Path) -> Iterator[Callable[[], Kafka]]:
    """Gives what starts the broker when it is asked for first, and gives the same one from then on."""
    with ExitStack() as parts:
        yield functools.cache(lambda: parts.enter_context(running(folder)))


def polled() -> Iterator[SimulatedMessage]:
    """Polls of the same devices, minute after minute."""
    simulation = Simulation(DEVICES, INSTANCES, odds=workloads.ODDS)
    rounds = (
        simulation.polls(workloads.START_MS + minute * workloads.INTERVAL_MS, workloads.INTERVAL_MS)
        for minute in itertools.count()
    )
    return itertools.chain.from_iterable(rounds)


@contextmanager
def reader(way: str, task: Task) -> Iterator[subprocess.Popen[str]]:
    """A process that reads the task's topic; killed at the end of the block, should it still run."""
    command = [sys.executable, "-m", "benchmarks.consumed", way]
    with subprocess.Popen(
        command, cwd=scratch.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        try:
            process.stdin.write(task.written() + "\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()
            remove(task.file)


def read(way: str, task: Task) -> tuple[Ran, dict[str, Any]]:
    """Read a backlog to its end."""
    with reader(way, task) as process:
        out, _ = process.communicate(timeout=READ_SECONDS)
    if process.returncode:
        raise RuntimeError(f"reading as {way} does ended with exit code {process.returncode}")
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    if result["messages"] != task.messages or result.get("duplicates"):
        raise RuntimeError(f"{way} read {result['messages']:,} of {task.messages:,} messages: {result}")
    workers = (result.get("own", 0.0), result.get("workerMiB", 0.0))
    return Ran(result["rows"], result["seconds"], result["cpu"], result["peakMiB"], *workers), result


def remove(file: Path) -> None:
    """Remove a database with its log."""
    for part in (file, file.with_name(f"{file.name}.wal")):
        part.unlink(missing_ok=True)


def wait_until_still(sizes: Iterable[int], seconds: float, still: float = 2.0) -> tuple[float, float]:
    """The times of the first and the last change in `sizes`, looked at until none has come for `still` seconds."""
    ends = time.monotonic() + seconds
    changes: list[float] = []
    last = 0
    for size in sizes:
        now = time.monotonic()
        if size != last:
            last = size
            changes.append(now)
        elif (changes and now - changes[-1] > still) or now > ends:
            break
        time.sleep(0.02)
    return (changes[0], changes[-1]) if changes else (ends, ends)
