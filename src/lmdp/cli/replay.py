"""`lmdp replay`: rejected messages and failed records, replayed."""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from lmdp.cli.command import is_on_command_line, option_groups
from lmdp.cli.options import DEFAULT_HOME, Home, Json, KafkaOptions, OrgId, WarehouseFile, option, warehouse_file
from lmdp.core.column_names import KeyStyle
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.support.printable import printable
from lmdp.support.signals import stopped_by_signals

if TYPE_CHECKING:
    from lmdp.replay.replay import ReplayControl
    from lmdp.replay.retry import ReplaySettings, Report
    from lmdp.replay.sinks import Send
    from lmdp.replay.stores import Store

OWN = "warehouse"

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="The failures: `warehouse` (the rejects of --home), a .duckdb file, a folder, or s3://bucket/prefix "
        "with rejects, or with rows that Firehose could not deliver or Snowflake refused.",
    ),
]
To = Annotated[
    Literal["warehouse", "kafka", "firehose", "snowflake"],
    option(
        "--to",
        "The destination; `snowflake` is the direct writer's pipe. Failed rows cannot be sent to Kafka.",
    ),
]
DryRun = Annotated[
    bool, option("--dry-run", "Report how many would pass now, and why the others would not; change nothing.")
]


@dataclass(frozen=True, slots=True)
class _ReplayOptions:
    """The command's options, checked."""

    source: str
    to: str
    dry: bool
    org_id: str | None
    home: Path
    warehouse: Path
    style: KeyStyle
    region: str | None


@dataclass(frozen=True, slots=True)
class FirehoseOptions:
    """The stream of --to firehose."""

    panel: ClassVar[str] = "Firehose"
    stream: Annotated[
        str | None, option("--stream NAME", "The Firehose stream of --to firehose.", env="LMDP_DELIVERY_STREAM")
    ] = None
    region: Annotated[
        str | None,
        option("--region NAME", "The AWS Region. Without it: your profile's.", env="AWS_REGION", show_default=False),
    ] = None
    identifiers: Annotated[
        KeyStyle, option("--identifiers", "How the keys of rows are written.", env="SNOWFLAKE_IDENTIFIERS")
    ] = "quoted"


def _contradictions(context: typer.Context) -> list[str]:
    """Return what is wrong with options that are right one by one."""
    given = context.params
    source, to = str(given["source"] or ""), given["to"]
    faults = []
    if to != "kafka":
        idle = [name for name in ("servers", "ca", "cert", "key", "topic") if is_on_command_line(context, name)]
        faults += [f"--{'bootstrap-servers' if name == 'servers' else name} is for --to kafka" for name in idle]
    if to != "firehose":
        idle = [name for name in ("stream", "identifiers") if is_on_command_line(context, name)]
        faults += [f"--{name} is for --to firehose" for name in idle]
    elif not given["stream"]:
        faults.append("--to firehose needs the stream's name: --stream, or LMDP_DELIVERY_STREAM")
    if is_on_command_line(context, "warehouse") and source.endswith(".duckdb"):
        faults.append("the rejects of a .duckdb file are replayed into it: leave out --warehouse")
    elif is_on_command_line(context, "warehouse") and source != OWN and to != "warehouse":
        faults.append("--warehouse names the file that rows are written to; it is for --to warehouse")
    return faults


@option_groups(_contradictions)
def replay(  # noqa: PLR0913 - each is a group of options, or an option
    source: Source,
    *,
    to: To = "warehouse",
    dry_run: DryRun = False,
    org_id: OrgId = None,
    warehouse: WarehouseFile = None,
    kafka: KafkaOptions,
    firehose: FirehoseOptions,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Replay rejected messages and Firehose's failed records.

    Fix the cause first (set --org-id, for example), and check with --dry-run. What passes is moved to `replayed/` in
    its folder or bucket, or leaves REJECTS; what fails again stays, cut down to that. Nothing is written to the
    warehouse twice, even if this ends midway; what was sent elsewhere just before a crash may be sent again, and
    METRICS shows it once. Run it again to resume. Where 'lmdp run' has the warehouse open, the run writes the rows.

    Example: lmdp replay warehouse --org-id acme --dry-run

    Example: lmdp replay s3://errors/snowflake-failed/ --to firehose --stream metrics

    Example: lmdp replay .lmdp/rejects --to snowflake --org-id acme
    """
    from lmdp.replay.replay import ReplayControl  # noqa: PLC0415 - DuckDB is loaded when needed
    from lmdp.replay.retry import Report  # noqa: PLC0415 - as above

    own = source == OWN or source.endswith(".duckdb")
    file = Path(source) if source.endswith(".duckdb") else warehouse_file(warehouse, home)
    options = _ReplayOptions(
        source, to, dry_run, org_id or None, home, file, firehose.identifiers, firehose.region or None
    )
    started, stop, report = time.monotonic(), threading.Event(), Report()
    with contextlib.ExitStack() as parts:
        send = _sink(options, kafka, firehose, stop)
        parts.enter_context(stopped_by_signals(stop))
        progress = parts.enter_context(_progress("rejects" if own else "objects"))
        try:
            (_own if own else _objects)(options, send, ReplayControl(dry_run, progress, stop.is_set), report)
        except LmdpError as error:
            error.args = (f"{error} {_so_far(report)}",)
            raise
    done = {**report.to_json(dry=dry_run), "seconds": round(time.monotonic() - started, 3), "source": source, "to": to}
    _print(done, report, as_json=as_json)
    if stop.is_set():
        raise LmdpError(f"Stopped before completing. {_so_far(report)}")


def _sink(
    options: _ReplayOptions, kafka: KafkaOptions, firehose: FirehoseOptions, stop: threading.Event
) -> "Send | None":
    """Return the sink; None for the warehouse."""
    from lmdp.core.column_names import styled  # noqa: PLC0415 - loaded when needed
    from lmdp.replay.sinks import into_firehose, into_kafka, into_snowflake, profile_region  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    if options.to == "warehouse" or options.dry:
        return None if options.to == "warehouse" else _nowhere
    if options.to == "kafka":
        return into_kafka(kafka.access(options.home), kafka.topic)
    if options.to == "snowflake":
        return into_snowflake(os.environ, configured_spec(), stop)
    region = options.region or profile_region()
    if not region:
        raise SettingsError("No AWS Region is set: give --region (AWS_REGION), or set one in your profile.")
    return into_firehose(str(firehose.stream), region, os.environ, styled(configured_spec(), options.style))


def _own(options: _ReplayOptions, send: "Send | None", control: "ReplayControl", report: "Report") -> None:
    """Replay the rejects of a warehouse."""
    from lmdp.replay.marks import Rejects  # noqa: PLC0415 - DuckDB is loaded when needed
    from lmdp.replay.owner import warehouse_owner  # noqa: PLC0415 - as above
    from lmdp.replay.replay import elsewhere, replay_rejects  # noqa: PLC0415 - as above

    if not options.warehouse.exists():
        raise UnreachableError(f"there is no warehouse at {options.warehouse}; nothing was replayed.")
    settings = _replay_settings(options)
    with warehouse_owner(options.home, options.warehouse, settings) as (ask, step):
        there = step if send is None else partial(elsewhere, send, step, settings)
        replay_rejects(Rejects.of(ask), there, control, report)


def _objects(options: _ReplayOptions, send: "Send | None", control: "ReplayControl", report: "Report") -> None:
    """Replay the objects of a folder or a bucket: into the warehouse, to another sink, or (a dry run) to nowhere."""
    from lmdp.machine.data_dir import make_home  # noqa: PLC0415 - as above
    from lmdp.replay.owner import warehouse_owner  # noqa: PLC0415 - as above
    from lmdp.replay.replay import elsewhere, replay_objects  # noqa: PLC0415 - as above

    store = _store(options)
    settings = _replay_settings(options)
    if send is not None or (options.dry and not options.warehouse.exists()):
        replay_objects(store, partial(elsewhere, send or _nowhere, None, settings), control, report)
        return
    if options.warehouse.parent == options.home:
        make_home(options.home)
    else:
        with contextlib.suppress(OSError):  # what is wrong with the folder is shown when the file is opened
            options.warehouse.parent.mkdir(parents=True, exist_ok=True)
    with warehouse_owner(options.home, options.warehouse, settings) as (_, step):
        replay_objects(store, step, control, report)


def _store(options: _ReplayOptions) -> "Store":
    if options.source.startswith("s3://"):
        from lmdp.replay.bucket import open_bucket  # noqa: PLC0415 - botocore is loaded when needed

        return open_bucket(options.source, options.region)
    from lmdp.replay.stores import Folder  # noqa: PLC0415 - as above

    return Folder.open(Path(options.source))


def _replay_settings(options: _ReplayOptions) -> "ReplaySettings":
    from lmdp.core.column_names import key_overhead  # noqa: PLC0415 - as above
    from lmdp.replay.retry import ReplaySettings  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    spec = configured_spec()
    overhead = key_overhead(spec, options.style) if options.to == "firehose" else 0
    return ReplaySettings.of(options.org_id, spec, key_overhead=overhead, whole=options.to == "kafka", dry=options.dry)


def _nowhere(_outcome: object) -> int:
    return 0


@contextlib.contextmanager
def _progress(things: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, and nothing elsewhere: there the report at the end is enough."""
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
        "what is done is marked. Run the same command again: it resumes with the rest."
    )


def _print(summary: dict[str, object], report: "Report", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary))
        return
    counts = report.counts
    verb = "would make" if summary["dryRun"] else "made"
    print(
        f"{counts.messages:,} failures {verb} {counts.rows:,} rows ({counts.converted:,} datapoints) "
        f"for {summary['to']}; {counts.rejected_messages:,} {'would fail' if summary['dryRun'] else 'failed'} again."
    )
    for code, count in report.reasons.most_common():
        print(printable(f"  {count:,} {code}: {report.examples[code]}"))
    if report.repeats:
        print(f"  {report.repeats:,} were copies of what had been replayed")
    if report.unread:
        print(f"  {report.unread:,} parts of objects are not rejects; they stay where they are")
    for name, why in report.skipped.items():
        print(printable(f"{name}: skipped, {why}"), file=sys.stderr)
