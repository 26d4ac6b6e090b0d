"""Every stage runs, on next to nothing; how long it takes is nobody's business here."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from benchmarks import kafka
from benchmarks.__main__ import STAGES
from benchmarks.bench import TINY, Bench
from benchmarks.kafka import Kafka
from benchmarks.table import HEAD, Line

KAFKA = {"machine": 3, "workers": 5, "latency": 2, "growth": 2}  # lines
WITHOUT = {
    "decode": 6,
    "flatten": 3,
    "transform": 13,
    "deliver": 1,
    "invocation": 2,
    "start": 2,
    "memory": 1,
    "commit": 1,
    "table": 1,
}


Broker = Callable[[], Kafka]


@pytest.fixture(autouse=True, scope="module")
def _small_heap() -> Iterator[None]:
    """Each contender begins with a full collection, which takes seconds over what the other tests left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """What starts a broker when one is needed."""
    with kafka.once(tmp_path_factory.mktemp("kafka")) as start:
        yield start


def lines(stage: str, folder: Path, broker: Broker) -> tuple[list[Line], dict[str, str]]:
    """The lines of a stage in the smallest size, and what was left out; nothing is installed for it."""
    skipped: dict[str, str] = {}
    bench = Bench(TINY, folder, broker, skipped.__setitem__, lambda _: None, may_install=False)
    return list(STAGES[stage](bench)), skipped


def test_every_stage_is_tried_here() -> None:
    """A stage that is added is added here."""
    assert list(STAGES) == [*WITHOUT, *KAFKA]


@pytest.mark.parametrize("stage", WITHOUT)
def test_stages_without_kafka(stage: str, tmp_path: Path, broker: Broker) -> None:
    """Each gives its lines, and every contender that makes rows made as many as lmdp."""
    found, _ = lines(stage, tmp_path, broker)
    assert len(found) == WITHOUT[stage]
    assert all(len(line.cells()) == len(HEAD) and line.ours for line in found)


@pytest.mark.kafka
@pytest.mark.xdist_group("kafka")
@pytest.mark.parametrize("stage", KAFKA)
def test_stages_with_kafka(stage: str, tmp_path: Path, broker: Broker) -> None:
    """A real broker is filled and read by everyone who stands there."""
    found, skipped = lines(stage, tmp_path, broker)
    if "Kafka" in skipped:
        pytest.skip(skipped["Kafka"])
    assert len(found) == KAFKA[stage]
