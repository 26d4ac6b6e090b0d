"""Configuration of an embedded Kafka: its settings file and its Java command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmdp.certificates.development_ca import Certificates
from lmdp.errors import SettingsError
from lmdp.machine.kafka.topics import PARTITIONS
from lmdp.support.atomic_files import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from lmdp.machine.embedded_kafka.java import Java

LOOPBACK = "127.0.0.1"
NODE_ID = 1


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Settings of an embedded Kafka.

    `folder` keeps its data, log and configuration. Only the certificates `lmdp-client` and `lmdp-server` may do
    everything; another certificate of the same CA may do what an ACL allows it, or anything that no ACL covers when
    `allow_without_acl` is set. `advertised` is the `host:port` that clients are sent to, with something in between.
    """

    folder: Path
    certs: Certificates
    jars: tuple[Path, ...]
    java: Java
    max_message_bytes: int = 8 * 1024 * 1024
    retention_hours: int = 24
    heap_mb: int = 512
    allow_without_acl: bool = False
    advertised: str = ""


def write(settings: BrokerSettings, ports: tuple[int, int]) -> None:
    """Write what Kafka reads at its start: `server.properties` and its key with its certificate."""
    folder, server = settings.folder, settings.certs.server
    store = server.key.read_bytes() + server.cert.read_bytes()
    write_files((folder / "server.store.pem", store, 0o600))
    values = properties(settings, ports)
    write_files((folder / "server.properties", properties_file(values), 0o600))
    write_files((folder / "ports", f"{ports[0]} {ports[1]}".encode(), 0o600))


def properties(settings: BrokerSettings, ports: tuple[int, int]) -> dict[str, str]:
    """Kafka's own settings: https://kafka.apache.org/documentation/#brokerconfigs."""
    if "," in str(settings.folder):
        raise SettingsError(
            f"Kafka cannot keep data in {settings.folder}: a comma separates its folders. Take another."
        )
    return {
        **_listeners(settings, ports),
        **_one_node(),
        "log.dirs": str(settings.folder / "data"),
        "auto.create.topics.enable": "false",
        "num.partitions": str(PARTITIONS),
        "message.max.bytes": str(settings.max_message_bytes),
        "log.retention.hours": str(settings.retention_hours),
        "log.roll.hours": "1",  # only whole segments are removed
        "log.segment.bytes": str(max(64 * 1024 * 1024, settings.max_message_bytes)),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"{settings.certs.server.principal};{settings.certs.client.principal}",
        "allow.everyone.if.no.acl.found": str(settings.allow_without_acl).lower(),
    }


def _listeners(settings: BrokerSettings, ports: tuple[int, int]) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{ports[1]}",
        "listeners": f"BROKER://{LOOPBACK}:{ports[0]},CONTROLLER://{LOOPBACK}:{ports[1]}",
        "advertised.listeners": f"BROKER://{settings.advertised or f'{LOOPBACK}:{ports[0]}'}",
        "listener.security.protocol.map": "BROKER:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(settings.folder / "server.store.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(settings.certs.ca.cert.absolute()),
    }


def _one_node() -> dict[str, str]:
    """Settings that make the internal topics fit one node, the start quick and the memory small."""
    ones = (
        "offsets.topic.num.partitions",
        "offsets.topic.replication.factor",
        "transaction.state.log.num.partitions",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
        "share.coordinator.state.topic.num.partitions",
        "share.coordinator.state.topic.replication.factor",
        "share.coordinator.state.topic.min.isr",
        "log.cleaner.threads",
        "num.recovery.threads.per.data.dir",
    )
    return dict.fromkeys(ones, "1") | {
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "group.initial.rebalance.delay.ms": "0",
        "broker.heartbeat.interval.ms": "500",
        "metadata.max.idle.interval.ms": "5000",  # a no-op record each; the default of 0.5 s wakes an idle laptop
        "log.cleaner.dedupe.buffer.size": str(4 * 1024 * 1024),  # of a heap of 512 MB the default takes 128
    }


def properties_file(values: dict[str, str]) -> bytes:
    """Return the text in ASCII: Java reads such a file as ISO 8859-1, with escapes (java.util.Properties.load)."""
    return "".join(f"{name}={_escaped(value)}\n" for name, value in values.items()).encode("ascii")


def _escaped(value: str) -> str:
    doubled = value.replace("\\", "\\\\")
    units = doubled.encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)


def java_command(settings: BrokerSettings) -> list[str]:
    """The launcher with its options and the class path; a class and its arguments follow."""
    newer = ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
    return [
        str(settings.java.path),
        f"-Xmx{settings.heap_mb}m",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        f"-XX:ErrorFile={settings.folder / 'crash.log'}",
        "-XX:-CreateCoredumpOnCrash",  # its memory holds the server's key
        *(newer if settings.java.major >= 24 else []),
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
        "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaConfig=warn",
        *_log_options(settings.jars),
        "-cp",
        os.pathsep.join(str(jar) for jar in settings.jars),
    ]


def _log_options(jars: tuple[Path, ...]) -> list[str]:
    """Log to standard error: the pinned jars do; a distribution's log4j has its own tools' settings."""
    names, config = " ".join(jar.name for jar in jars), jars[0].parent.parent / "config"
    if "log4j-core" in names:
        return [f"-Dlog4j2.configurationFile={config / 'tools-log4j2.yaml'}"]
    if "reload4j" in names:  # Kafka 3
        return [f"-Dlog4j.configuration={(config / 'tools-log4j.properties').as_uri()}"]
    return ["-Dlog4j2.loggerContextFactory=org.apache.logging.log4j.simple.SimpleLoggerContextFactory"]
