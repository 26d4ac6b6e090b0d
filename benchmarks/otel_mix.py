"""A service's metrics as an OpenTelemetry SDK exports them: all five types, attributes of every type."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

START_NS: Final = 1_764_000_000_000_000_000
BOUNDS: Final = [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000]  # the SDKs' default
ROUTES: Final = ("/orders", "/orders/{id}", "/users/{id}", "/health")


def message(number: int, chance: Random) -> bytes:
    """One export of one service instance; `number` makes its identity."""
    at = START_NS + number * 1_000_000_007
    resource = {
        "service.name": f"orders-{number % 50}",
        "service.instance.id": f"627cc493-f310-47de-96bd-71410b7d{number:06}",
        "host.name": f"node-{number % 200}",
        "process.pid": 1 + number % 60_000,
        "service.sampled": number % 2 == 0,
        "process.command_args": ["orders", "--port", "8080"],
    }
    per_route = [_request(n) for n in range(4)]
    metrics = [
        _metric("process.memory.usage", "By", "gauge", [_number(at, chance, {"state": "resident"}, whole=True)]),
        _metric("process.cpu.utilization", "1", "gauge", [_number(at, chance, {"cpu": n}) for n in range(4)]),
        _metric(
            "http.server.requests", "{request}", "sum", [_number(at, chance, each, whole=True) for each in per_route]
        ),
        _metric("http.server.duration", "ms", "histogram", [_histogram(at, chance, each) for each in per_route]),
        _metric(
            "rpc.duration", "ms", "exponentialHistogram", [_exponential(at, chance, each) for each in per_route[:2]]
        ),
        _metric("gc.pause", "ms", "summary", [_summary(at, chance)]),
    ]
    scope = {"name": "io.opentelemetry.contrib.http", "version": "1.9.0", "attributes": attributes({"short": True})}
    scopes = [{"scope": scope, "metrics": metrics}]
    bundle = {"resourceMetrics": [{"resource": {"attributes": attributes(resource)}, "scopeMetrics": scopes}]}
    return json.dumps(bundle, separators=(",", ":")).encode()


def attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """OTLP's way to write a map."""
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": value}


def _request(number: int) -> dict[str, Any]:
    return {"http.request.method": "GET", "http.route": ROUTES[number], "http.response.status_code": 200 + number}


def _metric(name: str, unit: str, kind: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    about: dict[str, Any] = {} if kind in ("gauge", "summary") else {"aggregationTemporality": 2}
    if kind == "sum":
        about["isMonotonic"] = True
    return {"name": name, "unit": unit, kind: {"dataPoints": points, **about}}


def _point(at: int, names: dict[str, Any]) -> dict[str, Any]:
    start = str(START_NS - 3_600_000_000_000)
    return {"attributes": attributes(names), "startTimeUnixNano": start, "timeUnixNano": str(at)}


def _number(at: int, chance: Random, names: dict[str, Any], *, whole: bool = False) -> dict[str, Any]:
    value = {"asInt": str(chance.randrange(10**9))} if whole else {"asDouble": chance.random()}
    return {**_point(at, names), **value}


def _spread(chance: Random, total: int, buckets: int) -> list[int]:
    counts = [0] * buckets
    for _ in range(total):
        counts[min(buckets - 1, int(chance.expovariate(4 / buckets)))] += 1
    return counts


def _histogram(at: int, chance: Random, names: dict[str, Any]) -> dict[str, Any]:
    counts = _spread(chance, 50, len(BOUNDS) + 1)
    return {
        **_point(at, names),
        "count": str(sum(counts)),
        "sum": chance.uniform(1, 1e5),
        "min": chance.random(),
        "max": chance.uniform(10, 1e4),
        "bucketCounts": [str(count) for count in counts],
        "explicitBounds": BOUNDS,
    }


def _exponential(at: int, chance: Random, names: dict[str, Any]) -> dict[str, Any]:
    counts = _spread(chance, 50, 24)
    zeros = chance.randrange(5)
    return {
        **_point(at, names),
        "count": str(sum(counts) + zeros),
        "sum": chance.uniform(1, 1e5),
        "scale": 3,
        "zeroCount": str(zeros),
        "positive": {"offset": chance.randrange(-8, 8), "bucketCounts": [str(count) for count in counts]},
    }


def _summary(at: int, chance: Random) -> dict[str, Any]:
    quantiles = [{"quantile": q, "value": chance.uniform(0, 100)} for q in (0.5, 0.9, 0.99)]
    return {
        **_point(at, {"gc": "young"}),
        "count": str(chance.randrange(1000)),
        "sum": 1e3,
        "quantileValues": quantiles,
    }
