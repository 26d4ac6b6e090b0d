"""Status of a run for those who look at it: what `lmdp status`, the page and the report show, and news for its log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import psutil

from lmdp.machine.metrics import Progress
from lmdp.machine.settings import Notify, StopEvents
from lmdp.support.printable import counted
from lmdp.support.program import at_home, program
from lmdp.support.reject_share import replay_command, warning

if TYPE_CHECKING:
    from lmdp.machine.embedded_kafka.broker import KafkaBroker
    from lmdp.machine.kafka.access import KafkaAccess
    from lmdp.machine.kafka.producer import Published, Publisher
    from lmdp.machine.services import MachineSettings
    from lmdp.machine.store import Store
    from lmdp.machine.warehouse.totals import Totals

_QUERY: Final = "'select count(*) from metrics'"


@dataclass(slots=True)
class RunState:
    """A running pipeline, for those who look at it. It has no `access` while its broker starts."""

    settings: MachineSettings
    store: Store
    access: KafkaAccess | None = None
    broker: KafkaBroker | None = None
    progress: Progress = field(default_factory=Progress)
    publisher: Publisher | None = None
    page: Callable[[], str] = str
    receiver: Callable[[], dict[str, Any]] | None = None
    ends: StopEvents = field(default_factory=StopEvents)
    started: float = field(default_factory=time.monotonic)
    started_at: float = field(default_factory=time.time)  # Unix seconds

    def status(self) -> dict[str, Any]:
        """Return what `lmdp status` shows, from memory alone."""
        status: dict[str, Any] = self.snapshot()["status"]
        return status

    def snapshot(self) -> dict[str, Any]:
        """Return the status, and what changes from second to second; of one moment, so that their numbers agree."""
        with self.store.moment() as now:
            live, totals = self.live(), now.copy()
            running = self._running(live, totals)
        return {"status": {"running": running, **self.store.status(totals, running["uptimeSeconds"])}, "live": live}

    def _running(self, live: dict[str, Any], totals: Totals) -> dict[str, Any]:
        same = ("pid", "broker", "topic", "uptimeSeconds", "rowsPerSecond", "messagesPerSecond", "trouble")
        last, receiver = self.progress.last_trouble, live["receiver"]
        return {
            **{name: live[name] for name in same},
            "receiver": receiver and {name: value for name, value in receiver.items() if name != "metrics"},
            "page": self.page() or None,
            "simulating": self.publisher is not None,
            "lag": sum(live["lag"].values()),
            "gaps": live["lost"],
            "warning": live["warning"] or None,
            "lastTrouble": {"atMs": last[0], "text": last[1]} if last else None,
            "report": self.report(time.monotonic() - self.started, totals),
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
            "receiver": self.receiver() if self.receiver else None,
        }

    def warning(self, *, lately: bool = True) -> str:
        """Return the share of rejects as a fault, of the run or of the last minute, with what to do; "" without one."""
        progress, settings = self.progress, self.settings
        tally = progress.tally if progress.tally.is_fault() or not lately else progress.lately()
        place = (settings.home, settings.warehouse, self.store.rejects)
        again, look = (replay_command(options, *place) for options in ("--org-id NAME", "--dry-run"))
        return warning(
            tally,
            progress.first_reject,
            no_tenant=f"Stop, set --org-id NAME (LMDP_ORG_ID), then `{again}`",
            otherwise=f"They are kept; fix the cause, then look at what a replay would do: `{look}`",
        )

    def report(self, seconds: float, totals: Totals | None = None) -> dict[str, Any]:
        """Return what this run did until now, with the `totals` of the store; they are counted where none are given."""
        totals = totals or self.store.count()
        published = self.publisher.so_far() if self.publisher else None
        return {
            **(_published(published) if published else {}),
            **self.progress.report(seconds),
            "firstReject": self.progress.first_reject or None,
            "warning": self.warning(lately=False) or None,
            "gaps": self.progress.gaps,
            **self.store.figures(totals),
        }


def _published(published: Published) -> dict[str, Any]:
    """Return what the broker acknowledged; of what it did not, nobody knows whether it has it."""
    return {
        "published": published.messages,
        "publishedDatapoints": published.datapoints,
        "unacknowledged": published.failed,
    }


class StartMessages:
    """Reports what the start leads to, once each, and not before it is so."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._is_reading = self._has_rows = self._has_warned = False

    def look(self, machine: RunState) -> None:
        """Report what is new."""
        topic, lag = machine.settings.consume.topic, machine.progress.lag
        if lag and not self._is_reading:
            self._is_reading = True
            self._notify(
                f"reading {topic}: {counted(len(lag), 'partition')}, {sum(lag.values()):,} messages are waiting"
            )
            starts_alone = machine.settings.access is None and machine.publisher is None
            if starts_alone and machine.receiver is None and not machine.settings.until_idle:
                publish = f"{program()} publish{at_home(machine.settings.home)}"
                self._notify(f"no devices are simulated; publish messages yourself: {publish} FILE")
        if machine.progress.counts.rows and not self._has_rows:
            self._has_rows = True
            self._notify(_arriving(machine))
        warning = machine.warning()
        if warning and not self._has_warned:
            self._notify(warning)
        self._has_warned = bool(warning)


def _arriving(machine: RunState) -> str:
    store, settings = machine.store, machine.settings
    if store.warehouse is None:
        state = f"{program()} status{at_home(settings.home)}"
        return f"rows are arriving in {store.name}; its state from another terminal: {state}"
    query = f"{program()} query{at_home(settings.home, settings.warehouse)} {_QUERY}"
    return f"rows are arriving; query them from another terminal: {query}"
