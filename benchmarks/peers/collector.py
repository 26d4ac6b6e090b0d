"""The OpenTelemetry Collector: Kafka to a file of OTLP/JSON. It makes no rows, so its datapoints are counted."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import scratch
from benchmarks.consumed import Task
from benchmarks.kafka import CORES, READ_SECONDS, Ran, wait_until_still

_DATAPOINT: Final = b'"timeUnixNano":'
FLUSH_SECONDS: Final = 0.1
CHUNK: Final = 2**22


def program(say: Callable[[str], None], *, install: bool) -> Path:
    """The Collector, built if need be. Raises PeerMissingError."""
    return scratch.go_program("collector", say, install=install)


def read(collector: Path, task: Task, datapoints: int) -> Ran:
    """Read the topic to its end. Raises PeerMissingError when what it wrote is not `datapoints`.

    Its seconds begin with the first output, so that its start is not in them; its start is in its CPU.
    """
    out = task.file.with_suffix(".otlp")
    config = task.file.with_suffix(".yaml")
    config.write_text(json.dumps(settings(task, out)), encoding="utf-8")  # JSON is YAML
    env = {**os.environ, "GOMAXPROCS": str(CORES)}
    with subprocess.Popen(
        [str(collector), "--config", str(config)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        watched = psutil.Process(process.pid)
        peaks: list[int] = []
        first, last = wait_until_still(_sizes(out, process, watched, peaks), READ_SECONDS)
        alive = process.poll() is None
        cpu = sum(watched.cpu_times()[:2]) if alive else 0.0
        process.terminate()
        said = (process.communicate()[1] or "nothing").splitlines()[-1]
    if not alive:
        raise scratch.PeerMissingError(f"the Collector ended by itself; it said: {said}")
    written = count(out)
    out.unlink(missing_ok=True)
    if written != datapoints:
        raise scratch.PeerMissingError(f"the Collector wrote {written:,} of {datapoints:,} datapoints")
    return Ran(written, last - first + FLUSH_SECONDS, cpu, max(peaks) / 2**20)


def settings(task: Task, out: Path) -> dict[str, Any]:
    """Its configuration: one receiver, one exporter, nothing between."""
    access = task.access
    kafka: dict[str, Any] = {
        "brokers": [access.bootstrap_servers],
        "group_id": f"collector-{task.file.stem}",
        "initial_offset": "earliest",
        "metrics": {"topics": [task.topic], "encoding": "otlp_json"},
    }
    if access.is_tls():
        kafka["tls"] = {"ca_file": str(access.ca), "cert_file": str(access.cert), "key_file": str(access.key)}
    return {
        "receivers": {"kafka": kafka},
        "exporters": {"file": {"path": str(out), "flush_interval": f"{FLUSH_SECONDS}s"}},
        "service": {
            "pipelines": {"metrics": {"receivers": ["kafka"], "exporters": ["file"]}},
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "error"}},
        },
    }


def count(file: Path) -> int:
    """The datapoints in a file of OTLP/JSON; each of ours has one time."""
    found, rest = 0, b""
    with file.open("rb") as text:
        while chunk := text.read(CHUNK):
            whole = rest + chunk
            found += whole.count(_DATAPOINT)
            rest = whole[-len(_DATAPOINT) + 1 :]
    return found


def _sizes(out: Path, process: subprocess.Popen[str], watched: psutil.Process, peaks: list[int]) -> Iterator[int]:
    """The size of what is written, while it runs; its memory goes into `peaks`."""
    while process.poll() is None:
        peaks.append(watched.memory_info().rss)
        yield out.stat().st_size if out.exists() else 0
