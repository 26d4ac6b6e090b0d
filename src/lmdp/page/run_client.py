"""What the run says of itself, asked again and again, and kept for the small charts; and questions to its warehouse."""

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
from lmdp.machine.api.server import Question
from lmdp.machine.warehouse.warehouse import Answer
from lmdp.support.program import program

EVERY_S = 1.0
KEPT_S = 900
_WINDOW_S = 60  # over which latencies are told
_QUESTIONS = 3  # at once; the run takes a few more, and `lmdp query` wants one too

_T = TypeVar("_T")
Json = dict[str, Any]


@dataclass(slots=True)
class Pipe:
    """The run of `home`, as last seen. `live` and `status` are None before the first answer and while it is away."""

    home: Path
    live: Json | None = None
    status: Json | None = None
    fault: ApiError | None = None
    samples: deque[Json] = field(default_factory=lambda: deque(maxlen=round(KEPT_S / EVERY_S)))
    _latencies: deque[tuple[float, Counter[float]]] = field(default_factory=deque)
    _looking: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "look"))
    _asking: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_QUESTIONS, "ask"))

    async def watch(self) -> None:
        """Look at the run every second, on and on."""
        while True:
            begun = time.monotonic()
            try:
                found = await self._in(self._looking, lambda: client.snapshot(self.home))
                self.live, self.status, self.fault = found["live"], found["status"], None
                self._note(self.live)
            except ApiError as fault:
                self.live, self.status, self.fault = None, None, fault
                self._latencies.clear()
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - begun)))

    async def ask(self, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0) -> Answer:
        """Answer one SELECT. Raises ApiError."""
        question = Question(sql, limit_rows, timeout_s)
        return await self._in(self._asking, lambda: client.ask_run(self.home, question))

    async def rows(self, sql: str, *, limit_rows: int = 1_000_000) -> list[Json]:
        """Answer one of the page's own questions, row by row. Raises ApiError."""
        answer = await self.ask(sql, limit_rows=limit_rows)
        rows: list[Json] = answer.table.to_pylist()
        return rows

    def latency(self) -> Json:
        """The times in ms that half and 99 % of the last minute's messages did not exceed; None without a message."""
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
                f"no pipeline runs under {self.home}; what it wrote is safe, and the page goes on when it is back",
                f"{program()} run",
            ) from error
        except LmdpError as error:
            raise _fault(error) from error


def _fault(error: LmdpError) -> ApiError:
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
