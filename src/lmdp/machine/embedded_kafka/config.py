"""Configuration of an embedded Kafka: its settings file and its Java command."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from lmdp.certificates.development_ca import Certificates
from lmdp.errors import SettingsError
from lmdp.machine.embedded_kafka import supervisor
from lmdp.support.atomic_files import replace_files

if TYPE_CHECKING:
    from pathlib import Path

    from lmdp.machine.embedded_kafka.jars import Java

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Settings of an embedded Kafka.

    `folder` keeps its data, log and configuration. Only the certificates `lmdp-client` and `lmdp-server` may do
    everything; another certificate of the same CA may do what an ACL allows it. `advertised` is the `host:port` that
    clients are sent to, with something in between. `wait_seconds`: for a Kafka that still has the folder. `is_open`:
    what has no ACL is every certificate's, as on MSK.
    """

    folder: Path
    certs: Certificates
    jars: tuple[Path, ...]
    java: Java
    heap_mb: int = 512
    advertised: str = ""
    wait_seconds: float = supervisor.STOP_SECONDS + 10.0
    is_open: bool = False


def write(settings: BrokerSettings, ports: tuple[int, int]) -> None:
    """Write what Kafka reads at its start: `server.properties` and its key with its certificate."""
    folder, server = settings.folder, settings.certs.server
    store = server.key.read_bytes() + server.cert.read_bytes()
    replace_files(
        (folder / "server.store.pem", store, 0o600),
        (folder / "server.properties", properties(settings, ports, folder / "data"), 0o600),
        (folder / "ports", f"{ports[0]} {ports[1]}".encode(), 0o600),
    )


def properties(settings: BrokerSettings, ports: tuple[int, int], data: Path) -> bytes:
    """Return Kafka's own settings, in ASCII: Java reads ISO 8859-1, with escapes (java.util.Properties.load)."""
    if "," in str(settings.folder):
        raise SettingsError(
            f"Kafka cannot keep data in {settings.folder}: a comma separates its folders. Take another."
        )
    certs = settings.certs
    values = {
        "host": LOOPBACK,
        "port": ports[0],
        "controller_port": ports[1],
        "advertised": settings.advertised or f"{LOOPBACK}:{ports[0]}",
        "keystore": settings.folder / "server.store.pem",
        "ca": certs.ca.cert.absolute(),
        "super_users": f"{certs.server.principal};{certs.client.principal}",
        "data": data,
        "open": str(settings.is_open).lower(),
    }
    template = resources.files(__package__).joinpath("server.properties").read_text("utf-8")
    lines = (line.partition("=") for line in template.splitlines() if line and not line.startswith("#"))
    return "".join(f"{name}={_escaped(value.format(**values))}\n" for name, _, value in lines).encode("ascii")


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
        *("-Duser.language=en", "-Duser.country=US"),  # Kafka capitalizes names by the locale: Turkish breaks it
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
