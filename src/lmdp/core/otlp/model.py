"""OTLP metrics as msgspec structs, named as in OTLP/JSON.

https://github.com/open-telemetry/opentelemetry-proto/blob/v1.0.0/opentelemetry/proto/metrics/v1/metrics.proto

Numbers stay as they came (`Integer`, `Double`): whoever needs one reads it, once. Attributes stay JSON text as long as
nobody asks, because most messages repeat the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import UNSET, Raw, Struct, UnsetType

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
"""An attribute's value in Python's types; an empty value is None."""

Integer: TypeAlias = int | str | None
Double: TypeAlias = float | str | None

if TYPE_CHECKING:
    # JSON text of a list of key-values or, from protobuf, each one's bytes. msgspec knows only the first.
    Attributes: TypeAlias = Raw | tuple[bytes, ...]
else:
    Attributes = Raw

NO_ATTRIBUTES = Raw(b"[]")
NO_EPOCH = Raw(b"null")
NOT_READ = Raw(b"null")
"""Fields of OTLP that no row shows."""
NO_EXEMPLAR = Raw(b"{}")


class Compact(Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Writes only what was given, so that a part of a message is again a message.

    A message is a tree, so that the garbage collector need not follow it. An unknown field is refused here, since it
    may be a known one in its other spelling: the lenient reader looks at it.
    """


class NumberDataPoint(Compact):
    attributes: Attributes = NO_ATTRIBUTES
    startTimeUnixNano: Integer = None
    timeUnixNano: Integer = None
    asDouble: Double = None
    asInt: Integer = None
    exemplars: list[Raw] | None = None
    flags: Integer = None


class HistogramDataPoint(Compact):
    attributes: Attributes = NO_ATTRIBUTES
    startTimeUnixNano: Integer = None
    timeUnixNano: Integer = None
    count: Integer = None
    sum: Double = None
    bucketCounts: list[int | str] | None = None
    explicitBounds: list[float | str] | None = None
    exemplars: list[Raw] | None = None
    flags: Integer = None
    min: Double = None
    max: Double = None


class Buckets(Compact):
    offset: Integer = None
    bucketCounts: list[int | str] | None = None


class ExponentialHistogramDataPoint(Compact):
    attributes: Attributes = NO_ATTRIBUTES
    startTimeUnixNano: Integer = None
    timeUnixNano: Integer = None
    count: Integer = None
    sum: Double = None
    scale: Integer = None
    zeroCount: Integer = None
    positive: Buckets | None = None
    negative: Buckets | None = None
    flags: Integer = None
    exemplars: list[Raw] | None = None
    min: Double = None
    max: Double = None
    zeroThreshold: Double = None


class ValueAtQuantile(Compact):
    quantile: Double = None
    value: Double = None


class SummaryDataPoint(Compact):
    attributes: Attributes = NO_ATTRIBUTES
    startTimeUnixNano: Integer = None
    timeUnixNano: Integer = None
    count: Integer = None
    sum: Double = None
    quantileValues: list[ValueAtQuantile] | None = None
    flags: Integer = None


class Gauge(Compact):
    dataPoints: list[NumberDataPoint] | None = None


class Sum(Compact):
    dataPoints: list[NumberDataPoint] | None = None
    aggregationTemporality: Integer = None
    isMonotonic: bool | None = None


class Histogram(Compact):
    dataPoints: list[HistogramDataPoint] | None = None
    aggregationTemporality: Integer = None


class ExponentialHistogram(Compact):
    dataPoints: list[ExponentialHistogramDataPoint] | None = None
    aggregationTemporality: Integer = None


class Summary(Compact):
    dataPoints: list[SummaryDataPoint] | None = None


class Metric(Compact):
    name: str | None = None
    description: str | None = None
    unit: str | None = None
    gauge: Gauge | None = None
    sum: Sum | None = None
    histogram: Histogram | None = None
    exponentialHistogram: ExponentialHistogram | None = None
    summary: Summary | None = None
    metadata: Raw = NOT_READ


class InstrumentationScope(Compact):
    name: str | None = None
    version: str | None = None
    attributes: Attributes = NO_ATTRIBUTES
    epoch: Raw = NO_EPOCH  # not OTLP; some senders put the poll's time here
    droppedAttributesCount: Raw = NOT_READ


class ScopeMetrics(Compact):
    scope: InstrumentationScope | None = None
    metrics: list[Metric] | None = None
    schemaUrl: str | None = None


class Resource(Compact):
    attributes: Attributes = NO_ATTRIBUTES
    droppedAttributesCount: Raw = NOT_READ
    entityRefs: Raw = NOT_READ


class ResourceMetrics(Compact):
    resource: Resource | None = None
    scopeMetrics: list[ScopeMetrics] | None = None
    schemaUrl: str | None = None


class MetricsData(Compact):
    resourceMetrics: list[ResourceMetrics] | UnsetType | None = UNSET


DataPoint: TypeAlias = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint
