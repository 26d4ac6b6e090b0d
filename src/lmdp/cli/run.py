"""`lmdp run`: the whole pipeline on this machine."""

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from lmdp.cli.live import EVERY_S, SHARE, view
from lmdp.cli.options import (
    DEFAULT_HOME,
    DEFAULT_TOPIC,
    BootstrapServers,
    Ca,
    Cert,
    Home,
    Json,
    Key,
    OrgId,
    Plaintext,
    Topic,
    WarehouseFile,
    kafka_access,
    too_many,
    typed,
    warehouse_file,
)
from lmdp.doctor.settings_file import unread
from lmdp.errors import LmdpError, SettingsError
from lmdp.support.printable import printable
from lmdp.support.program import program
from lmdp.support.signals import stopped_by_signals

if TYPE_CHECKING:
    from lmdp.machine.services import Machine, MachineSettings, Simulated

_PLAIN_EVERY_S = 10.0
_MOST_DAYS = 36_500
_T = TypeVar("_T")

Broker = Annotated[
    Literal["kafka", "memory"],
    typer.Option(
        "--broker",
        help="The broker to start when none is named: a real Apache Kafka, or librdkafka's test broker in this process "
        "(no Java, plaintext, forgets everything at the end).",
    ),
]
KafkaHome = Annotated[
    Path | None,
    typer.Option("--kafka-home", metavar="DIR", help="An unpacked Kafka distribution to take, instead of downloading."),
]
Simulate = Annotated[
    int | None,
    typer.Option(
        "--simulate",
        min=0,
        max=1_000_000,
        metavar="N",
        help="Simulate N devices (0: none). By itself 20, and only on a broker that this command starts; into any "
        "other one only with this option and --topic.",
    ),
]
Instances = Annotated[
    int, typer.Option("--instances", min=1, max=1_000_000, help="Instances a device; each is one message a poll.")
]
Interval = Annotated[float, typer.Option("--interval", min=0.1, metavar="S", help="Seconds between two polls.")]
Duration = Annotated[
    float | None,
    typer.Option("--duration", min=0.1, metavar="S", help="Simulate for S seconds, consume what is there, and end."),
]
UntilIdle = Annotated[
    bool, typer.Option("--until-idle", help="End when all that the topic held at the start has been read.")
]
Partitions = Annotated[
    str | None,
    typer.Option("--partitions", metavar="0,1,4-7", help="Only these partitions, to split a topic over machines."),
]
Group = Annotated[
    str,
    typer.Option(
        "--group",
        envvar="LMDP_KAFKA_GROUP",
        metavar="NAME",
        help="The consumer group that gets the offsets, for lag monitors alone: a name for each warehouse on a topic.",
    ),
]
Rejects = Annotated[
    Path | None,
    typer.Option(
        "--rejects",
        metavar="DIR",
        help="Write rejects to files below DIR as well, in the form that the cloud has them. The warehouse has them "
        "anyway: replay the one or the other.",
        show_default=False,
    ),
]
Page = Annotated[
    bool | None,
    typer.Option(
        "--page/--no-page",
        envvar="LMDP_PAGE",
        help="A page at http://127.0.0.1:8088 for this user alone: the path, charts, SQL, /metrics. By itself on, and "
        "off for a run that ends by itself (--duration, --until-idle).",
        show_default=False,
    ),
]
PagePort = Annotated[
    int | None,
    typer.Option(
        "--page-port",
        min=1,
        max=65_535,
        envvar="LMDP_PAGE_PORT",
        metavar="PORT",
        help="The page's port; the next free one when it is taken.",
        show_default="8088",
    ),
]
Keep = Annotated[
    str, typer.Option("--keep", metavar="30d", help="How long rows stay, in whole days; `forever` removes none.")
]


def run(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    *,
    servers: BootstrapServers = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    plaintext: Plaintext = False,
    topic: Topic = DEFAULT_TOPIC,
    partitions: Partitions = None,
    group: Group = "lmdp",
    broker: Broker = "kafka",
    kafka_home: KafkaHome = None,
    simulate: Simulate = None,
    instances: Instances = 20,
    interval: Interval = 10.0,
    duration: Duration = None,
    until_idle: UntilIdle = False,
    org_id: OrgId = None,
    warehouse: WarehouseFile = None,
    keep: Keep = "30d",
    rejects: Rejects = None,
    page: Page = None,
    page_port: PagePort = None,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline on this machine: Kafka → rows and rejects → DuckDB.

    Without options it starts a Kafka of its own with simulated devices, so that rows are there in a minute. With
    --bootstrap-servers it consumes your topic. Look at its page, or ask it: lmdp query, lmdp status. Ctrl-C ends it;
    the next start goes on where this one was.

    Example: lmdp run --simulate 200 --interval 5 --duration 60 --json

    Example: lmdp run --bootstrap-servers b-1.example.com:9094 --ca ca.pem --cert me.pem --key me.key --org-id acme
    """
    from lmdp.core.pipeline import TransformSettings  # noqa: PLC0415 - as above
    from lmdp.machine.services import MachineSettings  # noqa: PLC0415 - as above
    from lmdp.machine.settings import ConsumeSettings  # noqa: PLC0415 - librdkafka and DuckDB are loaded when needed
    from lmdp.page import process  # noqa: PLC0415 - as above
    from lmdp.replay.owner import commit  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    own = servers is None
    devices = simulate if simulate is not None else (20 if own and not until_idle else 0)
    faults = _faults(context, own=own, simulate=simulate, devices=devices, until_idle=until_idle)
    chosen = _parsed(_partitions, partitions, faults)
    days = _parsed(_days, keep, faults)
    if faults:
        raise SettingsError.of(faults)
    has_page = page if page is not None else duration is None and not until_idle
    say = _Say()
    for name in unread(os.environ):
        say(f"nothing reads the setting {name}")
    access = None if own else kafka_access(servers, ca, cert, key, plaintext=plaintext)
    tenant = org_id or ("demo" if own and devices else None)
    if tenant != org_id:
        say("the simulated devices' tenant is `demo`; --org-id or LMDP_ORG_ID sets another")
    settings = MachineSettings(
        home=home,
        warehouse=warehouse_file(warehouse, home),
        transform=TransformSettings(org_id=tenant, spec=configured_spec()),
        consume=ConsumeSettings(topic, chosen, group=group, rejects=rejects),
        access=access,
        memory=broker == "memory",
        kafka_home=kafka_home,
        simulated=_simulated(devices, instances, interval, duration),
        until_idle=until_idle,
        keep_days=days,
        page=partial(process.page, port=page_port) if has_page else None,
        replay=commit,
    )
    report = _run(settings, say)
    if as_json:
        print(json.dumps(report))
    else:
        say.summary(report)
    if report["gaps"] or any(report[name] for name in ("duplicates", "missing", "holes", "warning")):
        raise typer.Exit(1)


def _run(settings: "MachineSettings", say: "_Say") -> dict[str, Any]:
    from lmdp.machine import services  # noqa: PLC0415 - as above

    stop = threading.Event()
    with stopped_by_signals(stop), say.watching() as watch:
        return services.run(settings, say, watch, stop)


def _simulated(devices: int, instances: int, interval: float, duration: float | None) -> "Simulated | None":
    from lmdp.machine.services import Simulated  # noqa: PLC0415 - as above

    return Simulated(devices, instances, interval, duration) if devices else None


def _faults(context: typer.Context, *, own: bool, simulate: int | None, devices: int, until_idle: bool) -> list[str]:
    faults = []
    if not own:
        given = [name for name in ("broker", "kafka_home") if typed(context, name)]
        faults += [
            f"--{name.replace('_', '-')} is for a broker that this command starts; one is named" for name in given
        ]
        if simulate and not typed(context, "topic"):
            faults.append(
                "--simulate into a given broker needs its topic on the command line (--topic NAME), so that simulated "
                "devices never reach a real topic by default; LMDP_TOPIC does not count"
            )
    if own:
        given = [name for name in ("ca", "cert", "key", "plaintext") if typed(context, name)]
        faults += [
            f"--{name} needs --bootstrap-servers; the embedded Kafka has certificates of its own" for name in given
        ]
    if context.params.get("broker") == "memory" and typed(context, "kafka_home"):
        faults.append("--kafka-home is not used by --broker memory; give the one or the other")
    faults += too_many(devices, context.params.get("instances"))
    if not devices:
        idle = [name for name in ("instances", "interval", "duration") if typed(context, name)]
        faults += [f"--{name} is for simulated devices, and there are none" for name in idle]
    if until_idle and devices and not typed(context, "duration"):
        faults.append("--until-idle never comes while devices are simulated: give --duration S, or --simulate 0")
    return faults


def _parsed(parse: Callable[[str], _T], text: str | None, faults: list[str]) -> _T | None:
    try:
        return parse(text) if text is not None else None
    except ValueError as error:
        faults.append(str(error))
        return None


def _partitions(text: str) -> tuple[int, ...]:
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"--partitions: {part.strip()!r} is no number and no range such as 0-3")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(chosen))


def _days(text: str) -> int | None:
    if text == "forever":
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})d?", text)
    if match is None or int(match[1]) > _MOST_DAYS:
        raise ValueError(f"--keep: {text!r} is not 1d to {_MOST_DAYS}d, in whole days, and not `forever`")
    return int(match[1])


class _Say:
    """Tells a person on stderr what happens: a line that moves on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def __call__(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full or closed standard error loses lines, never rows
            self._console.print(f"{time.strftime('%H:%M:%S')} {printable(text)}", markup=False)

    def watching(self) -> "_Watching":
        """A watcher for as long as the pipeline runs."""
        return _Watching(self._console, self)

    def summary(self, report: dict[str, Any]) -> None:
        """Say at the end what was done, and what to ask next."""
        first = f"; the first reject: {report['firstReject']}" if report["firstReject"] else ""
        self(
            f"ended: {report['messages']:,} messages, {report['rows']:,} rows, {report['rejectedMessages']:,} rejects, "
            f"{report['duplicates']:,} duplicates in {report['warehouse']}{first}"
        )
        if report["missing"] or report["holes"]:
            self(
                f"WRONG: {report['missing']:,} rows are missing, {report['holes']:,} messages were skipped; look: "
                f"{program()} doctor --only local"
            )
        clock: dict[str, int] = report["clock"]
        if clock["ahead"] or clock["expired"]:
            self(
                f"CLOCK: {clock['ahead']:,} rows came dated more than a day ahead, {clock['expired']:,} older than "
                "--keep keeps: a sender's clock is wrong, or old data was sent"
            )
        if report["warning"]:
            self(str(report["warning"]))
        if report["gaps"]:
            self(f"LOST: {report['gaps']:,} messages had passed the topic's retention; the table GAPS has which")


class _Watching:
    def __init__(self, console: Console, say: _Say) -> None:
        self._say = say
        self._live = Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        self._next = 0.0

    def __enter__(self) -> Callable[["Machine"], None]:
        if self._live:
            with contextlib.suppress(OSError):  # a terminal that is gone loses lines, never rows
                self._live.start()
        return self._watch

    def __exit__(self, *_: object) -> None:
        if self._live:
            with contextlib.suppress(OSError):  # as above
                self._live.stop()

    def _watch(self, machine: "Machine") -> None:
        begun = time.monotonic()
        if begun < self._next:
            return
        if self._live:
            with contextlib.suppress(OSError):  # as above
                self._live.update(_drawn(machine), refresh=True)
            self._next = begun + max(EVERY_S, SHARE * (time.monotonic() - begun))
        else:
            self._next = begun + _PLAIN_EVERY_S
            self._say(_line(machine))


def _drawn(machine: "Machine") -> Text:
    try:
        return view(machine.status())
    except LmdpError as error:  # the warehouse cannot be asked just now; the counts are known without it
        return view(None, f"{_line(machine)}; {error}")


def _line(machine: "Machine") -> str:
    progress = machine.progress
    counts = progress.counts
    published = f"{machine.publisher.so_far().messages:,} published → " if machine.publisher else ""
    rejects = f", {counts.rejected_messages:,} rejects" if counts.rejected_messages else ""
    lag = f", lag {sum(progress.lag.values()):,}" if progress.lag else ""
    return (
        f"{published}{counts.messages:,} consumed → {counts.rows:,} rows{rejects}"
        f" ({progress.rows_per_second():,.0f} rows/s{lag})"
    )
