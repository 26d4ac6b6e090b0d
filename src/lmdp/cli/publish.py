"""`lmdp publish`: OTLP bundles onto a topic, from files or from simulated Collectors."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from lmdp.cli.options import (
    DEFAULT_HOME,
    DEFAULT_TOPIC,
    BootstrapServers,
    Ca,
    Cert,
    Home,
    Json,
    Key,
    Plaintext,
    Topic,
    kafka_access,
    too_many,
    typed,
)
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.support.program import program
from lmdp.support.signals import stopped_by_signals

if TYPE_CHECKING:
    from lmdp.machine.kafka.producer import Published, Publisher
    from lmdp.machine.simulation.collectors import Simulation

Files = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="OTLP bundles: .jsonl and .ndjson (also .gz, .zst) and - (standard input) hold one a line, "
        "and so does any file whose first line is a request of several; any other file is one message.",
        show_default=False,
    ),
]
Simulate = Annotated[
    int | None,
    typer.Option(
        "--simulate", min=1, max=1_000_000, metavar="N", help="Instead of files: N simulated devices of several kinds."
    ),
]
Instances = Annotated[
    int, typer.Option("--instances", min=1, max=1_000_000, help="Instances a device; each is one message an interval.")
]
Interval = Annotated[
    float, typer.Option("--interval", min=0.1, metavar="S", help="Seconds between two polls of an instance.")
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", min=0.1, metavar="S", help="Publish for S seconds. Without it: until Ctrl-C."),
]
Seed = Annotated[int, typer.Option("--seed", help="The same seed polls the same values.")]
Burst = Annotated[
    bool, typer.Option("--burst", help="Send each round at once, as after an outage, not spread over the interval.")
]


def publish(  # noqa: PLR0913 - each is an option
    context: typer.Context,
    files: Files = None,
    *,
    simulate: Simulate = None,
    instances: Instances = 20,
    interval: Interval = 60.0,
    duration: Duration = None,
    seed: Seed = 1,
    burst: Burst = False,
    servers: BootstrapServers = None,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    plaintext: Plaintext = False,
    topic: Topic = DEFAULT_TOPIC,
    home: Home = DEFAULT_HOME,
    as_json: Json = False,
) -> None:
    """Publish OTLP bundles to a Kafka topic: files, or simulated Collectors.

    A simulation never goes to a given broker by default: name the topic with --topic then.

    Example: lmdp publish bundle.json more.jsonl.gz

    Example: lmdp publish --simulate 50 --interval 10 --duration 60 --bootstrap-servers kafka:9094 --topic lm.test
    """
    if found := _faults(context, files or [], simulate, given_broker=servers is not None):
        raise SettingsError.of(found)
    access = kafka_access(servers, ca, cert, key, plaintext=plaintext, home=home)

    from lmdp.machine.kafka.access import cluster_identity  # noqa: PLC0415 - librdkafka is loaded only when it is needed
    from lmdp.machine.kafka.producer import Publisher, publish_files  # noqa: PLC0415 - as above
    from lmdp.machine.kafka.producer import simulate as run_simulation  # noqa: PLC0415 - as above
    from lmdp.machine.simulation.collectors import Simulation  # noqa: PLC0415 - as above

    cluster_identity(access, topic)  # no message before the broker and the topic are known to be there
    publisher = Publisher(access, topic)
    simulation = Simulation(simulate, instances, seed) if simulate else None
    with _until_the_end(publisher, topic, reading=simulation is None):
        if simulation:
            run_simulation(publisher, simulation, interval_s=interval, duration_s=duration, burst=burst)
        else:
            publish_files(publisher, files or [])
    _report(publisher.finish(), simulation, topic, as_json=as_json)


def _faults(context: typer.Context, files: list[str], simulate: int | None, *, given_broker: bool) -> list[str]:
    faults = []
    if files and simulate:
        faults.append("Files and --simulate: publish the one or the other.")
    if not files and not simulate:
        faults.append("Nothing to publish: name files, - for standard input, or --simulate N.")
    if files.count("-") > 1:
        faults.append("- is named more than once: standard input can be read once.")
    if simulate and given_broker and not typed(context, "topic"):
        faults.append(
            "--simulate into a given broker needs its topic on the command line (--topic NAME), so that simulated "
            "devices never reach a real topic by default; LMDP_TOPIC does not count."
        )
    faults += too_many(simulate or 0, context.params.get("instances"))
    if not simulate:
        idle = [name for name in ("instances", "interval", "duration", "seed", "burst") if typed(context, name)]
        faults += [f"--{name} is for --simulate only." for name in idle]
    return faults


@contextlib.contextmanager
def _until_the_end(publisher: "Publisher", topic: str, *, reading: bool) -> Iterator[None]:
    """Publish inside: with progress, ended by Ctrl-C or SIGTERM; a fault also says what was published before it."""
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
    with Live(console=console, get_renderable=lambda: _told(publisher.so_far(), topic), transient=True):
        yield


def _told(published: "Published", topic: str) -> str:
    datapoints = "" if published.datapoints is None else f" with {published.datapoints:,} datapoints"
    return (
        f"{published.messages:,} messages{datapoints} ({published.bytes / 1e6:,.1f} MB) published to {topic} "
        f"in {published.seconds:.1f} s"
    )


def _report(published: "Published", simulation: "Simulation | None", topic: str, *, as_json: bool) -> None:
    """Print what was done; messages without an acknowledgement are an error."""
    if as_json:
        report = dataclasses.asdict(published)
        names = {"messages": "published", "datapoints": "publishedDatapoints"}
        events = {"events": dict(simulation.events)} if simulation else {}
        typer.echo(json.dumps({names.get(name, name): value for name, value in report.items()} | events))
    else:
        typer.echo(f"{_told(published, topic)}.")
    sys.stdout.flush()
    if published.failed:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in published.failures.items())
        raise (LmdpError if published.messages else UnreachableError)(
            f"{published.failed} messages to {topic} were not acknowledged ({reasons}). Publish those again; "
            f"look at the topic with '{program()} topic check'."
        )
