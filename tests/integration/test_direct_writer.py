"""Kafka to Snowflake's double: kills, the consumer group's offsets, and the program as a whole."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from chaos.direct import killed_writer, shared_writers
from chaos.scenario import Site

from lmdp.core.pipeline import TransformSettings
from lmdp.core.specification import load_spec
from lmdp.machine.metrics import Progress
from lmdp.machine.services import consume
from lmdp.machine.settings import ConsumeSettings, StopEvents
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.testing.snowpipe import SnowpipeDouble, snowpipe_double
from running import bundle, call, lmdp, options, publish, started, until
from snowpipe_parts import KEY, public, sink_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker
    from lmdp.machine.kafka.access import KafkaAccess


@pytest.fixture
def double() -> Iterator[SnowpipeDouble]:
    """A double that commits after a moment."""
    with snowpipe_double(key=public(KEY), commit_s=0.3) as running:
        yield running


def read(double: SnowpipeDouble, access: KafkaAccess, topic: str, group: str) -> Progress:
    """Read a topic to its end, as a new process would."""
    progress, events = Progress(), StopEvents()
    events.drain.set()
    settings = ConsumeSettings(topic, group=group, from_group=True, row_spec=load_spec())
    sink = sink_of(double, notify=print, stop=events.stop)
    consume(access, sink, TransformSettings(org_id="acme"), settings, progress, events, print)
    return progress


@pytest.mark.timeout(600)
def test_every_row_is_there_once_whenever_it_is_killed(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """SIGKILL under faults, then the end: each row once. Chaos kills more."""
    outcome = killed_writer(Site("short", tmp_path, kafka_broker), (2, 500))
    assert outcome.faults() == ()
    assert outcome.expected_rows > 500


@pytest.mark.timeout(600)
def test_runs_that_share_a_topic_write_each_row_once(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """One of three is killed, and one ended, while messages come: partitions move without loss or repeat."""
    outcome = shared_writers(Site("short", tmp_path, kafka_broker), (2, 300))
    assert outcome.faults() == ()
    assert outcome.expected_rows > 300


def test_messages_without_rows_are_not_read_again(
    double: SnowpipeDouble, kafka_broker: KafkaBroker, new_topic: Callable[..., str]
) -> None:
    """The group's offset keeps what no token can: a second process has nothing to read."""
    topic = new_topic(2)
    publish(kafka_broker.access, topic, [bundle(0), bundle(1), *[b"{}", b""] * 5])
    assert read(double, kafka_broker.access, topic, "rowless").counts.messages == 12
    assert read(double, kafka_broker.access, topic, "rowless").counts.messages == 0
    assert len(double.committed()) == 2


def test_another_sinks_offsets_count_for_nothing(
    double: SnowpipeDouble, kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """What a DuckDB run of the same group has read is not in Snowflake yet."""
    topic = new_topic(1)
    publish(kafka_broker.access, topic, map(bundle, range(20)))
    words = ("run", *options(kafka_broker.access), "--topic", topic, "--group", "shared", "--org-id", "acme")
    assert call(*words, "--until-idle", "--json", folder=tmp_path).code == 0
    assert read(double, kafka_broker.access, topic, "shared").counts.messages == 20
    assert len(double.committed()) == 20


def test_an_expired_channel_resumes_at_the_groups_offset(
    double: SnowpipeDouble, kafka_broker: KafkaBroker, new_topic: Callable[..., str]
) -> None:
    """A channel that Snowflake has dropped has no token; what the group knows to be durable is not written again."""
    topic = new_topic(1)
    publish(kafka_broker.access, topic, map(bundle, range(20)))
    read(double, kafka_broker.access, topic, "expiry")
    double.expire()
    publish(kafka_broker.access, topic, [bundle(20)])
    assert read(double, kafka_broker.access, topic, "expiry").counts.messages == 1
    assert len(double.committed()) == 21


def test_the_group_gets_nothing_that_is_not_committed(
    double: SnowpipeDouble, kafka_broker: KafkaBroker, new_topic: Callable[..., str]
) -> None:
    """Rows that were accepted, and discarded before their commit, are read again by the next process."""
    topic = new_topic(1)
    publish(kafka_broker.access, topic, map(bundle, range(20)))
    double.commit_s = 3600.0
    events = StopEvents()
    settings = ConsumeSettings(topic, group="uncommitted", from_group=True, row_spec=load_spec())
    sink = sink_of(double, notify=print, stop=events.stop)
    transform = TransformSettings(org_id="acme")
    work = threading.Thread(
        target=consume, args=(kafka_broker.access, sink, transform, settings, Progress(), events, print)
    )
    work.start()
    until(lambda: double.accepted == 20)
    time.sleep(3)  # the end of the partition is reached, and the group's offsets are looked up
    events.stop.set()
    work.join()
    for channel in double.channels.values():
        channel.pending.clear()
    double.commit_s = 0.0
    assert read(double, kafka_broker.access, topic, "uncommitted").counts.messages == 20
    assert len(double.committed()) == 20


@pytest.mark.timeout(180)
def test_the_program_writes_and_answers(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """`lmdp run --to snowflake` writes, status knows the channels, and a query is answered with where the rows are."""
    topic = new_topic(2)
    (tmp_path / "writer.p8").write_bytes(pem(make_pair(2048)))
    publish(kafka_broker.access, topic, [*map(bundle, range(50)), b"{"])
    with snowpipe_double(commit_s=0.3) as double:
        env = {"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": "writer.p8"}
        words = ("run", "--to", "snowflake", *options(kafka_broker.access), "--topic", topic, "--org-id", "acme")
        with started(*words, "--json", folder=tmp_path, **env) as program:
            until(lambda: len(double.committed()) == 50, 90)
            status = json.loads(lmdp("status", "--json", folder=tmp_path).stdout)
            asked = lmdp("query", "select 1", folder=tmp_path)
            program.terminate()
            out, _ = program.communicate(timeout=60)
    report = json.loads(out)
    assert program.returncode == 0
    assert (report["messages"], report["rows"], report["rejectedMessages"]) == (51, 50, 1)
    assert (report["snowflake"]["rowsInserted"], report["snowflake"]["bytesInFlight"]) == (50, 0)
    assert status["snowflake"]["channels"] == 2
    assert asked.returncode == 2
    assert b"has no warehouse here" in asked.stderr
    assert len(list((tmp_path / ".lmdp/rejects").rglob("*.gz"))) == 1
