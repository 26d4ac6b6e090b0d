"""OTLP protobuf into the same structs that OTLP/JSON becomes.

Attributes stay bytes, as they stay text in JSON: most messages repeat the same ones, and to read one takes longer than
to read the number that it belongs to. The messages' classes are made of OTLP's own files, where `attributes` is called
bytes: the same on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1 import resource_pb2

from lmdp.core.otlp import model
from lmdp.core.otlp.formats import outdated
from lmdp.core.otlp.memory_estimate import check_protobuf_memory
from lmdp.core.otlp.scalars import written
from lmdp.errors import MALFORMED, NOT_METRICS, TOO_DEEP, MessageError

# Fields that OTLP had: https://github.com/open-telemetry/opentelemetry-proto, metrics.proto of v0.7.0 and v0.15.0.
_LABELS = 1  # of a datapoint
_INSTRUMENTATION_LIBRARY_METRICS = 1000  # of a resource, where it was written next to scopes

_LENGTH_DELIMITED = 2  # https://protobuf.dev/programming-guides/encoding/#structure


def _with_attributes_as_bytes() -> Any:
    """Return the class of MetricsData in which attributes are not read."""
    pool = DescriptorPool()
    for known in (common_pb2, resource_pb2, metrics_pb2):
        file = FileDescriptorProto.FromString(known.DESCRIPTOR.serialized_pb)
        pending: list[DescriptorProto] = list(file.message_type)
        while pending:
            kind = pending.pop()
            pending += kind.nested_type
            for field in kind.field:
                if field.name == "attributes":
                    field.type = FieldDescriptorProto.TYPE_BYTES
                    field.ClearField("type_name")
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(metrics_pb2.MetricsData.DESCRIPTOR.full_name))


_Metrics = _with_attributes_as_bytes()


def decode_protobuf(data: bytes, memory: int) -> model.MetricsData:
    """Read a metrics request, where that takes `memory` bytes at most.

    Raises MessageError where it could take more, is none, or is none of metrics.
    """
    check_protobuf_memory(data, memory, metrics_pb2.MetricsData.DESCRIPTOR)
    message = _Metrics()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise _unreadable(error, "neither OTLP/JSON (no leading brace) nor OTLP protobuf: ") from error
    if not message.resource_metrics:
        raise MessageError(NOT_METRICS, "protobuf without resource_metrics")
    bundle = model.MetricsData([_resource_metrics(part) for part in message.resource_metrics])
    if not _has_points(message) and _has_unknown(message):
        raise MessageError(
            NOT_METRICS, "no datapoint in it could be read, and it has fields that OTLP 1.0 does not know"
        )
    return bundle


def _has_points(message: Any) -> bool:
    for part in message.resource_metrics:
        for scope in part.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind and getattr(metric, kind).data_points:
                    return True
    return False


def _has_unknown(message: Any) -> bool:
    """Return whether `message`, or one in it, has an unknown field that can hold messages, and is not empty."""
    if _holds_unknown(message):
        return True
    inner = ((field, value) for field, value in message.ListFields() if field.message_type is not None)
    return any(_has_unknown(each) for field, value in inner for each in (value if field.is_repeated else [value]))


def _holds_unknown(message: Any) -> bool:
    """Return whether `message` itself has such a field."""
    unknown = any(field.wire_type == _LENGTH_DELIMITED and field.data for field in UnknownFieldSet(message))
    return unknown or _is_other(message)


def _lost(message: Any) -> list[model.Metric]:
    """Return what stands for the metrics of `message` where an unknown field held them: it is counted."""
    return [model.Metric()] if _holds_unknown(message) else []


def _is_other(message: Any) -> bool:
    """Return whether `message` is of another kind: a known field came with another type, as a log record's time."""
    known = message.DESCRIPTOR.fields_by_number
    return any(field.field_number in known for field in UnknownFieldSet(message))


def _has(message: Any, number: int) -> bool:
    """Return whether `message` has an unknown field of that number with something in it."""
    return any(field.field_number == number and field.data for field in UnknownFieldSet(message))


def _resource_metrics(part: Any) -> model.ResourceMetrics:
    if not part.scope_metrics and _has(part, _INSTRUMENTATION_LIBRARY_METRICS):
        raise MessageError(NOT_METRICS, outdated("instrumentationLibraryMetrics"))
    return model.ResourceMetrics(
        model.Resource(tuple(part.resource.attributes)),
        [_scope_metrics(scope) for scope in part.scope_metrics]
        or [model.ScopeMetrics(None, lost) for lost in [_lost(part)] if lost],
        _text(part.schema_url) or None,
    )


def _scope_metrics(part: Any) -> model.ScopeMetrics:
    scope = part.scope
    return model.ScopeMetrics(
        model.InstrumentationScope(_text(scope.name), _text(scope.version), tuple(scope.attributes)),
        [_metric(metric) for metric in part.metrics] or _lost(part),
        _text(part.schema_url) or None,
    )


def _metric(metric: Any) -> model.Metric:
    if not metric.name and _is_other(metric):
        raise MessageError(NOT_METRICS, "protobuf that is not metrics, though it is like them down to the scopes")
    made = model.Metric(_text(metric.name), _text(metric.description) or None, _text(metric.unit))
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind or "gauge")
    if not data.data_points and _holds_unknown(data):
        return made
    if kind == "gauge":
        made.gauge = model.Gauge([_number(point) for point in data.data_points])
    elif kind == "sum":
        points = [_number(point) for point in data.data_points]
        made.sum = model.Sum(points, data.aggregation_temporality or None, data.is_monotonic)
    elif kind == "histogram":
        made.histogram = model.Histogram(
            [_histogram(point) for point in data.data_points], data.aggregation_temporality or None
        )
    elif kind == "exponential_histogram":
        made.exponentialHistogram = model.ExponentialHistogram(
            [_exponential(point) for point in data.data_points], data.aggregation_temporality or None
        )
    elif kind == "summary":
        made.summary = model.Summary([_summary(point) for point in data.data_points])
    return made


def _number(point: Any) -> model.NumberDataPoint:
    number = point.as_double
    which = "as_double" if number else point.WhichOneof("value")
    return model.NumberDataPoint(
        _attributes(point),
        point.start_time_unix_nano or None,
        point.time_unix_nano or None,
        number if which == "as_double" else None,
        point.as_int if which == "as_int" else None,
        _exemplars(point),
        point.flags or None,
    )


def _histogram(point: Any) -> model.HistogramDataPoint:
    return model.HistogramDataPoint(
        _attributes(point),
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
        tuple(point.attributes),
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
        _attributes(point),
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


def _attributes(point: Any) -> tuple[bytes, ...]:
    attributes = tuple(point.attributes)
    if not attributes and _has(point, _LABELS):
        raise MessageError(NOT_METRICS, outdated("labels"))
    return attributes


def key_values(attributes: Iterable[bytes]) -> list[tuple[str, model.Value]]:
    """Read serialized KeyValues. Raises MessageError where one is none."""
    try:
        items = map(common_pb2.KeyValue.FromString, attributes)
        return [(_text(item.key), _value(item.value)) for item in items]
    except DecodeError as error:
        raise _unreadable(error) from error


def _unreadable(error: DecodeError, before: str = "") -> MessageError:
    return MessageError(MALFORMED, TOO_DEEP if "MaxDepth" in str(error) else f"{before}{error}")


def _value(value: Any) -> model.Value:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {_text(item.key): _value(item.value) for item in value.kvlist_value.values}
    if kind == "string_value":
        return _text(value.string_value)
    if kind is None or kind not in _SCALARS:
        return None
    made: model.Value = getattr(value, kind)
    return made


def _text(given: str) -> str:
    return given.replace("\0", "") if "\0" in given else given


_SCALARS = frozenset({"bool_value", "int_value", "double_value", "bytes_value"})


def shape(data: bytes, memory: int) -> str:
    """The name of the OTLP message that `data` is when it is no MetricsData; empty where it is none."""
    from opentelemetry.proto.logs.v1 import logs_pb2  # noqa: PLC0415 - only where something was refused
    from opentelemetry.proto.trace.v1 import trace_pb2  # noqa: PLC0415

    for kind, path in (
        (logs_pb2.LogsData, ("resource_logs", "scope_logs", "log_records")),
        (trace_pb2.TracesData, ("resource_spans", "scope_spans", "spans")),
        (metrics_pb2.ResourceMetrics, ("scope_metrics", "metrics")),
        (metrics_pb2.ScopeMetrics, ("metrics",)),
        (metrics_pb2.Metric, ()),
    ):
        message: Any = kind()
        try:
            check_protobuf_memory(data, memory, kind.DESCRIPTOR)
            message.ParseFromString(data)
        except (DecodeError, MessageError):
            continue
        message.DiscardUnknownFields()
        if message.ByteSize() == len(data) and _reaches(message, path):
            return str(kind.DESCRIPTOR.name)
    return ""


def _reaches(message: Any, path: tuple[str, ...]) -> bool:
    """Return whether there is something at the end of the path."""
    if path:
        return any(_reaches(each, path[1:]) for each in getattr(message, path[0]))
    return not isinstance(message, metrics_pb2.Metric) or message.WhichOneof("data") is not None
