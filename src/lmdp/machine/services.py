"""Start and stop of the parts of one machine: broker, simulated publisher, consumer, warehouse, API and page.

Parts start in the order of the path and end against it, so that what was published is still consumed, and what was
consumed is in the warehouse before it is closed.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from lmdp.core.pipeline import TransformSettings
from lmdp.errors import KafkaUnavailableError, UnreachableError
from lmdp.machine.api.routes import Ends, Replay
from lmdp.machine.api.server import serving
from lmdp.machine.data_dir import make_home, only_run
from lmdp.machine.embedded_kafka.broker import KafkaBroker, MemoryBroker, Restarter, embedded
from lmdp.machine.embedded_kafka.jars import KAFKA_VERSION, Jar, pinned
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.kafka.browse import newest
from lmdp.machine.kafka.consumer import KafkaSource
from lmdp.machine.kafka.positions import Drain
from lmdp.machine.kafka.producer import Publisher, simulate
from lmdp.machine.metrics import Progress
from lmdp.machine.pipeline import Pipeline
from lmdp.machine.settings import ConsumeSettings, Notify, StopEvents
from lmdp.machine.simulation.collectors import Simulation
from lmdp.machine.sink import Sink
from lmdp.machine.status import RunState, StartMessages
from lmdp.machine.store import OpenStore, Store, WarehouseStore
from lmdp.machine.transformer import transformer
from lmdp.machine.warehouse.warehouse import Warehouse

_WATCH_EVERY_S = 0.25
_FLUSH_S = 30.0  # for what is under way when the duration is over
_STOP_S = 2.0  # the same, when someone waits for the end
_MEMORY_MESSAGES = 600  # under way at most; librdkafka's test broker keeps about 1,200 small ones a partition


@dataclass(frozen=True, slots=True)
class Simulated:
    """Settings of the simulation: devices, instances of each, seconds between polls, seconds in all (None: no end)."""

    devices: int
    instances: int
    interval_s: float
    duration_s: float | None = None
    seed: int = 1


Receive = Callable[
    [KafkaAccess, Notify, threading.Event], contextlib.AbstractContextManager[Callable[[], dict[str, Any]]]
]
"""Serves a receiver in front of the topic until the event; what it yields returns the receiver's state."""

Page = Callable[[Path, Notify], contextlib.AbstractContextManager[Callable[[], str]]]
"""Serves the page of a home until the end of its block; what it yields returns the page's address."""


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """Settings of a run. `access` is None for a broker of its own: `memory`, or Kafka (from `kafka_home`, if given).

    `store` opens where the rows go; None: the file `warehouse`.
    """

    home: Path
    warehouse: Path
    transform: TransformSettings
    consume: ConsumeSettings
    access: KafkaAccess | None = None
    memory: bool = False
    kafka_home: Path | None = None
    simulated: Simulated | None = None
    until_idle: bool = False
    keep_days: int | None = 30
    page: Page | None = None
    replay: Replay | None = None
    store: OpenStore | None = None
    receive: Receive | None = None


def run(
    settings: MachineSettings, notify: Notify, watch: Callable[[RunState], None], stop: threading.Event
) -> dict[str, Any]:
    """Run until `stop`, or until the settings' own end, and return the report.

    `watch` is called every now and then from this thread. Raises LmdpError when a part fails.
    """
    make_home(settings.home)
    progress = Progress()
    with only_run(settings.home), (settings.store or partial(_file, settings))(progress, stop, notify) as store:
        store.count()
        with contextlib.ExitStack() as parts:
            machine = RunState(settings, store, progress=progress, ends=StopEvents(stop=stop))
            parts.enter_context(
                serving(
                    settings.home,
                    store.warehouse,
                    status=machine.status,
                    snapshot=machine.snapshot,
                    replay=settings.replay,
                    ends=Ends(partial(_messages, machine), store.name),
                )
            )
            access, cluster, broker = _broker(settings, notify, stop, parts)
            machine.broker, machine.access = broker, access
            if settings.receive is not None:
                if broker is None and settings.access is None:
                    notify("for evaluation only: the test broker's data is lost when this run ends")
                machine.receiver = parts.enter_context(settings.receive(access, notify, stop))
            if settings.page is not None:
                machine.page = parts.enter_context(settings.page(settings.home, notify))
            consumer = parts.enter_context(_running("consumer", lambda: _consume(machine, access, cluster, notify)))
            parts.callback(stop.set)  # also when what follows cannot be started
            removed = threading.Event()
            parts.enter_context(_running("maintenance", partial(store.maintain, stop, notify, removed)))
            parts.callback(store.end_maintenance)
            parts.callback(stop.set)
            _wait(machine, consumer, _publish(machine, access, parts), watch, notify)
            # Runs that end at once, one after the other, have to remove old days too.
            while not stop.is_set() and consumer.exception() is None and not removed.wait(0.1):
                pass
        store.check()
        return machine.report(time.monotonic() - machine.started)


@contextlib.contextmanager
def _file(settings: MachineSettings, *_: object) -> Iterator[Store]:
    """Open the warehouse's file as the store of a run."""
    spec, days = settings.transform.spec, settings.keep_days
    with Warehouse.open(settings.warehouse, spec, keep_days=days) as warehouse:
        yield WarehouseStore(warehouse, days)


def _broker(
    settings: MachineSettings, notify: Notify, stop: threading.Event, parts: contextlib.ExitStack
) -> tuple[KafkaAccess, str, KafkaBroker | None]:
    """Return the broker, the name of its cluster where it has none of its own, and the Kafka that was started."""
    topic = settings.consume.topic
    if settings.access is not None:
        notify(f"Kafka at {settings.access.bootstrap_servers}, topic {topic}")
        return settings.access, "", None
    if not settings.memory:
        try:
            given = embedded(settings.home, kafka_home=settings.kafka_home, progress=_downloading(notify, stop))
        except KafkaUnavailableError as error:
            notify(f"Apache Kafka could not be started ({error}): using the in-process test broker instead")
        else:
            notify("starting Apache Kafka (mutual TLS, loopback only)")
            broker = parts.enter_context(KafkaBroker(given, stop))
            broker.create_topic(topic)
            notify(f"Kafka at {broker.bootstrap_servers}, topic {topic}")
            return broker.access, "", broker
    memory = parts.enter_context(MemoryBroker())
    memory.create_topic(topic)
    return memory.access, f"memory-{uuid.uuid4()}", None


def _downloading(notify: Notify, stop: threading.Event) -> Callable[[Jar], None]:
    """Report once that jars are coming; raise UnreachableError after the jar during which the run was ended."""

    @cache
    def report() -> None:
        notify(f"downloading Apache Kafka {KAFKA_VERSION}, {sum(jar.size for jar in pinned()) / 1e6:.0f} MB, once")

    def arrived(_: Jar) -> None:
        report()
        if stop.is_set():
            raise UnreachableError("The run ended before Kafka had started. The next start downloads what is missing.")

    return arrived


def _consume(machine: RunState, access: KafkaAccess, cluster: str, notify: Notify) -> None:
    settings = machine.settings
    if settings.until_idle and settings.simulated is None:
        machine.ends.drain.set()
    wanted = replace(settings.consume, cluster=cluster, patient=machine.broker is not None)
    consume(access, machine.store.sink, settings.transform, wanted, machine.progress, machine.ends, notify)


def consume(
    access: KafkaAccess,
    sink: Sink,
    settings: TransformSettings,
    consume: ConsumeSettings,
    progress: Progress,
    events: StopEvents,
    notify: Notify,
) -> None:
    """Consume from Kafka into `sink` until one of `events`; `notify` shows what an operator must know.

    Raises LmdpError at the start, when the broker, the topic or a partition is not there; later faults are waited out.
    """
    drain = Drain(events.drain, notify)

    def connect() -> KafkaSource:
        return KafkaSource(access, sink, consume, progress, events, notify, drain)

    with contextlib.closing(transformer(settings, consume.workers, events.stop, notify, consume.row_spec)) as transform:
        Pipeline(connect, transform, sink, consume, progress, events.stop, notify).run()


def _messages(machine: RunState, partition: int, before: int | None, most: int) -> dict[str, Any]:
    """Read messages of the topic for someone who looks."""
    access, wanted = machine.access, machine.settings.consume
    if access is None:
        raise UnreachableError("the broker is starting; try again in a moment")
    return newest(access, wanted.topic, wanted.group, machine.settings.transform, partition, before, most)


def _publish(machine: RunState, access: KafkaAccess, parts: contextlib.ExitStack) -> Future[None] | None:
    settings, simulated = machine.settings, machine.settings.simulated
    if simulated is None:
        return None
    publisher = Publisher(access, settings.consume.topic, has_space=_has_space(machine, access), stop=threading.Event())
    machine.publisher = publisher
    simulation = Simulation(simulated.devices, simulated.instances, simulated.seed, story=True)

    def work() -> None:
        simulate(publisher, simulation, interval_s=simulated.interval_s, duration_s=simulated.duration_s)
        publisher.finish(_STOP_S if publisher.stop.is_set() else _FLUSH_S)

    worker = parts.enter_context(_running("publisher", work))
    parts.callback(publisher.stop.set)
    return worker


def _has_space(machine: RunState, access: KafkaAccess) -> Callable[[], bool] | None:
    """Return whether a broker in memory has space: it forgets what it has none for, so its publisher waits."""
    if access.is_tls() or machine.settings.access is not None:
        return None

    def has_space() -> bool:
        published = machine.publisher.so_far().messages if machine.publisher else 0
        return published - machine.progress.counts.messages < _MEMORY_MESSAGES

    return has_space


def _wait(
    machine: RunState,
    consumer: Future[None],
    publisher: Future[None] | None,
    watch: Callable[[RunState], None],
    notify: Notify,
) -> None:
    """Wait for the end, looking after the broker and the retention meanwhile."""
    messages = StartMessages(notify)
    restarter = Restarter(machine.broker, machine.settings.home / "broker", notify)
    stop = machine.ends.stop
    while not consumer.done() and not stop.is_set():
        if publisher is not None and publisher.done():
            machine.ends.drain.set()
        machine.store.check()
        restarter.check()
        messages.look(machine)
        watch(machine)
        stop.wait(_WATCH_EVERY_S)


@contextlib.contextmanager
def _running(name: str, work: Callable[[], None]) -> Iterator[Future[None]]:
    """Run `work` in a thread alongside the block, wait for its end with the block's, and raise what it raised."""
    with ThreadPoolExecutor(1, name) as pool:
        worker = pool.submit(work)
        yield worker
    worker.result()
