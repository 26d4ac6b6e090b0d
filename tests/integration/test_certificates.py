"""Certificate files that are replaced while their client is at work."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

from lmdp.certificates import development_ca
from lmdp.machine.kafka import topics
from lmdp.machine.settings import ConsumeSettings
from running import bundle, consuming, expected, publish, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker
    from lmdp.machine.embedded_kafka.config import BrokerSettings


def test_replaced_certificate_files_are_taken_up(
    kafka_broker: KafkaBroker, kafka_settings: BrokerSettings, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """A half-replaced pair is waited out, the new one is connected with, and no message is lost or doubled.

    Two clients with rights of their own: the first one's are taken away, so that only a new client can read on.
    """
    name, folder = new_topic(2), kafka_settings.certs.ca.cert.parent
    old, new = development_ca.make_client(folder, "rotating-1"), development_ca.make_client(folder, "rotating-2")
    readers = [old.principal, new.principal]
    topics.apply_grants(kafka_broker.access, name, topics.grants(name, readers=readers, group="lmdp"))
    files = tmp_path / "client.pem", tmp_path / "client.key"
    shutil.copy(old.cert, files[0])
    shutil.copy(old.key, files[1])
    access = dataclasses.replace(kafka_broker.access, cert=files[0], key=files[1])
    publish(kafka_broker.access, name, map(bundle, range(50)))
    with consuming(access, tmp_path / "w.duckdb", ConsumeSettings(name)) as run:
        until(lambda: run.rows() == 50)
        shutil.copy(new.key, files[1])
        until(lambda: run.told("TLS with"))
        shutil.copy(new.cert, files[0])
        topics.revoke(kafka_broker.access, name, old.principal, "lmdp")
        publish(kafka_broker.access, name, map(bundle, range(50, 100)))
        until(lambda: run.rows() >= 100)
        assert run.told("the certificate files changed")
        assert run.instances() == expected(range(100))
        assert run.warehouse.duplicates() == 0
    topics.revoke(kafka_broker.access, name, new.principal, "lmdp")
