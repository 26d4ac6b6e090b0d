"""`python -m benchmarks.receive`: `lmdp receive` and the Collector's otlp receiver with its Kafka exporter, in one run.

Each has one core, and Kafka, reached with mutual TLS, and the senders have whatever is left of two. What a request
costs is the process's own CPU time, so that a busy machine changes it little; times to an answer are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import kafka, scratch
from benchmarks.peers import collector
from lmdp.machine.kafka.access import KafkaAccess

BODIES: Final = 1_000
CONNECTIONS: Final = 64
PACED: Final = 2_000  # requests a second: 1,000 devices of LogicMonitor's, each instance once a minute
START_S: Final = 60
_HEAD: Final = b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers by status, seconds from when each request was due to its answer, the run's seconds, and CPU seconds."""

    statuses: Counter[bytes]
    times: list[float]
    seconds: float
    cpu: float
    memory: int

    def line(self, name: str, rows: float) -> str:
        """Return it as a line; `rows` are those of a request."""
        count, times = self.statuses[b"200"], sorted(self.times)
        others = f", others {dict(self.statuses)}" if len(self.statuses) > 1 else ""
        at = {q: 1000 * times[min(int(len(times) * q), len(times) - 1)] for q in (0.5, 0.99)}
        return (
            f"{name}: {count / self.seconds:,.0f} requests/s, {1e6 * self.cpu / count:,.0f} us of CPU each, so "
            f"{count / self.cpu:,.0f} requests/s and {rows * count / self.cpu:,.0f} rows/s a core; p50 {at[0.5]:.1f}, "
            f"p99 {at[0.99]:.1f} ms; {self.memory / 2**20:.0f} MiB; load {os.getloadavg()[0]:.1f}{others}"
        )


async def send(port: int, bodies: Sequence[bytes], seconds: float, rate: float) -> tuple[Counter[bytes], list[float]]:
    """Send over CONNECTIONS, at `rate` requests a second, or as fast as answers come (0)."""
    statuses, times = Counter[bytes](), list[float]()
    begun = time.monotonic()
    gap = CONNECTIONS / rate if rate else 0.0

    async def sender(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        due = begun + gap * number / CONNECTIONS
        for body in itertools.cycle(bodies[number::CONNECTIONS]):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            since = due if rate else time.monotonic()
            if since >= begun + seconds:
                break
            writer.write(_HEAD % len(body) + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
            statuses[head[9:12]] += 1
            times.append(time.monotonic() - since)
            due += gap
        writer.close()

    await asyncio.gather(*(sender(number) for number in range(CONNECTIONS)))
    return statuses, times


def measure(server: psutil.Process, port: int, bodies: Sequence[bytes], seconds: float, rate: float) -> Measured:
    """Send to a server, and measure both sides."""
    before, begun = sum(server.cpu_times()[:2]), time.monotonic()
    statuses, times = asyncio.run(send(port, bodies, seconds, rate))
    took = time.monotonic() - begun
    return Measured(statuses, times, took, sum(server.cpu_times()[:2]) - before, server.memory_info().rss)


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, folder: Path, **env: str) -> Iterator[psutil.Process]:
    """Run a server on one core until the end of the block; it listens when the block begins."""
    log = (folder / "log").open("ab")
    with (
        log,
        subprocess.Popen(["taskset", "-c", "0", *command], env={**os.environ, **env}, stdout=log, stderr=log) as server,
    ):
        try:
            ends = time.monotonic() + START_S
            while True:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                if server.poll() is not None or time.monotonic() > ends:
                    sys.exit(f"{command[0]} does not listen: {(folder / 'log').read_text()[-500:]}")
                time.sleep(0.1)
            yield psutil.Process(server.pid)
        finally:
            server.terminate()


def ours(access: KafkaAccess, topic: str, port: int) -> list[str]:
    """The command of the receiver."""
    files = ("--ca", str(access.ca), "--cert", str(access.cert), "--key", str(access.key))
    words = ("receive", "--listen", f"127.0.0.1:{port}", "--metrics-port", "0", "--topic", topic)
    program = [sys.executable, "-c", "from lmdp.cli.main import main; main()"]
    return [*program, *words, "--bootstrap-servers", access.bootstrap_servers, *files]


def theirs(access: KafkaAccess, topic: str, port: int) -> dict[str, Any]:
    """The Collector's configuration. Without its queue, so that it too answers when Kafka has acknowledged."""
    tls = {"ca_file": str(access.ca), "cert_file": str(access.cert), "key_file": str(access.key)}
    exporter = {
        "brokers": [access.bootstrap_servers], "metrics": {"topic": topic, "encoding": "otlp_json"},
        "sending_queue": {"enabled": False}, "producer": {"required_acks": -1, "compression": "zstd"}, "tls": tls,
    }  # fmt: skip
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"kafka": exporter},
        "service": {
            "pipelines": {"metrics": {"receivers": ["otlp"], "exporters": ["kafka"]}},
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "error"}},
        },
    }


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def main() -> None:
    """Measure both in turn, and print a line each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.receive", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (8)")
    parser.add_argument("--offline", action="store_true", help="build nothing")
    given = parser.parse_args()
    messages = list(itertools.islice(kafka.polled(), BODIES))
    bodies = [message.value for message in messages]
    rows = sum(message.datapoints for message in messages) / BODIES
    print(f"{BODIES:,} bodies of {sum(map(len, bodies)) / BODIES:,.0f} bytes, {rows:.1f} datapoints each")
    with tempfile.TemporaryDirectory(prefix="lmdp-bench-") as made, kafka.running(Path(made, "site")) as broker:
        folder, access, ports = Path(made), broker.broker.access, (_port(), _port())
        with contextlib.ExitStack() as parts:
            servers = {
                "lmdp receive": (
                    parts.enter_context(serving(ours(access, broker.topic(), ports[0]), ports[0], folder)), ports[0],
                )
            }  # fmt: skip
            with contextlib.suppress(scratch.PeerMissingError):
                program, config = collector.program(print, install=not given.offline), folder / "collector.yaml"
                config.write_text(json.dumps(theirs(access, broker.topic(), ports[1])))  # JSON is YAML
                command = [str(program), "--config", str(config)]
                server = parts.enter_context(serving(command, ports[1], folder, GOMAXPROCS="1"))
                servers["OTel Collector"] = (server, ports[1])
            for _ in range(2):
                for name, (process, port) in servers.items():
                    print(measure(process, port, bodies, given.seconds, 0).line(f"{name}, as fast as it answers", rows))
            for name, (process, port) in servers.items():
                print(measure(process, port, bodies, given.seconds, PACED).line(f"{name}, {PACED:,} asked for", rows))


if __name__ == "__main__":
    main()
