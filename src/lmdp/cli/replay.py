"""`lmdp replay`: what failed, through the path again."""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

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
    typed,
    warehouse_file,
)
from lmdp.core.column_names import KeyStyle, key_overhead, styled
from lmdp.core.pipeline import TransformSettings
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.data_dir import make_home
from lmdp.support.printable import printable
from lmdp.support.signals import stopped_by_signals
from lmdp.support.specification_file import configured_spec

if TYPE_CHECKING:
    from lmdp.machine.kafka.access import KafkaAccess
    from lmdp.replay.log import WarehouseOwner as Keeper
    from lmdp.replay.replay import OnProgress as Tell
    from lmdp.replay.replay import Run, Sink
    from lmdp.replay.report import Report
    from lmdp.replay.retry import ReplaySettings as Way
    from lmdp.replay.sinks import Send
    from lmdp.replay.sources import Store

OWN = "warehouse"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Where the failures are: `warehouse` (the rejects of --home), a .duckdb file, a folder, or "
        "s3://bucket/prefix: our rejects, or the records that Firehose could not deliver.",
    ),
]
To = Annotated[
    Literal["warehouse", "kafka", "firehose"],
    typer.Option("--to", help="Where they go. Rows (Firehose's failed records) cannot go to Kafka."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say how many would pass now, and why the others would not; change nothing.")
]
Stream = Annotated[
    str | None,
    typer.Option(
        "--stream", envvar="LMDP_DELIVERY_STREAM", metavar="NAME", help="The Firehose stream of --to firehose."
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region", envvar="AWS_REGION", metavar="NAME", help="The AWS Region. Without it: your profile's.",
        show_default=False,
    ),
]  # fmt: skip
Identifiers = Annotated[
    KeyStyle,
    typer.Option("--identifiers", envvar="SNOWFLAKE_IDENTIFIERS", help="How the keys of rows to Firehose are written."),
]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The command's options, checked."""

    source: str
    to: str
    dry: bool
    org_id: str | None
    home: Path
    warehouse: Path
    style: KeyStyle
    region: str | None


def replay(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    source: Source,
    *,
    to: To = "warehouse",
    dry_run: DryRun = False,
    org_id: OrgId = None,
    warehouse: WarehouseFile = None,
    stream: Stream = None,
    region: Region = None,
    identifiers: Identifiers = "quoted",
    servers: BootstrapServers = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    plaintext: Plaintext = False,
    topic: Topic = DEFAULT_TOPIC,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Put back what failed: rejects, and Firehose's failed records, through the path again.

    Mend the cause first (set --org-id, say), and look with --dry-run. What passes is moved to `replayed/` in its folder
    or bucket, or leaves REJECTS; what fails again stays, cut down to that. Nothing is sent twice: into the warehouse,
    not even when this ends in the middle; to Kafka or Firehose, what was sent just before a crash may be, and METRICS
    shows it once. Run it again to go on. Where 'lmdp run' has the warehouse, it writes what this makes.

    Example: lmdp replay warehouse --org-id acme --dry-run

    Example: lmdp replay s3://errors/snowflake-failed/ --to firehose --stream metrics
    """
    if faults := _faults(context, source, to, stream):
        raise SettingsError.of(faults)
    own = source == OWN or source.endswith(".duckdb")
    file = Path(source) if source.endswith(".duckdb") else warehouse_file(warehouse, home)
    wanted = _Wanted(source, to, dry_run, org_id or None, home, file, identifiers, region or None)
    started, stop = time.monotonic(), threading.Event()
    report = _report()
    with contextlib.ExitStack() as parts:
        send = None
        if not dry_run and to == "kafka":
            send = _kafka(kafka_access(servers, ca, cert, key, plaintext=plaintext, home=home), topic)
        elif not dry_run and to == "firehose":
            send = _firehose(str(stream), wanted)
        parts.enter_context(stopped_by_signals(stop))
        tell = parts.enter_context(_progress("rejects" if own else "objects"))
        from lmdp.replay.report import placed  # noqa: PLC0415 - as above

        try:
            (_own if own else _objects)(wanted, send, _run(wanted, tell, stop), report)
        except LmdpError as error:
            raise placed(error, f"{error} {_so_far(report)}") from error
    told = {**report.to_json(dry=dry_run), "seconds": round(time.monotonic() - started, 3), "source": source, "to": to}
    _print(told, report, as_json=as_json)
    if stop.is_set():
        raise LmdpError(f"Stopped before the end. {_so_far(report)}")


def _faults(context: typer.Context, source: str, to: str, stream: str | None) -> list[str]:
    faults = []
    if to != "kafka":
        given = [name for name in ("servers", "ca", "cert", "key", "topic") if typed(context, name)]
        faults += [f"--{'bootstrap-servers' if name == 'servers' else name} is for --to kafka" for name in given]
    if to != "firehose":
        given = [name for name in ("stream", "identifiers") if typed(context, name)]
        faults += [f"--{name} is for --to firehose" for name in given]
    elif not stream:
        faults.append("--to firehose needs the stream's name: --stream, or LMDP_DELIVERY_STREAM")
    if typed(context, "warehouse") and source.endswith(".duckdb"):
        faults.append("the rejects of a .duckdb file go back into it: leave out --warehouse")
    elif typed(context, "warehouse") and source != OWN and to != "warehouse":
        faults.append("--warehouse names the file that rows go into; it is for --to warehouse")
    return faults


def _own(wanted: _Wanted, send: "Send | None", run: "Run", report: "Report") -> None:
    """Replay the rejects of a warehouse."""
    from lmdp.replay.owner import warehouse_owner as keeping  # noqa: PLC0415 - DuckDB is loaded when needed
    from lmdp.replay.replay import replay_rejects  # noqa: PLC0415 - as above

    if not wanted.warehouse.exists():
        raise UnreachableError(f"there is no warehouse at {wanted.warehouse}; nothing was replayed.")
    with keeping(wanted.home, wanted.warehouse, dry=wanted.dry) as keeper:
        replay_rejects(keeper, send, run, report)


def _objects(wanted: _Wanted, send: "Send | None", run: "Run", report: "Report") -> None:
    """Replay the objects of a folder or a bucket."""
    from lmdp.replay.replay import Sink, replay_objects  # noqa: PLC0415 - DuckDB is loaded when needed

    store = _store(wanted)
    if send is not None:
        deliver = send
        replay_objects(store, Sink(lambda outcome, _mark: deliver(outcome)), run, report)
        return
    with _keeper(wanted) as keeper:
        replay_objects(store, _sink(keeper, store.where), run, report)


def _store(wanted: _Wanted) -> "Store":
    if wanted.source.startswith("s3://"):
        from lmdp.replay.bucket import open_bucket  # noqa: PLC0415 - botocore is loaded when needed

        return open_bucket(wanted.source, wanted.region)
    from lmdp.replay.folder import Folder  # noqa: PLC0415 - as above

    return Folder.open(Path(wanted.source))


@contextlib.contextmanager
def _keeper(wanted: _Wanted) -> Iterator["Keeper | None"]:
    """Who has the warehouse that objects go into; for a dry run, None where there is none yet."""
    from lmdp.replay.owner import warehouse_owner as keeping  # noqa: PLC0415 - as above

    if wanted.dry and (wanted.to != "warehouse" or not wanted.warehouse.exists()):
        yield None
        return
    if wanted.warehouse.parent == wanted.home:
        make_home(wanted.home)
    else:
        with contextlib.suppress(OSError):  # what is wrong with the folder is shown when the file is opened
            wanted.warehouse.parent.mkdir(parents=True, exist_ok=True)
    with keeping(wanted.home, wanted.warehouse, dry=wanted.dry) as keeper:
        yield keeper


def _sink(keeper: "Keeper | None", source: str) -> "Sink":
    from lmdp.replay.replay import Sink, into_warehouse  # noqa: PLC0415 - as above

    return Sink(lambda _outcome, _mark: 0) if keeper is None else into_warehouse(keeper, source)


def _run(wanted: _Wanted, tell: "Tell", stop: threading.Event) -> "Run":
    from lmdp.replay.replay import Run  # noqa: PLC0415 - as above

    return Run(_way(wanted), wanted.dry, tell, stop.is_set)


def _way(wanted: _Wanted) -> "Way":
    from lmdp.replay.retry import ReplaySettings as Way  # noqa: PLC0415 - as above
    from lmdp.replay.rows import row_reader  # noqa: PLC0415 - as above

    spec = configured_spec()
    limit = TransformSettings().max_row_bytes
    if wanted.to == "firehose":
        limit -= key_overhead(spec, wanted.style)
    settings = TransformSettings(org_id=wanted.org_id, max_row_bytes=limit, spec=spec)
    return Way(settings, row_reader(spec, limit), whole=wanted.to == "kafka")


def _kafka(access: "KafkaAccess", topic: str) -> "Send":
    from lmdp.replay.sinks import into_kafka  # noqa: PLC0415 - librdkafka is loaded when needed

    return into_kafka(access, topic)


def _firehose(stream: str, wanted: _Wanted) -> "Send":
    from lmdp.replay.sinks import into_firehose, profile_region  # noqa: PLC0415 - botocore is loaded when needed

    region = wanted.region or profile_region()
    if not region:
        raise SettingsError("No AWS Region is set: give --region (AWS_REGION), or set one in your profile.")
    return into_firehose(stream, region, os.environ, styled(configured_spec(), wanted.style))


def _report() -> "Report":
    from lmdp.replay.report import Report  # noqa: PLC0415 - as above

    return Report()


@contextlib.contextmanager
def _progress(things: str) -> Iterator["Tell"]:
    """A bar on a terminal; nothing elsewhere, where the report at the end is enough."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (f"replaying {things}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _so_far(report: "Report") -> str:
    return (
        f"Until then {report.counts.messages:,} failures were tried, and {report.counts.rows:,} rows made; "
        "what is done is marked. Run the same command again: it goes on with the rest."
    )


def _print(told: dict[str, object], report: "Report", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(told))
        return
    counts = report.counts
    verb = "would make" if told["dryRun"] else "made"
    print(
        f"{counts.messages:,} failures {verb} {counts.rows:,} rows ({counts.converted:,} datapoints) "
        f"for {told['to']}; {counts.rejected_messages:,} {'would fail' if told['dryRun'] else 'failed'} again."
    )
    for code, count in report.reasons.most_common():
        print(printable(f"  {count:,} {code}: {report.examples[code]}"))
    if report.repeats:
        print(f"  {report.repeats:,} were copies of what had been replayed")
    if report.unread:
        print(f"  {report.unread:,} pieces of objects are no rejects; they stay where they are")
    for name, why in report.skipped.items():
        print(printable(f"{name}: left alone, {why}"), file=sys.stderr)
