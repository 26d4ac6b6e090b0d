"""`lmdp run`: the whole pipeline on this machine."""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from lmdp.cli.command import option_groups, typed
from lmdp.cli.options import (
    DEFAULT_HOME,
    TOPIC_OF_SIMULATION,
    Home,
    Json,
    KafkaOptions,
    OrgId,
    WarehouseFile,
    option,
    too_many,
    warehouse_file,
)
from lmdp.cli.receive import ReceiverOptions, listen_faults, receiver_settings
from lmdp.errors import SettingsError
from lmdp.support.signals import stopped_by_signals

if TYPE_CHECKING:
    from lmdp.cli.run_log import RunLog
    from lmdp.core.specification import Spec
    from lmdp.machine.services import MachineSettings, Receive
    from lmdp.machine.store import OpenStore
    from lmdp.support.reject_files import RejectPlace

_MOST_DAYS = 36_500
_MOST_WORKERS = 4  # by default: the process that commits is busy with what so many transform


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """What is consumed, and the broker to start where none is named."""

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
    """What becomes of the rows, and where they are kept."""

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
    keep: Annotated[str, option("--keep 30d", "How long rows are kept, in whole days; `forever` removes none.")] = "30d"
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
    bool, option("--until-idle", "Exit when everything that the topic held at the start has been read.")
]


def _contradictions(context: typer.Context) -> list[str]:
    """Return what is wrong with options that are right one by one."""
    given = context.params
    own = given["servers"] is None
    devices = _devices(given["servers"], given["simulate"], given["until_idle"] or given["receive"])
    faults = _broker_faults(context, own=own)
    faults += too_many(devices, given["instances"])
    if not devices:
        idle = [name for name in ("instances", "interval", "duration") if typed(context, name)]
        faults += [f"--{name} is for simulated devices, and there are none" for name in idle]
    if given["until_idle"] and devices and not typed(context, "duration"):
        faults.append("--until-idle is never reached while devices are simulated: give --duration S, or --simulate 0")
    if given["to"] == "snowflake":
        of_duckdb = [name for name in ("warehouse", "keep") if typed(context, name)]
        faults += [f"--{name} is for DuckDB, and --to is snowflake" for name in of_duckdb]
    if given["share"] and given["to"] != "snowflake":
        faults.append("--share is for --to snowflake: a DuckDB file has one run")
    if given["share"] and given["partitions"]:
        faults.append("--share and --partitions contradict each other: Kafka divides the partitions, or you do")
    faults += listen_faults(context)
    if not given["receive"]:
        names = [field.name for field in fields(ReceiverOptions)]
        idle = [name.replace("_", "-") for name in names if typed(context, name)]
        faults += [f"--{name} is for --receive, which is not given" for name in idle]
    _parsed(_partitions, given["partitions"], faults)
    _parsed(_days, given["keep"], faults)
    return faults


def _broker_faults(context: typer.Context, *, own: bool) -> list[str]:
    if own:
        given = [name for name in ("ca", "cert", "key", "plaintext") if typed(context, name)]
        faults = [
            f"--{name} needs --bootstrap-servers; the embedded Kafka has certificates of its own" for name in given
        ]
    else:
        given = [name for name in ("broker", "kafka_home") if typed(context, name)]
        faults = [
            f"--{name.replace('_', '-')} is for a broker that this command starts; one is named" for name in given
        ]
        if context.params["simulate"] and not typed(context, "topic"):
            faults.append(TOPIC_OF_SIMULATION)
    if context.params["broker"] == "memory" and typed(context, "kafka_home"):
        faults.append("--kafka-home is not used by --broker memory; give one or the other")
    return faults


def _devices(servers: str | None, simulate: int | None, others: bool) -> int:  # noqa: FBT001 - as the options have it
    """Return how many devices are simulated: 20 by default, on a broker that this command starts for no `others`."""
    return simulate if simulate is not None else (20 if servers is None and not others else 0)


@option_groups(_contradictions)
def run(  # noqa: PLR0913 - typer reads them
    *,
    kafka: KafkaOptions,
    consumer: ConsumerOptions,
    simulation: SimulationOptions,
    storage: StorageOptions,
    page: PageOptions,
    receiver: ReceiverOptions,
    until_idle: UntilIdle = False,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline on this machine: Kafka → rows and rejects → DuckDB, or Snowflake.

    Without options it starts its own Kafka with simulated devices, so that there are rows within a minute. With
    --bootstrap-servers it consumes your topic. Open its page, or query it: lmdp query, lmdp status. Ctrl-C ends it; the
    next run resumes from the last committed offset.

    Example: lmdp run --simulate 200 --interval 5 --duration 60 --json

    Example: lmdp run --receive

    Example: lmdp run --bootstrap-servers b-1.example.com:9094 --ca ca.pem --cert me.pem --key me.key --org-id acme

    Example: lmdp run --to snowflake --bootstrap-servers b-1.example.com:9094 --cert me.pem --key me.key --org-id acme
    """
    from lmdp.cli.run_log import RunLog  # noqa: PLC0415 - loads rich

    log = RunLog()
    settings = _settings(kafka, consumer, simulation, storage, page, until_idle, log)
    if consumer.receive:
        settings = replace(settings, receive=_receiver(kafka.topic, receiver))
    report = _run(settings, log)
    if as_json:
        print(json.dumps(report))
    else:
        log.summary(report)
    if report["gaps"] or any(report[name] for name in ("duplicates", "missing", "holes", "warning")):
        raise typer.Exit(1)


def _settings(
    kafka: KafkaOptions,
    consumer: ConsumerOptions,
    simulation: SimulationOptions,
    storage: StorageOptions,
    page: PageOptions,
    until_idle: bool,  # noqa: FBT001 - as the option has it
    log: "RunLog",
) -> "MachineSettings":
    """Return the run's settings. Raises SettingsError."""
    from lmdp.core.pipeline import TENANT_HEADER, TransformSettings  # noqa: PLC0415 - loads the core
    from lmdp.machine.services import MachineSettings, Simulated  # noqa: PLC0415 - loads DuckDB
    from lmdp.machine.settings import ConsumeSettings  # noqa: PLC0415 - as above
    from lmdp.page import process  # noqa: PLC0415 - as above
    from lmdp.replay.owner import serve  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    own = kafka.servers is None
    devices = _devices(kafka.servers, simulation.simulate, until_idle or consumer.receive)
    tenant = storage.org_id or ("demo" if own and (devices or consumer.receive) else None)
    if tenant != storage.org_id:
        log(f"the tenant of {'the simulated devices' if devices else 'requests without one'} is `demo`; --org-id or "
            "LMDP_ORG_ID sets another")  # fmt: skip
    # Who may write to this machine's own broker has the certificates of the home, and could change the rows, too.
    header = storage.tenant_header or (TENANT_HEADER if own and consumer.receive else None)
    has_page = page.page if page.page is not None else simulation.duration is None and not until_idle
    chosen = _partitions(consumer.partitions) if consumer.partitions is not None else None
    spec = configured_spec()
    rejects = _rejects(storage.rejects or (str(storage.home / "rejects") if storage.to == "snowflake" else None))
    store, keys = None, None
    if storage.to == "snowflake" and rejects:
        store, keys = _snowflake(spec, rejects.name, shared=consumer.share)
    return MachineSettings(
        home=storage.home,
        warehouse=warehouse_file(storage.warehouse, storage.home),
        transform=TransformSettings(org_id=tenant, tenant_header=header, spec=spec),
        consume=ConsumeSettings(
            *(kafka.topic, chosen),
            group=consumer.group,
            rejects=rejects,
            workers=_workers(consumer.workers),
            from_group=store is not None,
            shared=consumer.share,
            keys=keys,
        ),
        store=store,
        access=None if own else kafka.access(),
        memory=consumer.broker == "memory",
        kafka_home=consumer.kafka_home,
        simulated=Simulated(devices, simulation.instances, simulation.interval, simulation.duration)
        if devices
        else None,
        until_idle=until_idle,
        keep_days=_days(storage.keep),
        page=partial(process.page, port=page.page_port, shows_token=sys.stderr.isatty()) if has_page else None,
        replay=serve,
    )


def _receiver(topic: str, given: ReceiverOptions) -> "Receive":
    """Return what serves the receiver, once the broker is there. Raises SettingsError before."""
    from lmdp.machine.kafka.access import KafkaAccess  # noqa: PLC0415 - loads librdkafka
    from lmdp.receive.server import receiving  # noqa: PLC0415 - loads uvicorn

    settings = receiver_settings(KafkaAccess(""), topic, given)
    if faults := settings.faults():
        raise SettingsError.of(faults)
    return lambda access, notify, stop: receiving(replace(settings, access=access), notify, stop)


def _workers(given: int | None) -> int:
    return min(os.cpu_count() or 1, _MOST_WORKERS) if given is None else given


def _rejects(place: str | None) -> "RejectPlace | None":
    """Return the place of rejects outside of the warehouse. Raises SettingsError."""
    if not place:
        return None
    if place.startswith("s3://"):
        from lmdp.replay.bucket import reject_place  # noqa: PLC0415 - botocore is loaded when needed

        return reject_place(place, os.environ.get("AWS_REGION") or None)
    from lmdp.support.reject_files import reject_folder  # noqa: PLC0415 - loaded when needed

    return reject_folder(Path(place))


def _snowflake(spec: "Spec", rejects: str, *, shared: bool) -> tuple["OpenStore", "Spec"]:
    """Return what opens Snowflake as the store, and the specification with its keys. Raises SettingsError."""
    from lmdp.core.column_names import styled  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.settings import WriterSettings  # noqa: PLC0415 - as above
    from lmdp.snowflake.streaming.store import opening  # noqa: PLC0415 - as above
    from lmdp.sql.settings import SnowflakeSettings  # noqa: PLC0415 - as above

    settings = WriterSettings.from_env(os.environ, SnowflakeSettings.from_env(os.environ))
    return opening(settings, rejects, shared=shared), styled(spec, settings.identifiers)


def _run(settings: "MachineSettings", log: "RunLog") -> dict[str, Any]:
    from lmdp.machine import services  # noqa: PLC0415 - as above

    stop = threading.Event()
    with stopped_by_signals(stop), log.watching() as watch:
        return services.run(settings, log, watch, stop)


def _parsed(parse: Callable[[str], object], text: str | None, faults: list[str]) -> None:
    try:
        if text is not None:
            parse(text)
    except ValueError as error:
        faults.append(str(error))


def _partitions(text: str) -> tuple[int, ...]:
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"--partitions: {part.strip()!r} is neither a number nor a range such as 0-3")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(chosen))


def _days(text: str) -> int | None:
    if text == "forever":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})d?", text)
    if match is None or int(match[1]) > _MOST_DAYS:
        raise ValueError(f"--keep: {text!r} is neither 1d to {_MOST_DAYS}d, in whole days, nor `forever`")
    return int(match[1])
