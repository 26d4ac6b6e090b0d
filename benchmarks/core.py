"""Rows a second of transform + encode on one core, beside reading the same JSON into dicts with the standard library.

    taskset -c 0 .venv/bin/python benchmarks/core.py

Messages are LogicMonitor's shape: 6 datapoints (the usual poll) and 240. Every round has messages that were not seen
before; `again` polls the same instances anew, as every minute does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import lmdp

ROUNDS = 5
TIME_NS = 1_715_263_558_360_000_000


def message(number: int, datapoints: int, poll: int) -> bytes:
    """One poll of instance `number`: a third sums, the others gauges."""
    at = TIME_NS + poll * 60_000_000_000
    metrics = []
    for index in range(datapoints):
        names = {
            "dataSourceInstanceName": f"SNMP_Network_Interfaces-GigabitEthernet0/0/{number}",
            "datapointid": str(197642 + index),
            "wildValue": str(number),
            "wildAlias": f"GigabitEthernet0/0/{number}",
        }
        point = {
            "startTimeUnixNano": str(at),
            "timeUnixNano": str(at),
            "asDouble": index * 1.25 + poll,
            "attributes": attributes(names),
        }
        metrics.append({"name": f"ifMetric{index}", "gauge" if index % 3 else "sum": {"dataPoints": [point]}})
    device = {
        "hostName": f"switch-{number % 100:05}",
        "hostId": str(1017594 + number % 100),
        "system.groups": "Core/EU",
    }
    scope = {
        "collector": "snmp",
        "epoch": str(at // 1_000_000),
        "datasourceId": "128265135",
        "datasourceInstanceId": str(367542931 + number),
    }
    scopes = {"scope": {"name": "SNMP_Network_Interfaces", "attributes": attributes(scope)}, "metrics": metrics}
    resource = {"attributes": attributes(device)}
    bundle = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scopes]}]}
    return json.dumps(bundle, separators=(",", ":")).encode()


def attributes(values: dict[str, str]) -> list[dict[str, object]]:
    """OTLP's way to write a map."""
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def best(work: Callable[[list[bytes]], int], rounds: list[list[bytes]]) -> tuple[float, int]:
    """The least CPU time of a round in seconds, and what the last one returned."""
    least, made = float("inf"), 0
    for messages in rounds:
        started = time.process_time()
        made = work(messages)
        least = min(least, time.process_time() - started)
    return least, made


def transform(messages: list[bytes]) -> int:
    """The path of the core; returns rows."""
    settings = lmdp.TransformSettings(org_id="acme")
    return sum(len(lmdp.encode(lmdp.transform((lmdp.Message(value),), settings).rows)) for value in messages)


def loads(messages: list[bytes]) -> int:
    """The standard library's json alone; returns messages."""
    return sum(1 for value in messages if json.loads(value))


def main() -> None:
    """Print one line a workload."""
    for name, datapoints, count in (("small, 6 datapoints", 6, 4000), ("large, 240 datapoints", 240, 100)):
        new = [[message(i + poll * count, datapoints, poll) for i in range(count)] for poll in range(ROUNDS)]
        again = [[message(i, datapoints, poll) for i in range(count)] for poll in range(ROUNDS)]
        floor, _ = best(loads, new)
        for which, rounds in (("new instances", new), ("again", again)):
            seconds, rows = best(transform, rounds)
            print(
                f"{name}, {len(rounds[0][0]):,} bytes, {which}: {rows / seconds:,.0f} rows/s, "
                f"{seconds / floor:.2f} times json.loads of the same bytes"
            )


if __name__ == "__main__":
    main()
