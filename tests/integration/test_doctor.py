"""`lmdp doctor` beside a real Kafka."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmdp.doctor.kafka import topic
from lmdp.doctor.result import Context
from lmdp.machine.embedded_kafka.broker import KafkaBroker


@pytest.mark.parametrize(
    ("is_there", "state", "told", "fix"),
    [(True, "ok", "4 partitions", ""), (False, "wrong", "does not exist", "lmdp topic create --topic ")],
)
def test_a_topic_is_described(
    kafka_broker: KafkaBroker,
    new_topic: Callable[..., str],
    tmp_path: Path,
    is_there: bool,
    state: str,
    told: str,
    fix: str,
) -> None:
    """It is there with its shape, or the command that creates it is told."""
    access, name = kafka_broker.access, new_topic() if is_there else "none.such"
    servers, files = access.bootstrap_servers, (access.ca, access.cert, access.key)
    found = topic(Context(tmp_path, tmp_path / "w", {}, name, servers, *files))
    assert (found.state, found.fix.startswith(fix)) == (state, True)
    assert told in found.text
