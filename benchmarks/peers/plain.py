"""A first draft: `json`, dictionaries, and boto3. Right for these messages, and no more than that.

It has no protobuf, no rejects, no limits, no lenient spellings, and knows the promotion rules by heart.
"""

from __future__ import annotations

import gzip
import json
import math
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.peers.buckets import Part, explicit, exponential, number_text

ORG: Final = "acme"
KINDS: Final = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponentialHistogram": "exponential_histogram",
    "summary": "summary",
}
TEMPORALITY: Final = {1: "delta", 2: "cumulative"}
EXACT: Final = 2**53


def loads(value: bytes) -> dict[str, Any]:
    """One message as dictionaries."""
    bundle: dict[str, Any] = json.loads(gzip.decompress(value) if value[:2] == b"\x1f\x8b" else value)
    return bundle


def dumps(row: dict[str, Any]) -> bytes:
    """One row as JSON; the maps' keys are sorted, and the columns keep their order."""
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode()


def flatten(bundle: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one message."""
    for resource_metrics in bundle["resourceMetrics"]:
        resource = mapped(resource_metrics["resource"].get("attributes", []))
        host = host_of(resource)
        resource = dict(sorted(resource.items()))
        for scope_metrics in resource_metrics["scopeMetrics"]:
            yield from _scope_rows(host, resource, scope_metrics)


def host_of(resource: dict[str, Any]) -> dict[str, Any]:
    """Take the columns of the host out of a resource's attributes."""
    device = resource.pop("hostId", None) or resource.get("host.id") or resource.get("host.name")
    return {
        "orgId": resource.pop("orgId", ORG),
        "deviceId": device or resource.get("service.instance.id") or resource.get("service.name"),
        "deviceName": resource.pop("hostName", None) or resource.get("host.name"),
    }


def mapped(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """OTLP's list of pairs as a dictionary; nearly all values are text."""
    return {
        pair["key"]: value["stringValue"] if "stringValue" in (value := pair["value"]) else _plain(value)
        for pair in attributes
    }


def time_text(ms: int) -> str:
    """RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "intValue":
        return int(content)
    if kind == "arrayValue":
        return [_plain(each) for each in content.get("values", [])]
    if kind == "kvlistValue":
        return mapped(content.get("values", []))
    return content


def _scope_rows(
    host: dict[str, Any], resource: dict[str, Any], scope_metrics: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    given = scope_metrics.get("scope", {})
    scope = mapped(given.get("attributes", []))
    scope["name"] = given["name"]
    if given.get("version"):
        scope["version"] = given["version"]
    scope = dict(sorted(scope.items()))
    for metric in scope_metrics["metrics"]:
        for row in _metric_rows(metric):
            whole = {**host, "datasource": given["name"], **row, "resource": resource, "scope": scope}
            yield {key: value for key, value in whole.items() if value is not None}


def _metric_rows(metric: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = next(kind for kind in KINDS if kind in metric)
    for point in metric[kind]["dataPoints"]:
        if int(point.get("flags", 0)) & 1:
            continue
        attributes = _attributes(kind, metric[kind], point)
        instance = attributes.pop("dataSourceInstanceName", None) or attributes.pop("wildValue", None)
        ms = int(point["timeUnixNano"]) // 1_000_000
        for suffix, extra, value in PARTS[kind](point):
            if not math.isfinite(value):
                continue
            named = attributes | extra
            if isinstance(value, int) and abs(value) > EXACT:
                named["otlp.intValue"] = str(value)
            yield {
                "instance": instance,
                "metric": metric["name"] + suffix,
                "unit": metric.get("unit"),
                "type": KINDS[kind],
                "ts": time_text(ms),
                "tsUnixMs": ms,
                "value": value,
                "attributes": dict(sorted(named.items())),
            }


def _attributes(kind: str, data: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    attributes = mapped(point.get("attributes", []))
    start = int(point.get("startTimeUnixNano", 0))
    if start not in (0, int(point["timeUnixNano"])):
        attributes["otlp.startTimeUnixMs"] = start // 1_000_000
    if kind == "sum":
        attributes["otlp.monotonic"] = data.get("isMonotonic", False)
    if temporality := TEMPORALITY.get(data.get("aggregationTemporality", 0)):
        attributes["otlp.temporality"] = temporality
    return attributes


def _number(point: dict[str, Any]) -> Iterator[Part]:
    if "asDouble" in point:
        yield "", {}, float(point["asDouble"])
    elif "asInt" in point:
        yield "", {}, int(point["asInt"])


def _statistics(point: dict[str, Any]) -> Iterator[Part]:
    yield ".count", {}, int(point["count"])
    for name in ("sum", "min", "max"):
        if name in point:
            yield f".{name}", {}, float(point[name])


def _histogram(point: dict[str, Any]) -> Iterator[Part]:
    yield from _statistics(point)
    if counts := point.get("bucketCounts"):
        yield from explicit([int(count) for count in counts], point.get("explicitBounds", []))


def _exponential(point: dict[str, Any]) -> Iterator[Part]:
    yield from _statistics(point)
    zero = float(point.get("zeroThreshold", 0)), int(point.get("zeroCount", 0))
    negative, positive = (_side(point.get(side, {})) for side in ("negative", "positive"))
    yield from exponential(int(point.get("scale", 0)), negative, zero, positive, int(point["count"]))


def _side(buckets: dict[str, Any]) -> tuple[int, list[int]]:
    return int(buckets.get("offset", 0)), [int(count) for count in buckets.get("bucketCounts", [])]


def _summary(point: dict[str, Any]) -> Iterator[Part]:
    yield ".count", {}, int(point["count"])
    yield ".sum", {}, float(point["sum"])
    for each in point.get("quantileValues", []):
        yield ".quantile", {"quantile": number_text(each["quantile"])}, float(each["value"])


PARTS: Final[dict[str, Callable[[dict[str, Any]], Iterator[Part]]]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponentialHistogram": _exponential,
    "summary": _summary,
}


def handler(client: Any, stream: str) -> Callable[[list[dict[str, Any]]], int]:
    """A Lambda function of it: boto3's `put_record_batch`, 500 rows a call, eight calls at a time."""
    pool = ThreadPoolExecutor(8)

    def put(records: list[dict[str, bytes]]) -> None:
        if client.put_record_batch(DeliveryStreamName=stream, Records=records)["FailedPutCount"]:
            raise RuntimeError("some records were refused")

    def handle(event: list[dict[str, Any]]) -> int:
        records = [{"Data": dumps(row)} for record in event for row in flatten(loads(b64decode(record["value"])))]
        list(pool.map(put, [records[at : at + 500] for at in range(0, len(records), 500)]))
        return len(records)

    return handle
