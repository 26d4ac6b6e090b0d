"""Start and stop of the parts of one machine: broker, simulated publisher, consumer, warehouse, API and page.

Parts start in the order of the path and end against it, so that what was published is still consumed, and what was
consumed is in the warehouse before it is closed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from lmdp.core.pipeline import TransformSettings
from lmdp.errors import KafkaUnavailableError
from lmdp.machine.api.server import Replay, serving
from lmdp.machine.data_dir import make_home, only_run
from lmdp.machine.embedded_kafka.broker import KafkaBroker, MemoryBroker, Restarter, embedded
from lmdp.machine.embedded_kafka.jars import KAFKA_VERSION, Jar, pinned
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.machine.kafka.consumer import consume
from lmdp.machine.kafka.producer import Published, Publisher, simulate
from lmdp.machine.metrics import Progress
from lmdp.machine.settings import ConsumeSettings, Notify, StopEvents
from lmdp.machine.simulation.collectors import Simulation
from lmdp.machine.warehouse.connection import Limits
from lmdp.machine.warehouse.maintenance import maintain
from lmdp.machine.warehouse.totals import Totals, warehouse_status
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.program import program
from lmdp.support.reject_share import replay_command, warning

# More memory makes no query faster, and the consumer needs it (measured on 2.3 million rows).
_QUERY_LIMITS = Limits(memory="128MB")
_WATCH_EVERY_S = 0.25
_QUERY = "'select count(*) from metrics'"
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


Page = Callable[[Path, Notify], contextlib.AbstractContextManager[Callable[[], str]]]
"""Serves the page of a home until the end of its block; what it yields returns the page's address."""


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """Settings of a run. `access` is None for a broker of its own: `memory`, or Kafka (from `kafka_home`, if given)."""

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


@dataclass(slots=True)
class Machine:
    """A running pipeline, for those who look at it. It has no `access` while its broker starts."""

    settings: MachineSettings
    warehouse: Warehouse
    access: KafkaAccess | None = None
    broker: KafkaBroker | None = None
    progress: Progress = field(default_factory=Progress)
    publisher: Publisher | None = None
    page: Callable[[], str] = str
    ends: StopEvents = field(default_factory=StopEvents)
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)  # Unix seconds

    def status(self) -> dict[str, Any]:
        """Return what `lmdp status` shows, from memory alone."""
        return self._at_once()[0]

    def snapshot(self) -> dict[str, Any]:
        """Return the status, and what changes from second to second; of one moment, so that their numbers agree."""
        status, live = self._at_once()
        return {"status": status, "live": live}

    def _at_once(self) -> tuple[dict[str, Any], dict[str, Any]]:
        with self.warehouse.tally.moment() as now:
            running, live, totals = self._running(now), self.live(), now.copy()
        return {"running": running, **warehouse_status(self.warehouse, totals, running["uptimeSeconds"])}, live

    def _running(self, totals: Totals) -> dict[str, Any]:
        seconds, last = time.monotonic() - self.started, self.progress.last_trouble
        return {
            "pid": os.getpid(),
            "broker": self.access.bootstrap_servers if self.access else None,
            "topic": self.settings.consume.topic,
            "page": self.page() or None,
            "simulating": self.publisher is not None,
            "uptimeSeconds": round(seconds, 1),
            "rowsPerSecond": round(self.progress.rows_per_second(), 1),
            "messagesPerSecond": round(self.progress.messages_per_second(), 1),
            "lag": sum(self.progress.lag.values()),
            "gaps": self.progress.gaps,
            "trouble": self.progress.trouble,
            "warning": self.warning() or None,
            "lastTrouble": {"atMs": last[0], "text": last[1]} if last else None,
            "report": self.report(seconds, totals),
        }

    def live(self) -> dict[str, Any]:
        """Return what changes from second to second; asks the warehouse nothing."""
        published = self.publisher.so_far() if self.publisher else None
        simulated = self.settings.simulated
        return {
            "pid": os.getpid(),
            "startedAtMs": int(self.started_at * 1000),
            "uptimeSeconds": round(time.monotonic() - self.started, 1),
            "broker": self.access.bootstrap_servers if self.access else None,
            "topic": self.settings.consume.topic,
            "simulatedDevices": simulated.devices if simulated else None,
            "published": published.messages if published else None,
            "publishedDatapoints": published.datapoints if published else None,
            "memoryBytes": psutil.Process().memory_info().rss,
            **self.progress.live(),
            "warning": self.warning(),
        }

    def warning(self, *, lately: bool = True) -> str:
        """Return the share of rejects as a fault, of the run or of the last minute, with what to do; "" without one."""
        progress, settings = self.progress, self.settings
        tally = progress.tally if progress.tally.is_fault() or not lately else progress.lately()
        again = replay_command("--org-id NAME", settings.home, settings.warehouse)
        look = replay_command("--dry-run", settings.home, settings.warehouse)
        return warning(
            tally,
            progress.first_reject,
            no_tenant=f"Stop, set --org-id NAME (LMDP_ORG_ID), then `{again}`",
            otherwise=f"They are kept; fix the cause, then look at what a replay would do: `{look}`",
        )

    def report(self, seconds: float, totals: Totals | None = None) -> dict[str, Any]:
        """Return what this run did until now, with the `totals` of the file; they are counted where none are given."""
        totals = totals or self.warehouse.tally.count()
        published = self.publisher.so_far() if self.publisher else None
        return {
            **(_published(published) if published else {}),
            **self.progress.report(seconds),
            "firstReject": self.progress.first_reject or None,
            "warning": self.warning(lately=False) or None,
            "gaps": self.progress.gaps,
            "duplicates": totals.duplicates,
            "missing": totals.missing,
            "holes": totals.holes,
            "clock": self.warehouse.tally.clock(),
            "warehouse": str(self.settings.warehouse),
        }


def _published(published: Published) -> dict[str, Any]:
    """Return what the broker acknowledged; of what it did not, nobody knows whether it has it."""
    return {
        "published": published.messages,
        "publishedDatapoints": published.datapoints,
        "unacknowledged": published.failed,
    }


def run(
    settings: MachineSettings, notify: Notify, watch: Callable[[Machine], None], stop: threading.Event
) -> dict[str, Any]:
    """Run until `stop`, or until the settings' own end, and return the report.

    `watch` is called every now and then from this thread. Raises LmdpError when a part fails.
    """
    make_home(settings.home)
    with (
        only_run(settings.home),
        Warehouse.open(
            settings.warehouse, settings.transform.spec, limits=_QUERY_LIMITS, keep_days=settings.keep_days
        ) as warehouse,
    ):
        warehouse.tally.count()
        with contextlib.ExitStack() as parts:
            machine = Machine(settings, warehouse, ends=StopEvents(stop=stop))
            parts.enter_context(serving(settings.home, warehouse, machine.status, machine.snapshot, settings.replay))
            access, cluster, broker = _broker(settings, notify, parts)
            machine.broker, machine.access = broker, access
            if settings.page is not None:
                machine.page = parts.enter_context(settings.page(settings.home, notify))
            consumer = parts.enter_context(
                _Worker.running("consumer", lambda: _consume(machine, access, cluster, notify))
            )
            removed = threading.Event()
            work = partial(maintain, warehouse, settings.keep_days, stop, notify, removed)
            parts.enter_context(_Worker.running("maintenance", work))
            parts.callback(warehouse.end_removal)
            parts.callback(stop.set)
            _wait(machine, consumer, _publish(machine, access, parts), watch, notify)
            # Runs that end at once, one after the other, have to remove old days too.
            while not stop.is_set() and not removed.wait(0.1):
                pass
        warehouse.check_file()
        return machine.report(time.monotonic() - machine.started)


def _broker(
    settings: MachineSettings, notify: Notify, parts: contextlib.ExitStack
) -> tuple[KafkaAccess, str, KafkaBroker | None]:
    """Return the broker, the name of its cluster where it has none of its own, and the Kafka that was started."""
    topic = settings.consume.topic
    if settings.access is not None:
        notify(f"Kafka at {settings.access.bootstrap_servers}, topic {topic}")
        return settings.access, "", None
    if not settings.memory:
        try:
            given = embedded(settings.home, kafka_home=settings.kafka_home, progress=_downloading(notify))
        except KafkaUnavailableError as error:
            notify(f"No Kafka here ({error}): taking the test broker in this process, as --broker memory does")
        else:
            notify("starting Apache Kafka (mutual TLS, loopback only)")
            broker = parts.enter_context(KafkaBroker(given))
            broker.create_topic(topic)
            notify(f"Kafka at {broker.bootstrap_servers}, topic {topic}")
            return broker.access, "", broker
    memory = parts.enter_context(MemoryBroker())
    memory.create_topic(topic)
    return memory.access, f"memory-{uuid.uuid4()}", None


def _downloading(notify: Notify) -> Callable[[Jar], None]:
    """Report once that jars are coming."""
    said: list[str] = []

    def progress(_jar: Jar) -> None:
        if not said:
            said.append(
                f"downloading Apache Kafka {KAFKA_VERSION}, {sum(jar.size for jar in pinned()) / 1e6:.0f} MB, once"
            )
            notify(said[0])

    return progress


def _consume(machine: Machine, access: KafkaAccess, cluster: str, notify: Notify) -> None:
    settings = machine.settings
    if settings.until_idle and settings.simulated is None:
        machine.ends.drain.set()
    wanted = replace(settings.consume, cluster=cluster, patient=machine.broker is not None)
    consume(access, machine.warehouse, settings.transform, wanted, machine.progress, machine.ends, notify)


def _publish(machine: Machine, access: KafkaAccess, parts: contextlib.ExitStack) -> _Worker | None:
    settings, simulated = machine.settings, machine.settings.simulated
    if simulated is None:
        return None
    publisher = Publisher(access, settings.consume.topic, has_space=_has_space(machine, access), stop=threading.Event())
    machine.publisher = publisher
    simulation = Simulation(simulated.devices, simulated.instances, simulated.seed)

    def work() -> None:
        simulate(publisher, simulation, interval_s=simulated.interval_s, duration_s=simulated.duration_s)
        publisher.finish(_STOP_S if publisher.stop.is_set() else _FLUSH_S)

    worker = parts.enter_context(_Worker.running("publisher", work))
    parts.callback(publisher.stop.set)
    return worker


def _has_space(machine: Machine, access: KafkaAccess) -> Callable[[], bool] | None:
    """Return whether a broker in memory has space: it forgets what it has none for, so its publisher waits."""
    if access.is_tls() or machine.settings.access is not None:
        return None

    def has_space() -> bool:
        published = machine.publisher.so_far().messages if machine.publisher else 0
        return published - machine.progress.counts.messages < _MEMORY_MESSAGES

    return has_space


def _wait(
    machine: Machine, consumer: _Worker, publisher: _Worker | None, watch: Callable[[Machine], None], notify: Notify
) -> None:
    """Wait for the end, looking after the broker and the retention meanwhile."""
    news = _News(notify)
    restarter = Restarter(machine.broker, machine.settings.home / "broker", notify)
    stop = machine.ends.stop
    while consumer.alive() and not stop.is_set():
        if publisher is not None and not publisher.alive():
            machine.ends.drain.set()
        machine.warehouse.check_file()
        restarter.check()
        news.look(machine)
        watch(machine)
        stop.wait(_WATCH_EVERY_S)


class _News:
    """Reports what the start leads to, once each, and not before it is so."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._is_reading = self._has_rows = self._has_warned = False

    def look(self, machine: Machine) -> None:
        """Report what is new."""
        topic, lag = machine.settings.consume.topic, machine.progress.lag
        if lag and not self._is_reading:
            self._is_reading = True
            count = f"{len(lag)} partition{'' if len(lag) == 1 else 's'}"
            self._notify(f"reading {topic}: {count}, {sum(lag.values()):,} messages are waiting")
            if machine.settings.access is None and machine.publisher is None and not machine.settings.until_idle:
                self._notify(f"no devices are simulated; publish messages yourself: {program()} publish FILE")
        if machine.progress.counts.rows and not self._has_rows:
            self._has_rows = True
            self._notify(f"rows are arriving; query them from another terminal: {program()} query {_QUERY}")
        warning = machine.warning()
        if warning and not self._has_warned:
            self._notify(warning)
        self._has_warned = bool(warning)


class _Worker:
    """A part in a thread; what it raised is raised where it is awaited."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._go, name=name)

    @classmethod
    @contextlib.contextmanager
    def running(cls, name: str, work: Callable[[], None]) -> Iterator[_Worker]:
        """Run `work` alongside the block, and wait for its end with the block's."""
        worker = cls(name, work)
        worker._thread.start()
        try:
            yield worker
        finally:
            worker._thread.join()
        if worker._error is not None:
            raise worker._error

    def alive(self) -> bool:
        """Return whether it is still at work."""
        return self._thread.is_alive()

    def _go(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self._error = error
