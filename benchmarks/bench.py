"""The context of every stage: how much to measure, a folder, and a place to report what was left out."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import workloads
from benchmarks.kafka import Kafka
from benchmarks.scratch import PeerMissingError
from benchmarks.table import Line
from benchmarks.workloads import Workload


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a measurement: messages a round of each workload, and so on; `growth` times `base` messages."""

    rounds: int
    small: int
    large: int
    mix: int
    events: int  # of 200 messages, a round
    commit_messages: int
    starts: int
    kafka_messages: int
    paced_s: int
    base: int
    growth: tuple[int, ...] = (1, 10, 100, 1000)
    partitions: tuple[int, ...] = (1, 8, 32)
    repeats: int = 3  # of a brief run with Kafka
    backlog: int = 4  # times kafka_messages, for workers, which take a second to start

    def of(self, name: str) -> int:
        """Messages a round of a workload."""
        return {workloads.LARGE: self.large, workloads.MIX: self.mix}.get(name, self.small)


FULL: Final = Sizes(
    rounds=5,
    small=2_000,
    large=50,
    mix=200,
    events=5,
    commit_messages=7_500,
    starts=9,
    kafka_messages=60_000,
    paced_s=20,
    base=500,
)
QUICK: Final = Sizes(
    rounds=3,
    small=400,
    large=10,
    mix=40,
    events=2,
    commit_messages=1_500,
    starts=3,
    kafka_messages=6_000,
    paced_s=4,
    base=100,
    growth=(1, 10, 100),
    partitions=(1, 8),
)
TINY: Final = Sizes(
    rounds=1,
    small=4,
    large=1,
    mix=2,
    events=1,
    commit_messages=4,
    starts=1,
    kafka_messages=50,
    paced_s=1,
    base=5,
    growth=(1,),
    partitions=(2,),
    repeats=1,
    backlog=1,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """A run. `skip` notes what was left out and why; `say` what is in progress.

    `kafka` gives the broker, started for the first who asks; it raises PeerMissingError where there is none.
    `may_install`: whether packages and peers that are not there yet may be fetched and built.
    """

    sizes: Sizes
    folder: Path
    kafka: Callable[[], Kafka]
    skip: Callable[[str, str], None]
    say: Callable[[str], None]
    may_install: bool = True

    @contextlib.contextmanager
    def skipping(self, name: str) -> Iterator[None]:
        """Leave `name` out, and say why, when it turns out that it cannot be had."""
        try:
            yield
        except PeerMissingError as missing:
            self.skip(name, str(missing))

    def new_folder(self) -> Path:
        """A folder of one's own."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def workload(self, name: str, form: str = "JSON") -> Workload:
        """A workload in this run's size, fresh."""
        return workloads.workload(name, form, self.sizes.rounds, self.sizes.of(name))


Stage = Callable[[Bench], Iterator[Line]]
