"""The consumer on a real Kafka: what it survives, what it says, and that every message is there once."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

import pytest

from lmdp.certificates import development_ca
from lmdp.core.pipeline import TransformSettings
from lmdp.errors import SettingsError
from lmdp.machine.embedded_kafka.broker import KafkaBroker
from lmdp.machine.kafka import topics
from lmdp.machine.metrics import Progress
from lmdp.machine.services import consume
from lmdp.machine.settings import ConsumeSettings, StopEvents
from new_warehouse import open_warehouse
from running import bundle, consuming, expected, publish, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmdp.machine.embedded_kafka.config import BrokerSettings
    from lmdp.machine.kafka.access import KafkaAccess


def test_a_broker_restart_and_another_cluster(
    kafka_broker: KafkaBroker, kafka_settings: BrokerSettings, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """A broker that goes away is waited for; a new cluster under the same file is read from its start, and said."""
    name, path = new_topic(2), tmp_path / "w.duckdb"
    with KafkaBroker(dataclasses.replace(kafka_settings, folder=tmp_path / "broker")) as own:
        own.create_topic(name, 2)
        publish(own.access, name, map(bundle, range(50)))
        with consuming(own.access, path, ConsumeSettings(name)) as run:
            until(lambda: run.rows() == 50)
            own.stop()
            until(lambda: run.told("does not answer"))
            assert "does not answer" in run.progress.trouble
            own.start()
            publish(own.access, name, map(bundle, range(50, 100)))
            until(lambda: run.rows() >= 100)
            until(lambda: not run.progress.trouble)
            assert run.instances() == expected(range(100))
            assert len(run.said) < 7
            own.stop()
            run.ends.drain.set()
            time.sleep(4)
            assert not run.ended  # at its end as far as it knows, and the broker may have more
            own.start()
            until(lambda: run.ended, 60)
    publish(kafka_broker.access, name, map(bundle, range(100, 150)))
    with consuming(kafka_broker.access, path, ConsumeSettings(name)) as run:
        until(lambda: run.rows() == 50)
        assert run.told("is not the topic that this warehouse has read before")
        assert run.instances() == expected(range(150))
        assert run.warehouse.duplicates() == 0


def test_it_drains_and_ends(kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path) -> None:
    """Told to drain, it ends by itself when everything is read, and LOADS says what was read when."""
    name = new_topic(3)
    publish(kafka_broker.access, name, map(bundle, range(2000)))
    with consuming(kafka_broker.access, tmp_path / "w.duckdb", ConsumeSettings(name, batch_rows=300)) as run:
        run.ends.drain.set()
        until(lambda: run.ended)
        loads = run.warehouse.query("SELECT count(*) AS N, sum(NEXT_OFFSET - FIRST_OFFSET)::INT AS M FROM LOADS").table
        assert loads.to_pylist() == [{"N": loads.column("N")[0].as_py(), "M": 2000}]
        assert run.progress.commits >= 3  # a batch is written with the portion that fills it, 500 messages at most
        assert run.instances() == expected(range(2000))


def test_everything_that_stands_on_a_topic_is_counted(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Tombstones, rubbish, other signals, odd characters and large messages: rows or rejects, and nothing stops."""
    name = new_topic(1)
    odd = json.loads(bundle(7))
    odd["resourceMetrics"][0]["resource"]["attributes"] += [
        {"key": "nul\x00", "value": {"stringValue": "a\x00b"}},
        {"key": "half", "value": {"stringValue": "\ud800"}},
        {"key": "big", "value": {"stringValue": "x" * 600_000}},
    ]
    late = json.loads(bundle(8))
    late["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"][0]["timeUnixNano"] = str(2**64)
    values = [
        *(b"", b"\x00", b"{", b"{}", b'{"resourceLogs": []}', b"\xff" * 100, b"[" * 100_000, b"null"),
        *(json.dumps(odd).encode(), json.dumps(late).encode(), bundle(9)),
    ]
    publish(kafka_broker.access, name, values)
    with consuming(kafka_broker.access, tmp_path / "w.duckdb", ConsumeSettings(name)) as run:
        until(lambda: run.progress.counts.messages == len(values))
        counts = run.progress.counts
        assert counts.rows + counts.rejected_messages + counts.dropped["empty"] == len(values)
        assert "i-9" in run.instances()
        assert run.warehouse.tally.exact().rejects.total() == counts.rejected_messages
        assert sum(run.progress.reasons.values()) == counts.rejected_messages


def _without_group(broker: KafkaBroker, settings: BrokerSettings, topic: str, client: str) -> tuple[KafkaAccess, str]:
    """Return the access and the principal of a client that may read a topic, and no group."""
    made = development_ca.make_client(settings.certs.ca.cert.parent, client)
    rights = [topics.Grant(made.principal, "topic", topic, right) for right in ("read", "describe")]
    topics.apply_grants(broker.access, topic, rights)
    return dataclasses.replace(broker.access, cert=made.cert, key=made.key), made.principal


def test_a_reader_without_rights_on_the_group_reads(
    kafka_broker: KafkaBroker, kafka_settings: BrokerSettings, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """The group is for lag monitors: without an ACL for it the rows still come."""
    name = new_topic(1)
    reader, _ = _without_group(kafka_broker, kafka_settings, name, "groupless")
    publish(kafka_broker.access, name, map(bundle, range(50)))
    with consuming(reader, tmp_path / "w.duckdb", ConsumeSettings(name)) as run:
        until(lambda: run.rows() == 50)
        publish(kafka_broker.access, name, map(bundle, range(50, 60)))
        until(lambda: run.rows() == 60)
        until(lambda: run.told("no rights on the group lmdp"))
        publish(kafka_broker.access, name, map(bundle, range(60, 70)))
        until(lambda: run.rows() == 70)
        assert len(run.said) == 1
        ends = time.monotonic()
    assert time.monotonic() - ends < 8  # librdkafka would wait 45 s for the group


def test_a_run_that_may_not_join_its_group_says_so_until_it_may(
    kafka_broker: KafkaBroker, kafka_settings: BrokerSettings, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Without an ACL for the group a shared topic gives nothing: that is trouble, and ends with the right."""
    name = new_topic(1)
    reader, principal = _without_group(kafka_broker, kafka_settings, name, "unjoined")
    publish(kafka_broker.access, name, map(bundle, range(50)))
    with consuming(reader, tmp_path / "w.duckdb", ConsumeSettings(name, group="unjoined", shared=True)) as run:
        until(lambda: run.progress.trouble)
        command = f"lmdp topic acls --topic {name} --reader NAME --group unjoined{reader.options(as_client=False)}"
        assert (
            run.progress.trouble
            == f"No rights on the group unjoined, so that no partition is read. To grant them: {command}."
        )
        topics.apply_grants(kafka_broker.access, name, [topics.Grant(principal, "group", "unjoined", "read")])
        until(lambda: run.rows() == 50, 60)
        assert run.progress.trouble == ""
    topics.revoke(kafka_broker.access, name, principal, "unjoined")  # other tests list the ACLs of this broker


def test_a_topic_that_is_not_there_is_told_and_not_made(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """The start is refused in words, with the command that makes one."""
    with (
        open_warehouse(tmp_path / "w.duckdb") as warehouse,
        pytest.raises(SettingsError, match=r"'not\.there' does not exist.*lmdp topic create"),
    ):
        consume(
            kafka_broker.access,
            warehouse,
            TransformSettings(),
            ConsumeSettings("not.there"),
            Progress(),
            StopEvents(),
            print,
        )


def test_a_topic_that_was_made_just_now(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Its partitions have no leader for some 50 ms; that is waited out, and ends no run."""
    for number in range(8):
        name, path = new_topic(100), tmp_path / f"{number}.duckdb"
        with consuming(kafka_broker.access, path, ConsumeSettings(name)) as run:
            while not run.ended and not run.warehouse.query("FROM OFFSETS").table.num_rows:
                time.sleep(0.05)
        assert not run.said
