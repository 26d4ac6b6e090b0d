"""OTLP protobuf into the same structs that OTLP/JSON becomes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1 import metrics_pb2

from lmdp.otlp import model
from lmdp.otlp.numbers import written
from lmdp.otlp.weight import weigh_protobuf
from lmdp.refusals import MALFORMED, NOT_METRICS, Refused


def decode_protobuf(data: bytes, memory: int) -> model.MetricsData:
    """Read a metrics request, where that takes `memory` bytes at most.

    Raises Refused where it could take more, is none, or is none of metrics.
    """
    weigh_protobuf(data, memory, metrics_pb2.MetricsData.DESCRIPTOR)
    message = metrics_pb2.MetricsData()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Refused(MALFORMED, f"neither OTLP/JSON (no leading brace) nor OTLP protobuf: {error}") from error
    if not message.resource_metrics:
        raise Refused(NOT_METRICS, "protobuf without resource_metrics")
    bundle = model.MetricsData([_resource_metrics(part) for part in message.resource_metrics])
    if not _has_data(message) and _has_unknown(message, len(data)):
        raise Refused(NOT_METRICS, "protobuf without metrics; logs and traces look like this")
    return bundle


def _has_data(message: Any) -> bool:
    scopes = (scope for part in message.resource_metrics for scope in part.scope_metrics)
    return any(metric.WhichOneof("data") for scope in scopes for metric in scope.metrics)


def _has_unknown(message: Any, size: int) -> bool:
    message.DiscardUnknownFields()
    return bool(message.ByteSize() != size)


def _resource_metrics(part: Any) -> model.ResourceMetrics:
    return model.ResourceMetrics(
        model.Resource(_pairs(part.resource.attributes)),
        [_scope_metrics(scope) for scope in part.scope_metrics],
        part.schema_url or None,
    )


def _scope_metrics(part: Any) -> model.ScopeMetrics:
    scope = part.scope
    return model.ScopeMetrics(
        model.InstrumentationScope(scope.name, scope.version, _pairs(scope.attributes)),
        [_metric(metric) for metric in part.metrics],
        part.schema_url or None,
    )


def _metric(metric: Any) -> model.Metric:
    made = model.Metric(metric.name, metric.description or None, metric.unit)
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        made.gauge = model.Gauge([_number(point) for point in metric.gauge.data_points])
    elif kind == "sum":
        data = metric.sum
        points = [_number(point) for point in data.data_points]
        made.sum = model.Sum(points, data.aggregation_temporality or None, data.is_monotonic)
    elif kind == "histogram":
        data = metric.histogram
        made.histogram = model.Histogram(
            [_histogram(p) for p in data.data_points], data.aggregation_temporality or None
        )
    elif kind == "exponential_histogram":
        data = metric.exponential_histogram
        made.exponentialHistogram = model.ExponentialHistogram(
            [_exponential(point) for point in data.data_points], data.aggregation_temporality or None
        )
    elif kind == "summary":
        made.summary = model.Summary([_summary(point) for point in metric.summary.data_points])
    return made


def _number(point: Any) -> model.NumberDataPoint:
    number = point.as_double
    which = "as_double" if number else point.WhichOneof("value")
    return model.NumberDataPoint(
        _pairs(point.attributes),
        point.start_time_unix_nano or None,
        point.time_unix_nano or None,
        number if which == "as_double" else None,
        point.as_int if which == "as_int" else None,
        _exemplars(point),
        point.flags or None,
    )


def _histogram(point: Any) -> model.HistogramDataPoint:
    return model.HistogramDataPoint(
        _pairs(point.attributes),
        point.start_time_unix_nano or None,
        point.time_unix_nano or None,
        point.count or None,
        _optional(point, "sum"),
        list(point.bucket_counts) or None,
        [written(bound) for bound in point.explicit_bounds] or None,
        _exemplars(point),
        point.flags or None,
        _optional(point, "min"),
        _optional(point, "max"),
    )


def _exponential(point: Any) -> model.ExponentialHistogramDataPoint:
    return model.ExponentialHistogramDataPoint(
        _pairs(point.attributes),
        point.start_time_unix_nano or None,
        point.time_unix_nano or None,
        point.count or None,
        _optional(point, "sum"),
        point.scale or None,
        point.zero_count or None,
        _buckets(point, "positive"),
        _buckets(point, "negative"),
        point.flags or None,
        _exemplars(point),
        _optional(point, "min"),
        _optional(point, "max"),
        written(point.zero_threshold),
    )


def _buckets(point: Any, name: str) -> model.Buckets | None:
    if not point.HasField(name):
        return None
    buckets = getattr(point, name)
    return model.Buckets(buckets.offset or None, list(buckets.bucket_counts) or None)


def _summary(point: Any) -> model.SummaryDataPoint:
    return model.SummaryDataPoint(
        _pairs(point.attributes),
        point.start_time_unix_nano or None,
        point.time_unix_nano or None,
        point.count or None,
        written(point.sum),
        [model.ValueAtQuantile(written(each.quantile), written(each.value)) for each in point.quantile_values] or None,
        point.flags or None,
    )


def _optional(point: Any, name: str) -> model.Double:
    return written(getattr(point, name)) if point.HasField(name) else None


def _exemplars(point: Any) -> list[Any] | None:
    # They make no rows and are only counted, so that a place for each is enough.
    return [model.NO_EXEMPLAR] * len(point.exemplars) or None


def _pairs(attributes: Iterable[Any]) -> list[tuple[str, model.Value]]:
    # Text is asked for first: it is what nearly all are, and to ask which kind one is costs as much as to read it.
    return [(item.key, item.value.string_value or _value(item.value)) for item in attributes]


def _value(value: Any) -> model.Value:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {item.key: _value(item.value) for item in value.kvlist_value.values}
    if kind is None or kind not in _SCALARS:
        return None
    made: model.Value = getattr(value, kind)
    return made


_SCALARS = frozenset({"string_value", "bool_value", "int_value", "double_value", "bytes_value"})
