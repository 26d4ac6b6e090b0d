"""opentelemetry-proto with `json_format`: the library that is made for OTLP, and a walk over its objects.

Protobuf messages are read by the same classes' own parser, which is written in C.
"""

from __future__ import annotations

import gzip
import math
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any, Final

from google.protobuf.json_format import Parse
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from benchmarks.peers.buckets import Part, explicit, exponential, number_text
from benchmarks.peers.plain import EXACT, TEMPORALITY, host_of, time_text


def parse(value: bytes) -> Any:
    """One message as protobuf objects, whatever its form."""
    data = gzip.decompress(value) if value[:2] == b"\x1f\x8b" else value
    return Parse(data, MetricsData()) if data[:1] == b"{" else MetricsData.FromString(data)


def flatten(bundle: Any) -> Iterator[dict[str, Any]]:
    """The rows of one message."""
    for resource_metrics in bundle.resource_metrics:
        resource = mapped(resource_metrics.resource.attributes)
        host = host_of(resource)
        resource = dict(sorted(resource.items()))
        for scope_metrics in resource_metrics.scope_metrics:
            scope = mapped(scope_metrics.scope.attributes) | {"name": scope_metrics.scope.name}
            if scope_metrics.scope.version:
                scope["version"] = scope_metrics.scope.version
            scope = dict(sorted(scope.items()))
            for metric in scope_metrics.metrics:
                for row in _metric_rows(metric):
                    whole = {**host, "datasource": scope["name"], **row, "resource": resource, "scope": scope}
                    yield {key: value for key, value in whole.items() if value is not None}


def mapped(attributes: Any) -> dict[str, Any]:
    """OTLP's list of pairs as a dictionary."""
    return {pair.key: _plain(pair.value) for pair in attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    content: Any = getattr(value, kind) if kind else None
    if kind == "array_value":
        return [_plain(each) for each in content.values]
    if kind == "kvlist_value":
        return mapped(content.values)
    return b64encode(content).decode() if kind == "bytes_value" else content


def _metric_rows(metric: Any) -> Iterator[dict[str, Any]]:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    about = {}
    if kind == "sum":
        about["otlp.monotonic"] = data.is_monotonic
    if kind not in ("gauge", "summary") and data.aggregation_temporality in TEMPORALITY:
        about["otlp.temporality"] = TEMPORALITY[data.aggregation_temporality]
    for point in data.data_points:
        if point.flags & 1:
            continue
        attributes = mapped(point.attributes) | about
        instance = attributes.pop("dataSourceInstanceName", None) or attributes.pop("wildValue", None)
        ns = point.time_unix_nano
        ms = ns // 1_000_000
        if point.start_time_unix_nano not in (0, ns):
            attributes["otlp.startTimeUnixMs"] = point.start_time_unix_nano // 1_000_000
        for suffix, extra, value in PARTS[kind](point):
            if not math.isfinite(value):
                continue
            named = attributes | extra
            if isinstance(value, int) and abs(value) > EXACT:
                named["otlp.intValue"] = str(value)
            yield {
                "instance": instance,
                "metric": metric.name + suffix,
                "unit": metric.unit or None,
                "type": kind,
                "ts": time_text(ms),
                "tsUnixMs": ms,
                "value": value,
                "attributes": dict(sorted(named.items())),
            }


def _number(point: Any) -> Iterator[Part]:
    if kind := point.WhichOneof("value"):
        yield "", {}, getattr(point, kind)


def _statistics(point: Any) -> Iterator[Part]:
    yield ".count", {}, point.count
    for name in ("sum", "min", "max"):
        if point.HasField(name):
            yield f".{name}", {}, getattr(point, name)


def _histogram(point: Any) -> Iterator[Part]:
    yield from _statistics(point)
    if point.bucket_counts:
        yield from explicit(point.bucket_counts, point.explicit_bounds)


def _exponential(point: Any) -> Iterator[Part]:
    yield from _statistics(point)
    negative, positive = ((side.offset, side.bucket_counts) for side in (point.negative, point.positive))
    yield from exponential(point.scale, negative, (point.zero_threshold, point.zero_count), positive, point.count)


def _summary(point: Any) -> Iterator[Part]:
    yield ".count", {}, point.count
    yield ".sum", {}, point.sum
    for each in point.quantile_values:
        yield ".quantile", {"quantile": number_text(each.quantile)}, each.value


PARTS: Final[dict[str, Callable[[Any], Iterator[Part]]]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}
