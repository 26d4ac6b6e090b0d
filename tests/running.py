"""What the tests of a running pipeline share: small bundles, a topic filled with them, the program, and a consumer."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer

from lmdp.cli.main import execute
from lmdp.core.pipeline import TransformSettings
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.metrics import Progress
from lmdp.machine.services import consume
from lmdp.machine.settings import ConsumeSettings, StopEvents
from lmdp.machine.warehouse.retention import Removed
from lmdp.machine.warehouse.warehouse import Warehouse
from new_warehouse import open_warehouse

NOW_NS = time.time_ns() // 10**9 * 10**9  # rows of long ago would be removed by the retention
PROGRAM = [sys.executable, "-c", "from lmdp.cli.main import main; main()"]


def bundle(number: int, *, tenant: str | None = None) -> bytes:
    """One gauge datapoint, told from all others by its instance."""
    resource = {"hostId": "7", "hostName": "web-1"} | ({"orgId": tenant} if tenant else {})
    point = {
        "timeUnixNano": str(NOW_NS + number * 1_000_000),
        "asDouble": number,
        "attributes": _attributes({"dataSourceInstanceName": f"i-{number}"}),
    }
    metric = {"name": "CpuUsage", "gauge": {"dataPoints": [point]}}
    scope = {"scope": {"name": "Cpu"}, "metrics": [metric]}
    return json.dumps(
        {"resourceMetrics": [{"resource": {"attributes": _attributes(resource)}, "scopeMetrics": [scope]}]}
    ).encode()


def _attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def publish(access: KafkaAccess, topic: str, values: Iterable[bytes], *, partition: int | None = None) -> None:
    """Put `values` on the topic, in turn on its partitions or all on one, and wait until the broker has them."""
    producer = Producer({**access.config(), "linger.ms": 50})
    # By our own turns: librdkafka keeps messages without a key together, and can leave a partition empty.
    ends = time.monotonic() + 60
    while not (there := sorted(producer.list_topics(topic, timeout=30).topics[topic].partitions)):
        assert time.monotonic() < ends, f"{topic} has no partitions"  # a broker that has just begun may not know yet
        time.sleep(0.1)
    refused: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error.str())

    for value, turn in zip(values, itertools.cycle(there if partition is None else [partition]), strict=False):
        producer.produce(topic, value, partition=turn, on_delivery=delivered)
        producer.poll(0)
    assert producer.flush(60) == 0
    assert not refused, refused[0]


def options(access: KafkaAccess) -> list[str]:
    """The command line's options for this Kafka."""
    files = {"--ca": access.ca, "--cert": access.cert, "--key": access.key}
    given = [word for option, path in files.items() if path is not None for word in (option, str(path))]
    return ["--bootstrap-servers", access.bootstrap_servers, *given]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without its own settings for the program."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LMDP_")}
    return inherited | {"LMDP_PAGE": "false"} | more  # a page takes a second of a core; who wants one says so


def lmdp(
    *words: str, folder: Path, given: bytes | None = None, seconds: float = 60, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end in `folder`."""
    return subprocess.run(
        [*PROGRAM, *words],
        cwd=folder,
        env=environment(**env),
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        timeout=seconds,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def call(*words: str, folder: Path, given: bytes = b"", **env: str) -> Ended:
    """Run the command line within this process, in `folder`."""
    out, err, into = (io.TextIOWrapper(io.BytesIO(start), encoding="utf-8") for start in (b"", b"", given))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LMDP_")]:
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lmdp", *words])
        for name, stream in (("stdout", out), ("stderr", err), ("stdin", into)):
            patch.setattr(sys, name, stream)
        code = execute()
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return Ended(code, *texts)


@contextlib.contextmanager
def started(*words: str, folder: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program beside the block; killed at its end, should it still run."""
    with (folder / "stderr").open("ab") as errors:
        program = subprocess.Popen(
            [*PROGRAM, *words], cwd=folder, env=environment(**env), stdout=subprocess.PIPE, stderr=errors
        )
        with program:
            try:
                yield program
            finally:
                program.kill()


def until(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait until it is true; fails after `seconds`."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"not true within {seconds} s"
        time.sleep(0.05)


def rows(home: Path, sql: str) -> list[dict[str, Any]]:
    """What the warehouse of `home` answers, asked of its run or of the file."""
    found: list[dict[str, Any]] = client.query(home, home / "warehouse.duckdb", Query(sql, 1_000_000)).table.to_pylist()
    return found


@dataclass(slots=True)
class Consuming:
    """A consumer at work in a thread, what it said, and what ended it."""

    warehouse: Warehouse
    progress: Progress = field(default_factory=Progress)
    ends: StopEvents = field(default_factory=StopEvents)
    said: list[str] = field(default_factory=list)
    error: BaseException | None = None
    ended: bool = False

    def instances(self) -> list[str]:
        """Each row's instance, sorted."""
        table = self.warehouse.query('SELECT "instance" AS I FROM ROW_EVENTS', limit_rows=1_000_000).table
        return sorted(table.column("I").to_pylist())

    def rows(self) -> int:
        """How many rows are committed."""
        return self.progress.counts.rows

    def told(self, text: str) -> bool:
        """Whether a person was told so."""
        return any(text in line for line in self.said)


@contextlib.contextmanager
def consuming(access: KafkaAccess, path: Path, settings: ConsumeSettings) -> Iterator[Consuming]:
    """Consume into the file at `path` beside the block; what ended the consumer is raised at its end."""
    with open_warehouse(path) as warehouse:
        at_work = Consuming(warehouse)

        def work() -> None:
            try:
                consume(
                    access,
                    warehouse,
                    TransformSettings(org_id="acme"),
                    settings,
                    at_work.progress,
                    at_work.ends,
                    at_work.said.append,
                )
            except BaseException as error:  # noqa: BLE001 - raised again below
                at_work.error = error
            at_work.ended = True

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield at_work
        finally:
            at_work.ends.stop.set()
            thread.join()
        if at_work.error is not None:
            raise at_work.error


@contextlib.contextmanager
def no_more_threads() -> Iterator[None]:
    """Have the system refuse new threads of this process: none has so large a stack."""
    before = threading.stack_size(2**46)
    try:
        yield
    finally:
        threading.stack_size(before)


def expected(numbers: Iterable[int]) -> list[str]:
    """The instances of the bundles of these numbers, sorted."""
    return sorted(f"i-{number}" for number in numbers)


def remove_older(warehouse: Warehouse, days: int | None, now: datetime) -> Removed:
    """Take every step of a removal; returns what left."""
    return sum(warehouse.removals(days, now), Removed())
