"""The direct writer as a whole process: CPU a row, memory over a backlog, and the latency from publish to commit.

    python -m benchmarks.direct [--messages N] [--workers N]

A real Kafka holds a backlog of N simulated messages; `lmdp run --to snowflake --until-idle` writes it to the double,
in a process of its own. Then messages come one by one, to a double that commits after 6 s.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from confluent_kafka import Producer

from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
from lmdp.machine.kafka.producer import PRODUCER_SETTINGS
from lmdp.machine.simulation.collectors import Simulation
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.testing.snowpipe import Double, snowpipe_double

if TYPE_CHECKING:
    from lmdp.machine.kafka.access import KafkaAccess

_COMMIT_S = 6.0
_PARTITIONS = 6


def main() -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=350_000)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, KafkaBroker(embedded(Path(folder) / "kafka")) as broker:
        home = Path(folder)
        (home / "writer.p8").write_bytes(pem(make_pair(2048)))
        broker.create_topic("backlog", _PARTITIONS)
        _publish(broker.access, "backlog", given.messages)
        with snowpipe_double(commit_s=0.5) as double:
            double.requests = type(double.requests)(maxlen=10)  # their bodies would be kept
            report, seconds, cpu, memory = _backlog(home, double, broker.access, given.workers)
        rows = report["rows"]
        print(
            f"backlog: {rows:,} rows, {rows / seconds:,.0f} rows/s, {cpu / rows * 1e6:.1f} us of CPU a row with its "
            f"workers, {memory / 2**20:.0f} MiB at most"
        )
        broker.create_topic("live", 1)
        with snowpipe_double(commit_s=_COMMIT_S) as double:
            latency = _live(home, double, broker.access)
        print(
            f"latency to a double that commits after {_COMMIT_S:g} s: p50 {latency['p50']} ms, p99 {latency['p99']} ms"
        )


def _publish(access: KafkaAccess, topic: str, messages: int) -> None:
    producer = Producer({**access.config(), **PRODUCER_SETTINGS, "queue.buffering.max.messages": 20_000})
    polls = Simulation(2_000, 20, 1).polls(int(time.time() * 1000))
    values = [message.value for message in itertools.islice(polls, 20_000)]
    for number in range(messages):
        producer.produce(topic, values[number % len(values)])
        if not (number + 1) % 10_000:
            producer.flush(60)
    producer.flush(60)


def _words(access: KafkaAccess, topic: str) -> list[str]:
    tls = [word for name in ("ca", "cert", "key") for word in (f"--{name}", str(getattr(access, name)))]
    words = ["run", "--to", "snowflake", "--topic", topic, "--group", topic, "--org-id", "bench", "--no-page", "--json"]
    return [
        sys.executable,
        "-c",
        "from lmdp.cli.main import main; main()",
        *words,
        "--bootstrap-servers",
        access.bootstrap_servers,
        *tls,
    ]


def _started(home: Path, double: Double, words: list[str]) -> subprocess.Popen[str]:
    env = {"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": "writer.p8", "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(words, cwd=home, env=env, text=True, stdout=subprocess.PIPE)


def _backlog(home: Path, double: Double, access: KafkaAccess, workers: int) -> tuple[dict[str, Any], float, float, int]:
    """Return the report, seconds, CPU seconds and the most memory of the process with its workers."""
    begun, cpu, most = time.monotonic(), 0.0, 0
    words = [*_words(access, "backlog"), "--until-idle", "--workers", str(workers)]
    with _started(home, double, words) as process:
        run = psutil.Process(process.pid)
        while process.poll() is None:
            double.rows.clear()
            try:
                each = [run, *run.children(recursive=True)]
                most = max(most, sum(one.memory_info().rss for one in each))
                cpu = max(cpu, sum(sum(one.cpu_times()[:2]) for one in each))
            except psutil.NoSuchProcess:
                continue
            time.sleep(0.2)
        out, _ = process.communicate()
    report: dict[str, Any] = json.loads(out)
    return report, time.monotonic() - begun, cpu, most


def _live(home: Path, double: Double, access: KafkaAccess, seconds: float = 40.0) -> dict[str, Any]:
    """Return the latencies of a run while a few messages a second come."""
    stop = threading.Event()
    with _started(home, double, _words(access, "live")) as process:
        while not double.channels:
            time.sleep(0.2)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not stop.wait(0.2):
            _publish(access, "live", 5)
        time.sleep(_COMMIT_S + 3)
        process.terminate()
        out, _ = process.communicate()
    latency: dict[str, Any] = json.loads(out)["latencyMs"]
    return latency


if __name__ == "__main__":
    main()
