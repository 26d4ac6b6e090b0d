"""Shared parts of the scenarios of load: bundles that can be counted, a run that is watched, and its books."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query
from running import NOW_NS, rows

_POINT = (
    '{"name":"CpuUsage","gauge":{"dataPoints":[{"timeUnixNano":"%d","asDouble":%d,"attributes":['
    '{"key":"dataSourceInstanceName","value":{"stringValue":"i-%d"}},'
    '{"key":"wildAlias","value":{"stringValue":"alias of %d"}},'
    '{"key":"datapointid","value":{"stringValue":"197642"}}]}]}}'
)
_BUNDLE = (
    '{"resourceMetrics":[{"resource":{"attributes":[%s{"key":"hostId","value":{"stringValue":"7"}},'
    '{"key":"hostName","value":{"stringValue":"web-1.example"}},{"key":"location","value":{"stringValue":"site-3"}}]},'
    '"scopeMetrics":[{"scope":{"name":"Cpu"},"metrics":[%s]}]}]}'
)
_TENANT = '{"key":"orgId","value":{"stringValue":"acme"}},'


def bundle_of(numbers: range, *, days_ago: int = 0, tenant: bool = True) -> bytes:
    """One message of a gauge datapoint for each number, which is its value and in its instance."""
    at = NOW_NS - days_ago * 86_400 * 10**9
    points = ",".join(_POINT % (at + n * 1_000_000, n, n, n) for n in numbers)
    return (_BUNDLE % (_TENANT if tenant else "", points)).encode()


def bundles(count: int, each: int, first: int = 0, **more: Any) -> Iterator[bytes]:
    """`count` datapoints from the number `first` on, `each` of them a message."""
    for start in range(first, first + count, each):
        yield bundle_of(range(start, min(start + each, first + count)), **more)


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at a moment: monotonic seconds, bytes of memory, threads, rows so far, messages that it is behind."""

    at: float
    memory: int
    threads: int
    rows: int
    lag: int


@dataclass(slots=True)
class Watched:
    """A run as it was seen five times a second."""

    process: psutil.Process
    home: Path
    seen: list[Seen] = field(default_factory=list)

    def look(self) -> None:
        """Look once; one that does not answer now is seen the next time."""
        with contextlib.suppress(LmdpError, RunNotFoundError, psutil.Error):
            live = client.snapshot(self.home)["live"]
            memory, threads = self.process.memory_info().rss, self.process.num_threads()
            self.seen.append(Seen(time.monotonic(), memory, threads, live["rows"], sum(live["lag"].values())))

    def peak(self, first: int, last: int) -> int:
        """The most memory while it had between so many rows and so many."""
        return max((one.memory for one in self.seen if first <= one.rows < last), default=0)

    def usual(self, since: int) -> tuple[int, int]:
        """The memory that it usually had in the first fifth of the time since it had so many rows, and in the last.

        Usually: half of that time. A checkpoint takes more for a moment.
        """
        memory = [one.memory for one in self.seen if one.rows >= since] or [0]
        fifth = len(memory) // 5 + 1
        return int(statistics.median(memory[:fifth])), int(statistics.median(memory[-fifth:]))

    def rows(self) -> int:
        """Return how many rows it had made when it was last seen."""
        return self.seen[-1].rows if self.seen else 0

    def rate(self) -> float:
        """Rows a second, from when the first were there to when the last were."""
        begun = next(one for one in self.seen if one.rows)
        done = next(one for one in self.seen if one.rows == self.seen[-1].rows)
        return (done.rows - begun.rows) / max(done.at - begun.at, 0.1)


@contextlib.contextmanager
def watched(process: int, home: Path) -> Iterator[Watched]:
    """Watch a run beside the block."""
    watch = Watched(psutil.Process(process), home)
    with beside(watch.look, 0.2):
        yield watch


@contextlib.contextmanager
def beside(work: Callable[[], None], every_s: float = 0.0) -> Iterator[None]:
    """Do something over and over in a thread beside the block."""
    stop = threading.Event()

    def go() -> None:
        while not stop.is_set():
            work()
            stop.wait(every_s)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Books:
    """The contents of a warehouse: rows, repeated rows, the sum of their numbers, and its ledger."""

    rows: int
    repeats: int
    total: int
    loads: int
    rejects: int

    @classmethod
    def of(cls, home: Path) -> Books:
        """Look them up."""
        (found,) = rows(
            home,
            "select count(*) as n,"
            " count(*) - (select count(*) from (select value from row_events group by value)) as r,"
            " coalesce(sum(value), 0)::bigint as t, (select coalesce(sum(ROWS), 0)::bigint from loads)"
            " - (select coalesce(sum(ROWS), 0)::bigint from removals) as l, (select count(*) from rejects) as b"
            " from row_events",
        )
        return cls(found["n"], found["r"], found["t"], found["l"], found["b"])

    def adds_up(self, count: int) -> bool:
        """Return whether these are the numbers from 0 to `count`, and LOADS has the same."""
        return (self.rows, self.total, self.loads) == (count, count * (count - 1) // 2, count)


def ask(home: Path, asked: list[float]) -> None:
    """Ask the run a question and its status, and note the seconds that both took; a run that ends is not asked."""
    begun = time.monotonic()
    with contextlib.suppress(LmdpError, RunNotFoundError):
        client.query_run(home, Query("select count(*), max(value), max(ts) from row_events"))
        client.status(home)
        asked.append(time.monotonic() - begun)
