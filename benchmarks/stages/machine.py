"""One machine, whole: a backlog in Kafka to rows in DuckDB, the broker on the same two cores; and how late rows are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from benchmarks import kafka
from benchmarks.bench import Bench
from benchmarks.kafka import Backlog, Kafka, Ran
from benchmarks.measure import LMDP, UnequalError
from benchmarks.peers import collector
from benchmarks.stages.core import PLAIN
from benchmarks.table import Line, figure
from lmdp.machine.kafka.producer import Publisher, simulate
from lmdp.machine.simulation.collectors import Simulation

CONSUME, OTELCOL = "consume alone", "OTel Collector to OTLP file"
PACED_DEVICES, PACED_INSTANCES = 100, 20  # 2,000 messages of about 6 datapoints a second: 12,000 rows


def measure_machine(bench: Bench) -> Iterator[Line]:
    """Rows a second from a backlog, beside peers that read the same topic."""
    with bench.skipping("Kafka"):
        broker = bench.kafka()
        bench.say(f"Kafka to DuckDB: publishing {bench.sizes.kafka_messages:,} messages")
        backlog = broker.backlog(bench.sizes.kafka_messages)
        ways = {CONSUME: _way("consume", broker, backlog), LMDP: _way("lmdp", broker, backlog)}
        ways[f"{PLAIN} + Arrow"] = _way("plain", broker, backlog)
        with bench.skipping(OTELCOL):
            program = collector.program(bench.say, install=bench.may_install)
            ways[OTELCOL] = lambda: collector.read(program, broker.task(backlog), backlog.datapoints)
        bench.skip(
            "Bento, Redpanda Connect",
            "their Go modules could not be had where this was written, so nothing here could be tried with them",
        )
        runs: dict[str, list[Ran]] = {name: [] for name in ways}
        for number in range(bench.sizes.repeats):
            for name, way in list(ways.items()):
                bench.say(f"Kafka to DuckDB: round {number + 1}, {name}")
                with bench.skipping(name):
                    runs[name].append(way())
        yield from _lines(f"{backlog.messages:,} x LMDP small, {backlog.partitions} partitions", runs)


def measure_latency(bench: Bench) -> Iterator[Line]:
    """From a message's timestamp at the publisher to its rows' commit, at 2,000 messages a second."""
    with bench.skipping("Kafka"):
        broker = bench.kafka()
        bench.say("publish to queryable: warming up")
        _paced(broker, LMDP, 2)
        for way, name in ((LMDP, "one process"), (f"{LMDP}-2", "two workers")):
            bench.say(f"publish to queryable, {name}: {bench.sizes.paced_s} s")
            result = _paced(broker, way, bench.sizes.paced_s)
            rate = result["rows"] / bench.sizes.paced_s
            yield Line(
                "publish to queryable",
                f"{rate:,.0f} rows/s for {bench.sizes.paced_s} s, {name}",
                "ms",
                f"p50 {result['p50']}, p99 {result['p99']}",
                f"{rate:,.0f} rows",
                peers=f"the consumer: {result['cpu'] / bench.sizes.paced_s:.0%} of a core, {result['peakMiB']:.0f} MiB",
            )


def _paced(broker: Kafka, way: str, seconds: int) -> dict[str, Any]:
    """Publish as Collectors do, while a consumer reads; what the consumer reports."""
    backlog = Backlog(broker.topic(), kafka.PARTITIONS, 0, 0)
    with kafka.reader(way, broker.task(backlog)) as process:
        assert process.stdout
        process.stdout.readline()  # it is ready
        publisher = Publisher(broker.broker.access, backlog.topic)
        simulation = Simulation(PACED_DEVICES, PACED_INSTANCES)
        simulate(publisher, simulation, interval_s=1, duration_s=seconds)
        published = publisher.finish()
        out, _ = process.communicate("that was all\n", timeout=kafka.READ_SECONDS)
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    if result["messages"] != published.messages:
        raise UnequalError(f"{result['messages']:,} of {published.messages:,} published messages were read")
    return result


def _way(name: str, broker: Kafka, backlog: Backlog) -> Callable[[], Ran]:
    return lambda: kafka.read(name, broker.task(backlog))[0]


def _lines(workload: str, runs: dict[str, list[Ran]]) -> Iterator[Line]:
    ours = runs[LMDP]
    made = {name: {run.made for run in each} for name, each in runs.items() if name in (LMDP, f"{PLAIN} + Arrow")}
    if any(each != {ours[0].made} for each in made.values()):
        raise UnequalError(f"rows of the same topic: {made}")
    rows = ours[0].made
    seconds = median(run.seconds for run in ours)
    parts: tuple[tuple[str, Callable[[Ran], float]], ...] = (
        ("µs a row", lambda run: 1e6 * run.seconds / rows),
        ("µs CPU a row", lambda run: 1e6 * run.cpu / rows),
        ("MiB, peak", lambda run: run.peak_mib),
    )
    for unit, part in parts:
        mine = [part(run) for run in ours]
        middle = median(mine)
        others = {name: median(map(part, each)) for name, each in runs.items() if name != LMDP and each}
        result = {name: f"{name} {figure(each)} ({figure(each / middle)}x)" for name, each in others.items()}
        floor = result.pop(CONSUME)
        spread = (max(mine) - min(mine)) / 2 / middle
        rate = f"{rows / seconds:,.0f} rows" if unit == "µs a row" else ""
        yield Line(
            "Kafka to DuckDB",
            workload,
            unit,
            f"{figure(middle)} ±{spread:.0%}",
            rate,
            floor,
            " · ".join(result.values()),
        )
