"""A run with its page, and what is published into it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lmdp.machine.kafka.access import KafkaAccess
from lmdp.page.run_client import RunClient
from running import publish, started, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
TOPIC = "lm.metrics.otlp"
NOW_MS = int(time.time()) * 1000
POLLS = 60
STEP_MS = 10_000
SWITCHES = {"21": {"eth0": 1, "eth1": 2}, "22": {"eth0": 3, "eth1": 400}}  # octets per second
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


@dataclass(frozen=True, slots=True)
class Site:
    """A run with its page."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """Where the run keeps everything."""
        return self.folder / ".lmdp"

    @property
    def base(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The page's token."""
        return (self.home / "page.token").read_text().strip()

    def get(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The code and the answer, JSON or text; a body is posted as JSON."""
        headers = {"Authorization": f"Bearer {self.token}"} | headers
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers = {"Content-Type": "application/json"} | {
                name.replace("_", "-"): text for name, text in headers.items()
            }
        request = urllib.request.Request(self.base + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                code, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            with error:
                code, kind, content = error.code, error.headers["Content-Type"], error.read()
        return code, json.loads(content) if kind == "application/json" else content.decode()

    def publish(self, *values: bytes) -> None:
        """Put messages on the run's own topic."""
        broker = self.get("/api/status")[1]["run"]["broker"]
        publish(KafkaAccess(broker), TOPIC, values)

    def answers(self) -> bool:
        """Whether the page has numbers."""
        try:
            return self.get("/api/status")[0] == 200
        except OSError:
            return False


def asked(home: Path, work: Callable[[RunClient], Awaitable[T]]) -> T:
    """What the page's client of the run of `home` finds."""

    async def go() -> T:
        async with RunClient(home) as run:
            return await work(run)

    return asyncio.run(go())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def site_in(folder: Path, port: int | None = None, *words: str) -> Iterator[Site]:
    """Run the pipeline in `folder` with its page, until the end of the block."""
    given = words or ("--broker", "memory", "--simulate", "0", "--org-id", "acme")
    log = folder / "stderr"
    before = log.stat().st_size if log.exists() else 0
    with started("run", *given, "--page", "--page-port", str(port or free_port()), folder=folder) as process:

        def said() -> re.Match[str] | None:
            # Somebody may have taken the port meanwhile.
            assert process.poll() is None, log.read_text()
            return re.search(r"the page is at http://127\.0\.0\.1:(\d+)", log.read_text()[before:])

        until(said, 90)
        found = Site(folder, int((said() or [0, 0])[1]), process)
        until(found.answers, 90)
        yield found
        process.terminate()
        process.wait(60)


def message(device: str, source: str, metrics: list[dict[str, Any]], **resource: str) -> bytes:
    """A bundle of one device and one scope."""
    attributes = [
        {"key": key, "value": {"stringValue": text}} for key, text in {"hostId": device, **resource}.items() if text
    ]
    scopes = [{"scope": {"name": source}, "metrics": metrics}]
    return json.dumps({"resourceMetrics": [{"resource": {"attributes": attributes}, "scopeMetrics": scopes}]}).encode()


def named(instance: str) -> list[dict[str, Any]]:
    """The attributes of a datapoint of an instance."""
    return [{"key": "dataSourceInstanceName", "value": {"stringValue": instance}}]


def polls() -> Iterator[bytes]:
    """Ten minutes: of one device a gauge and a counter that was reset once; of switches a counter; a histogram."""
    for poll in range(POLLS):
        at = str((NOW_MS - (POLLS - poll) * STEP_MS) * 1_000_000)
        instance = named("Cpu-0")
        gauge = {"timeUnixNano": at, "asDouble": 50 + poll / 4, "attributes": instance}
        counted = poll * 100 if poll < 40 else (poll - 40) * 100
        counter = {"timeUnixNano": at, "asInt": str(counted), "attributes": instance}
        yield message(
            "7",
            "Cpu",
            [
                {"name": "CpuUsage", "unit": "%", "gauge": {"dataPoints": [gauge]}},
                {
                    "name": "Ticks",
                    "sum": {"dataPoints": [counter], "isMonotonic": True, "aggregationTemporality": 2},
                },
            ],
            hostName="web-1",
        )
        for device, instances in SWITCHES.items():
            for place, speed in instances.items():
                octets = {**counter, "asInt": str(poll * speed * 10), "attributes": named(place)}
                total = {"dataPoints": [octets], "isMonotonic": True, "aggregationTemporality": 2}
                yield message(device, "Net", [{"name": "InOctets", "sum": total}], hostName=f"switch-{device[1:]}")
        histogram = {
            "timeUnixNano": at,
            "count": str(10 * poll),
            "sum": poll * 3.0,
            "bucketCounts": [str(5 * poll), str(4 * poll), str(poll)],
            "explicitBounds": [0.1, 1.0],
        }
        yield message(
            "8",
            "http.server",
            [{"name": "duration", "unit": "s", "histogram": {"dataPoints": [histogram], "aggregationTemporality": 2}}],
            hostName="shop-1",
        )


def mishaps() -> Iterator[bytes]:
    """What becomes no row, or rows whose names would do harm where they are not taken as text."""
    yield b'{"resourceMetrics": [{"resource": '
    yield b'{"resourceLogs": []}'
    yield b""
    point = {"timeUnixNano": str(NOW_MS * 1_000_000)}
    yield message("7", "Cpu", [{"name": "CpuUsage", "gauge": {"dataPoints": [{**point, "flags": 1}]}}])
    yield message("7", "Cpu", [{"name": "CpuUsage", "gauge": {"dataPoints": [{**point, "asDouble": "NaN"}]}}])
    gauge = {"dataPoints": [{**point, "asDouble": 1}]}
    yield message("9", HOSTILE, [{"name": HOSTILE, "gauge": gauge}], hostName=HOSTILE)
    yield message("", "Cpu", [{"name": "CpuUsage", "gauge": gauge}], noDevice=HOSTILE)
