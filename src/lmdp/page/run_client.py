"""Client of the run: its status once a second, kept for the small charts, and queries of its warehouse."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lmdp.errors import ApiError, LmdpError, RunNotFoundError, SettingsError, UnreachableError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import MAX_ROWS, Query
from lmdp.machine.warehouse.reader import Answer
from lmdp.support.program import program

EVERY_S = 1.0
KEPT_S = 900
_WINDOW_S = 60  # of latencies
_CONCURRENT_QUERIES = 3  # the run accepts one more, for `lmdp query`

_T = TypeVar("_T")
Json = dict[str, Any]


@dataclass(slots=True)
class RunClient:
    """The run of `home`, as last seen. `live` and `status` are None before the first answer and while none runs."""

    home: Path
    live: Json | None = None
    status: Json | None = None
    error: ApiError | None = None
    samples: deque[Json] = field(default_factory=lambda: deque(maxlen=round(KEPT_S / EVERY_S)))
    _latencies: deque[tuple[float, Counter[float]]] = field(default_factory=deque)
    _polls: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "poll"))
    _queries: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_CONCURRENT_QUERIES, "query"))

    async def poll(self) -> None:
        """Read the status and the live figures every second, without end."""
        while True:
            begun = time.monotonic()
            try:
                found = await self._in(self._polls, lambda: client.snapshot(self.home))
                self.live, self.status, self.error = found["live"], found["status"], None
                self._note(self.live)
            except ApiError as error:
                self.live, self.status, self.error = None, None, error
                self._latencies.clear()
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - begun)))

    async def query(self, query: Query) -> Answer:
        """Return the answer to one SELECT. Raises ApiError."""
        return await self._in(self._queries, lambda: client.query_run(self.home, query))

    async def rows(self, sql: str) -> list[Json]:
        """Return the rows of one of the page's own queries. Raises ApiError."""
        answer = await self.query(Query(sql, MAX_ROWS))
        rows: list[Json] = answer.table.to_pylist()
        return rows

    def latency(self) -> Json:
        """Return the median and 99th percentile in ms over the last minute's messages; None without a message."""
        if len(self._latencies) < 2:
            return {"p50": None, "p99": None}
        grown = self._latencies[-1][1] - self._latencies[0][1]
        return {"p50": _quantile(grown, 0.5), "p99": _quantile(grown, 0.99)}

    def _note(self, live: Json) -> None:
        now = time.monotonic()
        seen = Counter(dict(live["latenciesMs"]))
        if self._latencies and seen.total() < self._latencies[-1][1].total():
            self._latencies.clear()  # another run
        self._latencies.append((now, seen))
        while now - self._latencies[0][0] > _WINDOW_S:
            self._latencies.popleft()
        self.samples.append(
            {
                "atMs": round(time.time() * 1000),
                "rowsPerSecond": live["rowsPerSecond"],
                "messagesPerSecond": live["messagesPerSecond"],
                "lag": sum(live["lag"].values()),
                "freshnessSeconds": self.status["freshnessSeconds"] if self.status else None,
                "latencyMs": self.latency(),
                "memoryBytes": live["memoryBytes"],
            }
        )

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except RunNotFoundError as error:
            raise ApiError(
                503,
                f"no pipeline runs under {self.home}; its data is safe, and the page reconnects when it runs again",
                f"{program()} run",
            ) from error
        except LmdpError as error:
            raise _to_api_error(error) from error


def _to_api_error(error: LmdpError) -> ApiError:
    if isinstance(error, SettingsError):
        return ApiError(400, str(error), f'{program()} query "select * from metrics limit 10"')  # noqa: S608 - to paste
    if isinstance(error, UnreachableError):
        return ApiError(503, str(error), f"{program()} status")
    return ApiError(422, str(error), f"{program()} query --help")


def _quantile(counted: Counter[float], q: float) -> float | None:
    wanted, seen = q * counted.total(), 0
    for milliseconds, messages in sorted(counted.items()):
        seen += messages
        if messages and seen >= wanted:
            return round(milliseconds, 1)
    return None
