"""Client of the run: its status once a second, kept for the small charts, and queries of its warehouse."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import httpx
import msgspec

from lmdp.errors import ApiError, LmdpError, RunNotFoundError
from lmdp.machine.api.client import Connections
from lmdp.machine.api.http import api_error
from lmdp.machine.api.protocol import JSON, MAX_ROWS, Query
from lmdp.machine.metrics import quantile
from lmdp.support.program import at_home, program

EVERY_S = 1.0
KEPT_S = 900
_WINDOW_S = 60  # of latencies
_MESSAGES_S = 60.0  # another request may be before this one
_CONCURRENT_QUERIES = 3  # the run accepts one more, for `lmdp query`

Json = dict[str, Any]


class Answer(msgspec.Struct):
    """The answer to a query, as the run writes it in JSON; a column is its `name` and Arrow's name of its `type`."""

    columns: list[dict[str, str]]
    rows: list[list[Any]]
    truncated: bool
    seconds: float

    def named(self) -> list[Json]:
        """Return the rows by the names of their columns, which are unique in the page's own queries."""
        names = [column["name"] for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


@dataclass(slots=True)
class RunClient:
    """The run of `home`, as last seen, until the end of a block.

    `live` and `status` are None before the first answer and while none runs.
    """

    home: Path
    live: Json | None = None
    status: Json | None = None
    error: ApiError | None = None
    samples: deque[Json] = field(default_factory=lambda: deque(maxlen=round(KEPT_S / EVERY_S)))
    _latencies: deque[tuple[float, Counter[float]]] = field(default_factory=deque)
    _queries: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_QUERIES))
    _connections: Connections = field(init=False)

    def __post_init__(self) -> None:
        self._connections = Connections(self.home)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    async def poll(self) -> None:
        """Read the status and the live figures every second, without end."""
        while True:
            begun = time.monotonic()
            try:
                with self._translated():
                    found = msgspec.json.decode(await self._connections.read("GET", "/snapshot"))
                self.live, self.status, self.error = found["live"], found["status"], None
                self._note(found["live"])
            except ApiError as error:
                self._lost(error)
            except Exception as error:  # noqa: BLE001 - nobody awaits this task: its end would freeze the page
                why = f"the answer of the run is not as expected: {type(error).__name__}: {error}"
                self._lost(ApiError(500, why, f"{program()} status"))
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - begun)))

    def _lost(self, error: ApiError) -> None:
        self.live, self.status, self.error = None, None, error
        self._latencies.clear()

    async def send(self, query: Query, form: str = JSON) -> httpx.Response:
        """Return the run's response to one SELECT, its content still to be read. Raises ApiError."""
        async with self._queries:
            with self._translated():
                return await self._connections.send(
                    "POST", "/query", msgspec.json.encode(query), query.timeout_seconds, form
                )

    async def content(self, query: Query, form: str) -> tuple[bytes, bool]:
        """Return the answer to one SELECT in the form `JSON` or `CSV`, and whether it is truncated. Raises ApiError."""
        response = await self.send(query, form)
        with self._translated():
            found = await self._connections.content(response)
        return found, response.headers.get("X-Truncated") == "true"

    async def query(self, query: Query) -> Answer:
        """Return the answer to one SELECT. Raises ApiError."""
        return msgspec.json.decode((await self.content(query, JSON))[0], type=Answer)

    async def rows(self, sql: str) -> list[Json]:
        """Return the rows of one of the page's own queries. Raises ApiError."""
        return (await self.query(Query(sql, MAX_ROWS))).named()

    async def messages(self, partition: int, before: int | None, limit: int) -> Json:
        """Return the newest messages of a partition, or those before an offset. Raises ApiError."""
        wanted = {"partition": partition, "limit": limit} | ({} if before is None else {"before": before})
        with self._translated():
            content = await self._connections.read("GET", f"/messages?{urlencode(wanted)}", _MESSAGES_S)
        found: Json = msgspec.json.decode(content)
        return found

    def latency(self) -> Json:
        """Return the median and 99th percentile in ms over the last minute's messages; None without a message."""
        if len(self._latencies) < 2:
            return {"p50": None, "p99": None}
        grown = self._latencies[-1][1] - self._latencies[0][1]
        found = {"p50": quantile(grown, 0.5), "p99": quantile(grown, 0.99)}
        return {name: None if at is None else round(at, 1) for name, at in found.items()}

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

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RunNotFoundError as error:
            raise ApiError(
                503,
                f"no pipeline runs under {self.home}; its data is safe, and the page reconnects when it runs again",
                f"{program()} run{at_home(self.home)}",
            ) from error
        except LmdpError as error:
            raise api_error(error) from error
