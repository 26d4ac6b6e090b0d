"""The options that several commands share: one name, one environment variable and one help text each."""

import math
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from lmdp.errors import SettingsError
from lmdp.support.program import program

if TYPE_CHECKING:
    from lmdp.machine.kafka.access import KafkaAccess

DEFAULT_TOPIC = "lm.metrics.otlp"
DEFAULT_HOME = Path(".lmdp")
_MOST_SIMULATED = 2_000_000  # instances of all devices; each takes about 0.8 kB
_LARGEST = 2**31 - 1

BootstrapServers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        envvar="LMDP_BOOTSTRAP_SERVERS",
        metavar="HOST:PORT,…",
        help="Kafka's addresses, such as b-1.example.com:9094. Without it: the embedded Kafka of --home.",
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="LMDP_KAFKA_CA",
        metavar="FILE",
        help="PEM file of the CA that signed the broker's certificate. Without it: the system's CAs (right for MSK).",
    ),
]
Plaintext = Annotated[
    bool,
    typer.Option(
        "--plaintext",
        envvar="LMDP_KAFKA_PLAINTEXT",
        help="Speak to the named broker without TLS. By itself only a broker on loopback is, and with TLS files none.",
    ),
]
Cert = Annotated[
    Path | None,
    typer.Option("--cert", envvar="LMDP_KAFKA_CERT", metavar="FILE", help="PEM file of this client's certificate."),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        envvar="LMDP_KAFKA_KEY",
        metavar="FILE",
        help="PEM file of that certificate's key: unencrypted, readable by you alone (chmod 600).",
    ),
]
Environment = Annotated[
    str | None,
    typer.Option(
        "--environment",
        envvar="LMDP_ENVIRONMENT",
        metavar="NAME",
        help="The deployment, such as dev: its names in Snowflake (LM_METRICS_DEV). Without it: prod's, LM_METRICS.",
    ),
]
Topic = Annotated[
    str, typer.Option("--topic", envvar="LMDP_TOPIC", metavar="NAME", help="The Kafka topic that carries the bundles.")
]
Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="LMDP_HOME",
        metavar="DIR",
        help="The folder of this machine's pipeline: warehouse, certificates, the embedded broker's data.",
    ),
]
OrgId = Annotated[
    str | None,
    typer.Option(
        "--org-id",
        envvar="LMDP_ORG_ID",
        metavar="NAME",
        help="The tenant of bundles that carry none, as LogicMonitor's do: the column orgId.",
    ),
]
WarehouseFile = Annotated[
    Path | None,
    typer.Option(
        "--warehouse",
        envvar="LMDP_WAREHOUSE",
        metavar="FILE",
        help="The DuckDB file. Without it: warehouse.duckdb in --home.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value for a program to read.")]


class Command(TyperCommand):
    """A command whose numbers are numbers: no NaN, no infinity, and none that no use of this program needs."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, and refuse such a number with exit code 2."""
        rest = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= _LARGEST):
                raise typer.BadParameter(
                    f"{value} is not a number of at most {_LARGEST:,}", ctx, param_hint=f"--{name.replace('_', '-')}"
                )
        return rest


def kafka_access(
    servers: str | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    *,
    plaintext: bool = False,
    home: Path = DEFAULT_HOME,
) -> "KafkaAccess":
    """Make the Kafka access that these options name; without servers, that of the embedded Kafka running in `home`.

    Raises SettingsError with every fault at once.
    """
    from lmdp.machine.embedded_kafka.broker import running_access  # noqa: PLC0415 - librdkafka is loaded by the commands that need it
    from lmdp.machine.kafka.access import KafkaAccess  # noqa: PLC0415 - as above

    if servers is None:
        if any((ca, cert, key)):
            raise SettingsError("--ca, --cert and --key say how to reach a broker: name it with --bootstrap-servers.")
        access = running_access(home)
        if access is None:
            raise SettingsError(
                f"No broker is named and none runs under {home}: give --bootstrap-servers (LMDP_BOOTSTRAP_SERVERS), "
                f"or start '{program()} run' in another terminal."
            )
    else:
        access = KafkaAccess(servers, ca, cert, key, plaintext=plaintext)
    faults = access.faults()
    if faults:
        raise SettingsError.of(faults)
    return access


def typed(context: typer.Context, name: str) -> bool:
    """Tell whether an option stood on the command line, rather than in the environment or nowhere."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def too_many(devices: int, instances: int | None) -> list[str]:
    """Return a fault where so many instances would be simulated that memory is not enough."""
    if devices * (instances or 1) <= _MOST_SIMULATED:
        return []
    return [f"--simulate {devices} with --instances {instances}: at most {_MOST_SIMULATED:,} instances are simulated"]


def warehouse_file(chosen: Path | None, home: Path) -> Path:
    """The warehouse to use: the one that was named, else the one of `home`.

    Raises SettingsError for what is there and no file: opening a pipe would wait for ever.
    """
    path = chosen if chosen is not None else home / "warehouse.duckdb"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # what is wrong with the path is shown when it is opened
        return path
    if not stat.S_ISREG(mode):
        raise SettingsError(f"--warehouse (LMDP_WAREHOUSE): {path} is no file. Name a file that DuckDB may write.")
    return path
