"""Kafka to DuckDB with 0, 1, 2 and 4 worker processes, the broker on the same two cores; and what more cores allow."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks import kafka
from benchmarks.bench import Bench
from benchmarks.kafka import Ran
from benchmarks.table import Line, figure

WORKERS = (0, 1, 2, 4)
_CORES = (8, 16)


def measure_workers(bench: Bench) -> Iterator[Line]:
    """Rows a second by the number of workers, in turn, and the model beyond this machine."""
    with bench.skipping("Kafka"):
        broker = bench.kafka()
        backlog = broker.backlog(bench.sizes.kafka_messages * bench.sizes.backlog)
        runs: dict[int, list[Ran]] = {workers: [] for workers in WORKERS}
        for number in range(bench.sizes.repeats):
            for workers in WORKERS:
                bench.say(f"workers: round {number + 1}, {workers}")
                way = f"lmdp-{workers}" if workers else "lmdp"
                runs[workers].append(kafka.read(way, broker.task(backlog))[0])
        one = median(run.seconds for run in runs[0])
        for workers, each in runs.items():
            yield _line(f"{backlog.messages:,} x LMDP small", workers, each, one)
        yield _model(runs[2])


def _line(workload: str, workers: int, runs: list[Ran], one: float) -> Line:
    rows, seconds = runs[0].made, median(run.seconds for run in runs)
    cpu = 1e6 * median(run.cpu for run in runs) / rows
    memory = f"{max(run.peak_mib for run in runs):.0f} MiB"
    if workers > 1:
        memory += f", a worker {max(run.worker_mib for run in runs):.0f}"
    return Line(
        "workers",
        f"{workers} workers: {workload}",
        "µs CPU a row",
        figure(cpu),
        f"{rows / seconds:,.0f} rows",
        peers=f"{one / seconds:.2f}x the rows a second of 0 workers · {memory}",
    )


def _model(runs: list[Ran]) -> Line:
    """Arithmetic: the run's own part is one thread's, the workers' is divided by the cores that it leaves."""
    rows = runs[0].made
    own = 1e6 * median(run.own for run in runs) / rows
    theirs = 1e6 * median(run.cpu - run.own for run in runs) / rows
    rates = (f"{cores} cores {1e6 / max(own, theirs / (cores - 1)):,.0f} rows/s" for cores in _CORES)
    return Line(
        "workers",
        "model from 2 workers: the slower of the run's own part and the workers', the broker elsewhere",
        "µs CPU a row",
        f"{figure(own)} its own, {figure(theirs)} the workers'",
        peers=" · ".join(rates),
    )
