"""Bundle to rows: each datapoint becomes its rows, is dropped by rule, or is refused with its reason.

What is the same for a resource, a scope or a metric is worked out once for it. A row is a tuple of the columns in the
specification's order: the promoted ones, then metric, unit, type, ts, tsUnixMs, value, and the three maps as JSON text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from lmdp import derived
from lmdp.attributes import Digest, Members, around, merged, text
from lmdp.otlp.model import (
    Data,
    DataPoint,
    Integer,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from lmdp.otlp.numbers import double, read_all, signed, unsigned
from lmdp.refusals import (
    BAD_TIMESTAMP,
    DECODE_TOO_LARGE,
    MISSING_FIELD,
    ROW_TOO_LARGE,
    PointRefused,
    Refused,
)
from lmdp.rules import Rules
from lmdp.scopes import Scope, read_resource, read_scope
from lmdp.times import Moment, epoch_ns, kafka_ns, moment

Row: TypeAlias = tuple[Any, ...]

EXACT_INTEGERS: Final = 2**53
"""Integers up to this are exact in a double."""

_NO_RECORDED_VALUE = 1  # DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_ROW_FRAME = 256  # characters of a row's keys, times and value
_WIDEST = 6  # bytes of JSON that one character can take
_TEMPORALITY = {
    1: "delta",
    "AGGREGATION_TEMPORALITY_DELTA": "delta",
    2: "cumulative",
    "AGGREGATION_TEMPORALITY_CUMULATIVE": "cumulative",
}
_KINDS: Final[tuple[tuple[str, str, Callable[[Any], Iterator[derived.Part]] | None], ...]] = (
    ("gauge", "gauge", None),
    ("sum", "sum", None),
    ("histogram", "histogram", derived.histogram),
    ("exponentialHistogram", "exponential_histogram", derived.exponential_histogram),
    ("summary", "summary", derived.summary),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message and one row may take, and how a row is measured exactly: `row_bytes(row)`."""

    message_bytes: int
    row_bytes: int
    measure: Callable[[Row], int]


@dataclass(frozen=True, slots=True)
class Failure:
    """A datapoint that was refused, and the way to it."""

    path: tuple[ResourceMetrics, ScopeMetrics, Metric, Data, DataPoint]
    refused: PointRefused


@dataclass(slots=True)
class Flat:
    """What one message becomes."""

    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    datapoints: int = 0
    converted: int = 0
    no_recorded_value: int = 0
    non_finite: int = 0
    exemplars: int = 0
    size: int = 0  # characters of the rows, as JSON, and rather more than fewer
    measured: int = 0  # how many of the rows are in `bytes`
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Series:
    """What the datapoints of one metric share."""

    scope: Scope
    columns: tuple[str, str | None, str]  # metric, unit, type
    reserved: Members
    reserved_text: str
    missing: str
    size: int  # characters of the scope's part and of this
    path: tuple[ResourceMetrics, ScopeMetrics, Metric, Data]


def flatten(bundle: MetricsData, rules: Rules, limits: Limits, timestamp: int | None = None) -> Flat:
    """Flatten one message; `timestamp` is Kafka's, in milliseconds.

    Raises Refused where the message as a whole cannot be read, or makes more than the limits allow.
    """
    walk = _Walk(rules, limits, timestamp)
    for resource_metrics in bundle.resourceMetrics or ():
        resource = read_resource(resource_metrics.resource)
        for scope_metrics in resource_metrics.scopeMetrics or ():
            scope = read_scope(scope_metrics.scope, resource, rules)
            for metric in scope_metrics.metrics or ():
                walk.metric(scope, (resource_metrics, scope_metrics, metric))
    return walk.flat


class _Walk:
    """One message on its way to rows."""

    __slots__ = ("flat", "limits", "rules", "times", "timestamp")

    def __init__(self, rules: Rules, limits: Limits, timestamp: int | None) -> None:
        self.flat = Flat()
        self.rules = rules
        self.limits = limits
        self.timestamp = timestamp
        self.times: dict[Integer, Moment] = {}

    def metric(self, scope: Scope, path: tuple[ResourceMetrics, ScopeMetrics, Metric]) -> None:
        """Flatten the datapoints of the last in `path`."""
        metric = path[-1]
        for name, kind, parts in _KINDS:
            data = getattr(metric, name)
            if data is not None and data.dataPoints:
                series = _series(scope, metric, kind, data, (*path, data), self.rules)
                if parts is None:
                    self.numbers(series, data.dataPoints)
                else:
                    self.several(series, data.dataPoints, parts)

    def numbers(self, series: _Series, points: list[NumberDataPoint]) -> None:
        """Gauges and sums: a row a datapoint."""
        flat = self.flat
        flat.datapoints += len(points)
        for point in points:
            value = _number(point)
            if value is None:
                self._unread(point)
                flat.no_recorded_value += 1
            elif value - value != 0:  # NaN or infinite
                self._unread(point)
                flat.non_finite += 1
                flat.converted += 1
            else:
                try:
                    digest, narrow, at = self._common(series, point)
                    self._row(series, digest, narrow, at, value, _attributes(series, digest, at, point, value))
                except PointRefused as refused:
                    self._failed(series, point, refused)
                    continue
                flat.converted += 1
            if point.exemplars:
                flat.exemplars += len(point.exemplars)

    def several(self, series: _Series, points: list[Any], parts: Callable[[Any], Iterator[derived.Part]]) -> None:
        """Histograms and summaries: several rows a datapoint, all of them or none."""
        flat = self.flat
        flat.datapoints += len(points)
        for point in points:
            if unsigned(point.flags) & _NO_RECORDED_VALUE:
                self._unread(point)
                flat.no_recorded_value += 1
            else:
                before = len(flat.rows), flat.size, flat.measured, flat.bytes
                try:
                    flat.non_finite += self._rows(series, point, parts)
                except PointRefused as refused:
                    kept, flat.size, flat.measured, flat.bytes = before
                    del flat.rows[kept:]
                    self._failed(series, point, refused)
                    continue
                flat.converted += 1
            exemplars = getattr(point, "exemplars", None)
            if exemplars:
                flat.exemplars += len(exemplars)

    def _unread(self, point: DataPoint) -> None:
        """Refuse the message for what is broken in a datapoint, though it makes no row."""
        self.rules.digest(point.attributes)
        read_all(point)

    def _failed(self, series: _Series, point: DataPoint, refused: PointRefused) -> None:
        self._unread(point)
        self.flat.failures.append(Failure((*series.path, point), refused))

    def _rows(self, series: _Series, point: Any, parts: Callable[[Any], Iterator[derived.Part]]) -> int:
        """Add the rows of one datapoint; returns how many were not finite."""
        digest, narrow, at = self._common(series, point)
        base = merged(digest.members, series.reserved | _start(point, at))
        plain, places = text(base), {key: around(base, key) for key in ("le", "quantile")}
        non_finite = 0
        for suffix, value, key, label in parts(point):
            if value - value != 0:
                non_finite += 1
                continue
            attributes = plain
            if isinstance(value, int) and abs(value) > EXACT_INTEGERS:
                labelled = {key: f'"{key}":"{label}"'} if key else {}
                attributes = text(merged(base, labelled | _exact(value)))
            elif key:
                attributes = f'"{key}":"{label}"'.join(places[key])
            self._row(series, digest, narrow, at, value, attributes, suffix)
        return non_finite

    def _common(self, series: _Series, point: DataPoint) -> tuple[Digest, tuple[str | None, ...], Moment]:
        """What every datapoint needs: its attributes read, nothing required missing, and a time."""
        digest = self.rules.digest(point.attributes)
        narrow, missing = digest.promoted, series.missing
        if None in narrow:
            narrow = tuple(own or other for own, other in zip(narrow, series.scope.promoted.fallback, strict=True))
            missing = missing or self.rules.missing_narrow(narrow)
        if missing:
            raise PointRefused(MISSING_FIELD, missing)
        return digest, narrow, self._time(series.scope, point.timeUnixNano)

    def _time(self, scope: Scope, given: Integer) -> Moment:
        found = self.times.get(given)
        if found is None:
            ns = unsigned(given)
            if ns == 0:
                return moment(self._default_ns(scope))
            found = self.times[given] = moment(ns)
        return found

    def _default_ns(self, scope: Scope) -> int:
        attribute, field = scope.epochs
        for ns in (epoch_ns(attribute), epoch_ns(field), kafka_ns(self.timestamp)):
            if ns is not None:
                return ns
        raise PointRefused(BAD_TIMESTAMP, "ts: no timeUnixNano, no epoch in the scope, and no Kafka timestamp")

    def _row(
        self,
        series: _Series,
        digest: Digest,
        narrow: tuple[str | None, ...],
        at: Moment,
        value: float,
        attributes: str,
        suffix: str = "",
    ) -> None:
        """Add one row."""
        scope = series.scope
        name, unit, kind = series.columns
        row = (
            *scope.promoted.columns,
            *narrow,
            name + suffix,
            unit,
            kind,
            at.text,
            at.ms,
            value,
            attributes,
            scope.resource,
            scope.scope,
        )
        flat, limits = self.flat, self.limits
        size = series.size + digest.size + len(attributes)
        if size * _WIDEST > limits.row_bytes and limits.measure(row) > limits.row_bytes:
            raise PointRefused(ROW_TOO_LARGE, f"a row of {name + suffix} is larger than {limits.row_bytes:,} bytes")
        flat.rows.append(row)
        flat.size += size
        if flat.size * _WIDEST > limits.message_bytes:
            self._measure()

    def _measure(self) -> None:
        """Measure the rows exactly, each once: what could be too large may not be."""
        flat, limit = self.flat, self.limits.message_bytes
        flat.bytes += sum(map(self.limits.measure, flat.rows[flat.measured :]))
        flat.measured = len(flat.rows)
        if flat.bytes > limit:
            raise Refused(DECODE_TOO_LARGE, f"its rows would take more than {limit:,} bytes")


def _series(
    scope: Scope,
    metric: Metric,
    kind: str,
    data: Any,
    path: tuple[ResourceMetrics, ScopeMetrics, Metric, Data],
    rules: Rules,
) -> _Series:
    reserved: Members = {}
    if kind == "sum":
        reserved["otlp.monotonic"] = f'"otlp.monotonic":{"true" if data.isMonotonic else "false"}'
    temporality = _TEMPORALITY.get(getattr(data, "aggregationTemporality", None))
    if temporality:
        reserved["otlp.temporality"] = f'"otlp.temporality":"{temporality}"'
    missing = [scope.promoted.missing] if scope.promoted.missing else []
    if not metric.name and rules.metric.required:
        missing.append(f"{rules.metric.name}: the metric has no name")
    return _Series(
        scope=scope,
        columns=(metric.name or "", metric.unit or None, kind),
        reserved=reserved,
        reserved_text=",".join(reserved.values()),
        missing="; ".join(missing),
        size=scope.size + len(metric.name or "") + len(metric.unit or "") + _ROW_FRAME,
        path=path,
    )


def _number(point: NumberDataPoint) -> int | float | None:
    """The value of a gauge or sum; None where it has none."""
    if point.flags is not None and unsigned(point.flags) & _NO_RECORDED_VALUE:
        return None
    if point.asDouble is not None:
        return double(point.asDouble)
    return None if point.asInt is None else signed(point.asInt)


def _attributes(series: _Series, digest: Digest, at: Moment, point: NumberDataPoint, value: float) -> str:
    """The attributes of a gauge or sum, with the reserved keys."""
    reserved, joined = series.reserved, series.reserved_text
    if point.startTimeUnixNano is not None and point.startTimeUnixNano != point.timeUnixNano:
        reserved = reserved | _start(point, at)
    if isinstance(value, int) and abs(value) > EXACT_INTEGERS:
        reserved = reserved | _exact(value)
    if reserved is not series.reserved:
        joined = ",".join(sorted(reserved.values()))
    if not joined:
        return digest.text
    split = digest.split
    return text(merged(digest.members, reserved)) if split is None else joined.join(split)


def _start(point: DataPoint, at: Moment) -> Members:
    ns = unsigned(point.startTimeUnixNano)
    return {} if ns in (0, at.ns) else {"otlp.startTimeUnixMs": f'"otlp.startTimeUnixMs":{ns // 1_000_000}'}


def _exact(value: int) -> Members:
    return {"otlp.intValue": f'"otlp.intValue":"{value}"'}
