"""Options of `lmdp run`, by group, and what contradicts what among them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import typer

from lmdp.cli.command import is_on_command_line
from lmdp.cli.options import DEFAULT_HOME, TOPIC_OF_SIMULATION, Home, OrgId, WarehouseFile, option, too_many
from lmdp.cli.receive import ReceiverOptions, listen_faults

_MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """The part of the topic to consume, and the broker to start where none is named."""

    panel: ClassVar[str] = "Kafka"
    partitions: Annotated[
        str | None, option("--partitions 0,1,4-7", "Only these partitions, to split a topic over machines.")
    ] = None
    group: Annotated[
        str,
        option(
            "--group NAME",
            "The consumer group. Into DuckDB it is for lag monitors only: use one name per warehouse. With --to "
            "snowflake a run also resumes from it, and the runs of --share have it in common.",
            env="LMDP_KAFKA_GROUP",
        ),
    ] = "lmdp"
    share: Annotated[
        bool,
        option(
            "--share",
            "Share the topic with the other runs of --group: Kafka divides the partitions among them, also when one "
            "ends. For --to snowflake; each run has a --home of its own.",
            env="LMDP_SHARE",
        ),
    ] = False
    workers: Annotated[
        int | None,
        option(
            "--workers N",
            "Transform a backlog in N processes; 0 or 1: in this process. By default one for each core, at most four.",
            env="LMDP_WORKERS",
            min=0,
            max=64,
            show_default=False,
        ),
    ] = None
    broker: Annotated[
        Literal["kafka", "memory"],
        option(
            "--broker",
            "The broker to start when none is named: a real Apache Kafka, or librdkafka's test broker in this "
            "process (no Java, plaintext, data is lost on exit).",
        ),
    ] = "kafka"
    kafka_home: Annotated[
        Path | None, option("--kafka-home DIR", "Use this unpacked Kafka distribution instead of downloading one.")
    ] = None

    receive: Annotated[
        bool,
        option(
            "--receive/--no-receive",
            "Also take metrics by OTLP/HTTP, at --listen, and put them on the topic: `lmdp receive` in this process.",
            env="LMDP_RECEIVE",
            show_default=False,
        ),
    ] = False


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """The simulated devices."""

    panel: ClassVar[str] = "Simulation"
    simulate: Annotated[
        int | None,
        option(
            "--simulate N",
            "Simulate N devices (0: none). Default: 20 with the embedded broker and without --receive, else 0. For "
            "another broker also pass --topic.",
            min=0,
            max=1_000_000,
        ),
    ] = None
    instances: Annotated[
        int, option("--instances", "Instances per device; each is one message a poll.", min=1, max=1_000_000)
    ] = 20
    interval: Annotated[float, option("--interval S", "Seconds between two polls.", min=0.1)] = 10.0
    duration: Annotated[
        float | None, option("--duration S", "Simulate for S seconds, consume what was published, and exit.", min=0.1)
    ] = None


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """The store of the rows, and how long it keeps them."""

    panel: ClassVar[str] = "Storage"
    to: Annotated[
        Literal["duckdb", "snowflake"],
        option(
            "--to",
            "Where the rows go: a DuckDB file on this machine, or Snowflake, each row once, without AWS between "
            "(settings: SNOWFLAKE_ACCOUNT_URL, SNOWFLAKE_WRITER_KEY_FILE; see docs/direct-writer.md).",
            env="LMDP_SINK",
        ),
    ] = "duckdb"
    org_id: OrgId = None
    tenant_header: Annotated[
        str | None,
        option(
            "--tenant-header NAME",
            "The Kafka header that decides the tenant, such as `lmdp receive`'s lmdp-tenant: only for a topic to which "
            "nobody but the receiver may write. Default: lmdp-tenant with --receive and the embedded broker.",
            env="LMDP_TENANT_HEADER",
            show_default=False,
        ),
    ] = None
    warehouse: WarehouseFile = None
    keep: Annotated[
        str,
        option(
            "--keep 30d",
            "How long DuckDB keeps rows, in whole days; `forever` removes none. A run removes older rows at its start "
            "and every hour.",
            env="LMDP_KEEP",
        ),
    ] = "30d"
    rejects: Annotated[
        str | None,
        option(
            "--rejects PLACE",
            "Also write rejects to files, in the cloud's format: below a folder, or s3://bucket/prefix. The warehouse "
            "has them anyway: replay one or the other. With --to snowflake this is the only place; default: "
            "HOME/rejects.",
            env="LMDP_REJECTS",
            show_default=False,
        ),
    ] = None
    home: Home = DEFAULT_HOME


@dataclass(frozen=True, slots=True)
class PageOptions:
    """The local page."""

    panel: ClassVar[str] = "Page"
    page: Annotated[
        bool | None,
        option(
            "--page/--no-page",
            "Serve a page at http://127.0.0.1:8088 for this user alone: status, charts, SQL, /metrics. On by "
            "default, except with --duration or --until-idle.",
            env="LMDP_PAGE",
            show_default=False,
        ),
    ] = None
    page_port: Annotated[
        int | None,
        option(
            "--page-port PORT",
            "The page's port; the next free one if it is taken.",
            env="LMDP_PAGE_PORT",
            min=1,
            max=65_535,
            show_default="8088",
        ),
    ] = None


UntilIdle = Annotated[
    bool,
    option(
        "--until-idle",
        "Exit when everything that the topic held at the start has been read; with --share, of the partitions that "
        "this run has. A run without partitions waits until others give it some.",
    ),
]


def contradictions(context: typer.Context) -> list[str]:
    """Return what is wrong with options that are right one by one."""
    given = context.params
    own = given["servers"] is None
    devices = devices_of(given["servers"], given["simulate"], given["until_idle"] or given["receive"])
    faults = _broker_faults(context, own=own)
    faults += too_many(devices, given["instances"])
    if not devices:
        idle = [name for name in ("instances", "interval", "duration") if is_on_command_line(context, name)]
        faults += [f"--{name} is for simulated devices, and there are none" for name in idle]
    if given["until_idle"] and devices and not is_on_command_line(context, "duration"):
        faults.append("--until-idle is never reached while devices are simulated: give --duration S, or --simulate 0")
    if given["to"] == "snowflake":
        of_duckdb = [name for name in ("warehouse", "keep") if is_on_command_line(context, name)]
        faults += [f"--{name} is for DuckDB, and --to is snowflake" for name in of_duckdb]
    if given["share"] and given["to"] != "snowflake":
        faults.append("--share is for --to snowflake: a DuckDB file has one run")
    if given["share"] and given["partitions"]:
        faults.append("--share and --partitions contradict each other: Kafka divides the partitions, or you do")
    faults += listen_faults(context)
    if not given["receive"]:
        names = [field.name for field in fields(ReceiverOptions)]
        idle = [name.replace("_", "-") for name in names if is_on_command_line(context, name)]
        faults += [f"--{name} is for --receive, which is not given" for name in idle]
    _parsed(partitions_of, given["partitions"], faults)
    _parsed(days_of, given["keep"], faults)
    return faults


def _broker_faults(context: typer.Context, *, own: bool) -> list[str]:
    if own:
        given = [name for name in ("ca", "cert", "key", "plaintext") if is_on_command_line(context, name)]
        faults = [
            f"--{name} needs --bootstrap-servers; the embedded Kafka has certificates of its own" for name in given
        ]
    else:
        given = [name for name in ("broker", "kafka_home") if is_on_command_line(context, name)]
        faults = [
            f"--{name.replace('_', '-')} is for a broker that this command starts; one is named" for name in given
        ]
        if context.params["simulate"] and not is_on_command_line(context, "topic"):
            faults.append(TOPIC_OF_SIMULATION)
    if context.params["broker"] == "memory" and is_on_command_line(context, "kafka_home"):
        faults.append("--kafka-home is not used by --broker memory; give one or the other")
    return faults


def devices_of(servers: str | None, simulate: int | None, others: bool) -> int:  # noqa: FBT001 - as the options have it
    """Return how many devices are simulated: 20 by default, on a broker that this command starts for no `others`."""
    return simulate if simulate is not None else (20 if servers is None and not others else 0)


def _parsed(parse: Callable[[str], object], text: str | None, faults: list[str]) -> None:
    try:
        if text is not None:
            parse(text)
    except ValueError as error:
        faults.append(str(error))


def partitions_of(text: str) -> tuple[int, ...]:
    """Return the partitions of --partitions, in order. Raises ValueError."""
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"--partitions: {part.strip()!r} is neither a number nor a range such as 0-3")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(chosen))


def days_of(text: str) -> int | None:
    """Return the days of --keep; None for `forever`. Raises ValueError."""
    if text == "forever":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})d?", text)
    if match is None or int(match[1]) > _MOST_DAYS:
        raise ValueError(f"--keep (LMDP_KEEP) is {text!r}; it is 1d to {_MOST_DAYS}d, in whole days, or `forever`")
    return int(match[1])
