"""The growth of cost with the load: a thousand times the messages, 1 to 32 partitions."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from benchmarks import kafka
from benchmarks.bench import Bench
from benchmarks.kafka import Kafka, Ran
from benchmarks.table import Line, figure

BRIEF_S = 2.0  # a shorter run is repeated


def measure_growth(bench: Bench) -> Iterator[Line]:
    """Kafka to DuckDB with more and more messages, then with more and more partitions."""
    with bench.skipping("Kafka"):
        broker = bench.kafka()
        before = None
        for times in bench.sizes.growth:
            messages = times * bench.sizes.base
            bench.say(f"growth: {messages:,} messages")
            ran = _read(broker, messages, kafka.PARTITIONS, bench.sizes.repeats)
            yield _line("growth in messages", f"{times:,}x: {messages:,} messages", ran, before)
            before = ran
        messages = bench.sizes.base * min(100, max(bench.sizes.growth))
        before = None
        for partitions in bench.sizes.partitions:
            bench.say(f"growth: {partitions} partitions")
            ran = _read(broker, messages, partitions, bench.sizes.repeats)
            yield _line("growth in partitions", f"{partitions} partitions: {messages:,} messages", ran, before)
            before = ran


def _read(broker: Kafka, messages: int, partitions: int, repeats: int) -> Ran:
    backlog = broker.backlog(messages, partitions)
    runs = [kafka.read("lmdp", broker.task(backlog))[0]]
    while len(runs) < repeats and runs[0].seconds < BRIEF_S:
        runs.append(kafka.read("lmdp", broker.task(backlog))[0])
    return Ran(runs[0].made, *(median(getattr(run, part) for run in runs) for part in ("seconds", "cpu", "peak_mib")))


def _line(stage: str, workload: str, ran: Ran, before: Ran | None) -> Line:
    cost = _cost(ran)
    grown = "" if before is None else f"{figure(cost / _cost(before))}x the line above's · "
    wall = f"{figure(1e6 * ran.seconds / ran.made)} µs a row · {ran.peak_mib:.0f} MiB at most"
    rate = f"{ran.made / ran.seconds:,.0f} rows"
    return Line(stage, workload, "µs CPU a row", figure(cost), rate, peers=grown + wall)


def _cost(ran: Ran) -> float:
    return 1e6 * ran.cpu / ran.made
