"""A consumer that is killed at random, again and again, over one backlog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.crash import killed_consumer
from chaos.scenario import Site

if TYPE_CHECKING:
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker


def test_every_row_is_there_once_whenever_it_is_killed(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """SIGKILL before, within and between transactions; then the end: each row once, LOADS adds up. Chaos kills more."""
    outcome = killed_consumer(Site("short", tmp_path, kafka_broker), (4, 40_000))
    assert (outcome.times, outcome.found_rows, outcome.faults()) == (4, 40_000, ())
