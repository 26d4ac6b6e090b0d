"""`lmdp publish`: OTLP bundles onto a topic, from files or from simulated Collectors."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer
from rich.console import Console
from rich.live import Live

from lmdp.cli.command import is_on_command_line, option_groups
from lmdp.cli.options import DEFAULT_HOME, TOPIC_OF_SIMULATION, Home, Json, KafkaOptions, option, too_many
from lmdp.errors import LmdpError, UnreachableError
from lmdp.support.program import program
from lmdp.support.signals import stopped_by_signals

if TYPE_CHECKING:
    from lmdp.machine.kafka.access import KafkaAccess
    from lmdp.machine.kafka.producer import Published, Publisher
    from lmdp.machine.simulation.collectors import Simulation

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="OTLP bundles: .jsonl and .ndjson (also .gz, .zst) and - (standard input) hold one a line, "
        "as does any file whose first line is a complete request followed by more lines; any other file is one "
        "message.",
        show_default=False,
    ),
]


@dataclasses.dataclass(frozen=True, slots=True)
class CollectorOptions:
    """The simulated Collectors."""

    panel: ClassVar[str] = "Simulation"
    simulate: Annotated[
        int | None,
        option("--simulate N", "Instead of files: N simulated devices of several kinds.", min=1, max=1_000_000),
    ] = None
    instances: Annotated[
        int, option("--instances", "Instances per device; each is one message an interval.", min=1, max=1_000_000)
    ] = 20
    interval: Annotated[float, option("--interval S", "Seconds between two polls of an instance.", min=0.1)] = 60.0
    duration: Annotated[
        float | None, option("--duration S", "Publish for S seconds. Without it: until Ctrl-C.", min=0.1)
    ] = None
    seed: Annotated[int, option("--seed", "The same seed gives the same values.")] = 1
    burst: Annotated[
        bool, option("--burst", "Send each round at once, as after an outage, not spread over the interval.")
    ] = False


def _contradictions(context: typer.Context) -> list[str]:
    """Return what is wrong with arguments that are right one by one."""
    given = context.params
    files, simulate = given["files"] or [], given["simulate"]
    faults = []
    if files and simulate:
        faults.append("files and --simulate: publish one or the other")
    if not files and not simulate:
        faults.append("nothing to publish: name files, - for standard input, or --simulate N")
    if files.count("-") > 1:
        faults.append("- is named more than once: standard input can be read once")
    if simulate and given["servers"] is not None and not is_on_command_line(context, "topic"):
        faults.append(TOPIC_OF_SIMULATION)
    faults += too_many(simulate or 0, given["instances"])
    if not simulate:
        idle = [
            name for name in ("instances", "interval", "duration", "seed", "burst") if is_on_command_line(context, name)
        ]
        faults += [f"--{name} is for --simulate only" for name in idle]
    return faults


@option_groups(_contradictions)
def publish(
    files: Files = None,
    *,
    kafka: KafkaOptions,
    simulation: CollectorOptions,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Publish OTLP bundles to a Kafka topic: files, or simulated Collectors.

    For a simulation into a broker that you name, also name the topic with --topic.

    Example: lmdp publish bundle.json more.jsonl.gz

    Example: lmdp publish --simulate 50 --interval 10 --duration 60 --bootstrap-servers kafka:9094 --topic lm.test
    """
    access, topic = kafka.access(home), kafka.topic

    from lmdp.machine.kafka.access import cluster_identity  # noqa: PLC0415 - loads librdkafka
    from lmdp.machine.kafka.producer import Publisher, publish_files, simulate  # noqa: PLC0415 - as above
    from lmdp.machine.simulation.collectors import Simulation  # noqa: PLC0415 - as above

    cluster_identity(access, topic)  # no message before the broker and the topic are known to be there
    publisher = Publisher(access, topic)
    wanted = simulation
    made = Simulation(wanted.simulate, wanted.instances, wanted.seed) if wanted.simulate else None
    with _published(publisher, topic, reading=made is None):
        if made:
            simulate(publisher, made, interval_s=wanted.interval, duration_s=wanted.duration, burst=wanted.burst)
        else:
            publish_files(publisher, files or [])
    _report(publisher.finish(), made, access, topic, as_json=as_json)


@contextlib.contextmanager
def _published(publisher: "Publisher", topic: str, *, reading: bool) -> Iterator[None]:
    """Publish inside: with progress, ended by Ctrl-C or SIGTERM; an error also reports what was published before it."""
    try:
        with stopped_by_signals(publisher.stop, interrupt=reading), _progress(publisher, topic):
            yield
        if reading:
            _refuse_half(publisher)
    except LmdpError as error:
        published = publisher.finish()
        raise type(error)(f"{error} Before that, {published.messages} messages were published to {topic}.") from error


def _refuse_half(publisher: "Publisher") -> None:
    if publisher.stop.is_set():
        raise LmdpError("Stopped before the end of the files.")


@contextlib.contextmanager
def _progress(publisher: "Publisher", topic: str) -> Iterator[None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with Live(console=console, get_renderable=lambda: _summary(publisher.so_far(), topic), transient=True):
        yield


def _summary(published: "Published", topic: str) -> str:
    datapoints = "" if published.datapoints is None else f" with {published.datapoints:,} datapoints"
    return (
        f"{published.messages:,} messages{datapoints} ({published.bytes / 1e6:,.1f} MB) published to {topic} "
        f"in {published.seconds:.1f} s"
    )


def _report(
    published: "Published", simulation: "Simulation | None", access: "KafkaAccess", topic: str, *, as_json: bool
) -> None:
    """Print what was done; messages without an acknowledgement are an error."""
    if as_json:
        report = dataclasses.asdict(published)
        names = {"messages": "published", "datapoints": "publishedDatapoints"}
        events = {"events": dict(simulation.events)} if simulation else {}
        typer.echo(json.dumps({names.get(name, name): value for name, value in report.items()} | events))
    else:
        typer.echo(f"{_summary(published, topic)}.")
    sys.stdout.flush()
    if published.failed:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in published.failures.items())
        raise (LmdpError if published.messages else UnreachableError)(
            f"{published.failed} messages to {topic} were not acknowledged ({reasons}). Publish those again; "
            f"look at the topic with '{program()} topic check --topic {topic}{access.options()}'."
        )
