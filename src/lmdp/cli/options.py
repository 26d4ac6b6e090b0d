"""The options that several commands share: one name, one environment variable and one help text each."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from lmdp.errors import SettingsError
from lmdp.support.program import HOME, WAREHOUSE, at_home, program

if TYPE_CHECKING:
    from lmdp.machine.kafka.access import KafkaAccess

DEFAULT_TOPIC = "lm.metrics.otlp"
DEFAULT_HOME = HOME
_MOST_SIMULATED = 2_000_000  # instances of all devices; each takes about 0.8 kB


def option(spec: str, about: str, *, env: str | None = None, **more: Any) -> Any:
    """Return an option; `spec` has its names, and the word for its value: `--output -o FILE`."""
    words = spec.split()
    names = [word for word in words if word.startswith("-")]
    return typer.Option(*names, metavar=" ".join(words[len(names) :]) or None, help=about, envvar=env, **more)


Environment = Annotated[
    str | None,
    option(
        "--environment NAME",
        "The deployment, such as dev: its names in Snowflake (LM_METRICS_DEV). Without it: prod's, LM_METRICS.",
        env="LMDP_ENVIRONMENT",
    ),
]


def _topics() -> list[str]:
    """Return the topics that a shell can complete without a broker."""
    return sorted({DEFAULT_TOPIC, os.environ.get("LMDP_TOPIC") or DEFAULT_TOPIC})


Home = Annotated[
    Path,
    option(
        "--home DIR",
        "The local pipeline's folder: warehouse, certificates, the embedded broker's data.",
        env="LMDP_HOME",
    ),
]
OrgId = Annotated[
    str | None,
    option(
        "--org-id NAME",
        "The tenant of bundles that carry none, as LogicMonitor's do: the column orgId.",
        env="LMDP_ORG_ID",
    ),
]
WarehouseFile = Annotated[
    Path | None,
    option(
        "--warehouse FILE",
        "The DuckDB file. Without it: warehouse.duckdb in --home.",
        env="LMDP_WAREHOUSE",
        show_default=False,
    ),
]
Json = Annotated[bool, option("--json", "Print one JSON value for a program to read.")]


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """The topic, and the way to its broker."""

    panel: ClassVar[str] = "Kafka"
    servers: Annotated[
        str | None,
        option(
            "--bootstrap-servers HOST:PORT,…",
            "Kafka's addresses, such as b-1.example.com:9094. Without it: the embedded Kafka of --home.",
            env="LMDP_BOOTSTRAP_SERVERS",
        ),
    ] = None
    ca: Annotated[
        Path | None,
        option(
            "--ca FILE",
            "PEM file of the CA that signed the broker's certificate. Without it: the system's CAs (right for MSK).",
            env="LMDP_KAFKA_CA",
        ),
    ] = None
    cert: Annotated[
        Path | None, option("--cert FILE", "PEM file of this client's certificate.", env="LMDP_KAFKA_CERT")
    ] = None
    key: Annotated[
        Path | None,
        option(
            "--key FILE",
            "PEM file of that certificate's key: unencrypted, readable by you alone (chmod 600).",
            env="LMDP_KAFKA_KEY",
        ),
    ] = None
    plaintext: Annotated[
        bool,
        option(
            "--plaintext",
            "Connect to the named broker without TLS. Default: for a broker on loopback only, and not with TLS files.",
            env="LMDP_KAFKA_PLAINTEXT",
        ),
    ] = False
    topic: Annotated[
        str,
        option("--topic NAME", "The Kafka topic that carries the bundles.", env="LMDP_TOPIC", autocompletion=_topics),
    ] = DEFAULT_TOPIC

    def access(self, home: Path = DEFAULT_HOME) -> "KafkaAccess":
        """Return the access to the named broker; without one, to the embedded Kafka that is running in `home`.

        Raises SettingsError with every fault at once.
        """
        from lmdp.machine.kafka.access import KafkaAccess  # noqa: PLC0415 - loads librdkafka

        if self.servers is None:
            access = self._embedded(home)
        else:
            access = KafkaAccess(self.servers, self.ca, self.cert, self.key, plaintext=self.plaintext)
        faults = access.faults()
        if faults:
            raise SettingsError.of(faults)
        return access

    def _embedded(self, home: Path) -> "KafkaAccess":
        from lmdp.machine.embedded_kafka.broker import running_access  # noqa: PLC0415 - loads librdkafka

        if any((self.ca, self.cert, self.key)):
            raise SettingsError("--ca, --cert and --key are for a broker that --bootstrap-servers names")
        access = running_access(home)
        if access is None:
            raise SettingsError(
                f"no broker is named and none runs under {home}: give --bootstrap-servers (LMDP_BOOTSTRAP_SERVERS), "
                f"or start '{program()} run{at_home(home)}' in another terminal"
            )
        return access


TOPIC_OF_SIMULATION = (
    "--simulate into a given broker needs its topic on the command line (--topic NAME), so that simulated devices "
    "never reach a real topic by default; LMDP_TOPIC does not count"
)


def too_many(devices: int, instances: int | None) -> list[str]:
    """Return a fault where so many instances would be simulated that memory is not enough."""
    if devices * (instances or 1) <= _MOST_SIMULATED:
        return []
    return [f"--simulate {devices} with --instances {instances}: at most {_MOST_SIMULATED:,} instances are simulated"]


def warehouse_file(chosen: Path | None, home: Path) -> Path:
    """Return the warehouse to use: the named one, else the one of `home`.

    Raises SettingsError for what exists and is not a file: opening a pipe would wait for ever.
    """
    path = chosen if chosen is not None else home / WAREHOUSE
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # what is wrong with the path is shown when it is opened
        return path
    if not stat.S_ISREG(mode):
        raise SettingsError(f"--warehouse (LMDP_WAREHOUSE): {path} is not a file; name a file that DuckDB may write")
    return path
