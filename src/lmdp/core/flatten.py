"""Bundle to rows: each datapoint becomes its rows, is dropped by rule, or is refused with its reason.

Whatever a resource's, scope's or metric's datapoints share is worked out once. A row is a tuple of the columns in the
specification's order: the promoted ones, then metric, unit, type, ts, tsUnixMs, value, and the three maps as JSON text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from msgspec import Raw, Struct

from lmdp.core import histograms
from lmdp.core.attributes import PointAttributes, ReservedKeys, map_text, map_text_around
from lmdp.core.otlp.model import (
    DataPoint,
    Gauge,
    Integer,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
    Value,
)
from lmdp.core.otlp.scalars import double, enum, read_all, signed, unsigned
from lmdp.core.promotion import Promotion, Scope, field_epoch
from lmdp.core.timestamps import Moment, epoch_ns, kafka_ns, moment
from lmdp.errors import (
    BAD_TIMESTAMP,
    DECODE_TOO_LARGE,
    MALFORMED,
    MISSING_FIELD,
    ROW_TOO_LARGE,
    DatapointError,
    MessageError,
)

Row: TypeAlias = tuple[Any, ...]
Path: TypeAlias = tuple[Any, ...]
"""The path to a datapoint: its resource's part of the message, its scope's, the metric, its data, itself."""
Known: TypeAlias = dict[tuple[bool, str], int]

EXACT_INTEGERS: Final = 2**53
"""Integers up to this are exact in a double."""

_NULL = Raw(b"null")
_NO_RECORDED_VALUE = 1  # DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_ROW_FRAME = 256  # characters of a row's keys, times and value
_WIDEST = 6  # bytes of JSON that one character can take
_SHOWN = 200  # characters of a metric's name in a reason: it may have millions
_TEMPORALITY = {
    1: "delta",
    "AGGREGATION_TEMPORALITY_DELTA": "delta",
    2: "cumulative",
    "AGGREGATION_TEMPORALITY_CUMULATIVE": "cumulative",
}
_METRIC = -9  # where a row has its name: the columns behind the promoted ones are always the same
_DERIVED: Final[tuple[tuple[str, str, Callable[[Any], Iterator[histograms.Part]]], ...]] = (
    ("histogram", "histogram", histograms.histogram),
    ("exponentialHistogram", "exponential_histogram", histograms.exponential_histogram),
    ("summary", "summary", histograms.summary),
)


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """The sizes that one message and one row may have, and how a row is measured exactly: `measure(row, known=…)`."""

    message_bytes: int
    row_bytes: int
    measure: Callable[..., int]


@dataclass(frozen=True, slots=True)
class RefusedDatapoint:
    """A datapoint that was refused, and the path to it."""

    path: Path
    error: DatapointError


class Flat(Struct, gc=False):
    """The rows of one message, its refused datapoints, and its counts."""

    rows: list[Row] = []
    refused: list[RefusedDatapoint] = []
    datapoints: int = 0
    converted: int = 0
    no_recorded_value: int = 0
    non_finite: int = 0
    exemplars: int = 0
    unknown_data: int = 0  # metrics with none of the five kinds of data
    size: int = 0  # characters of the rows, as JSON, and rather more than fewer
    measured: int = 0  # how many of the rows are in `bytes`
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Series:
    """The values that the datapoints of one metric share, where several rows come from each."""

    scope: Scope
    name: str
    unit: str | None
    kind: str
    reserved: ReservedKeys
    missing: str  # why a required column has no value; empty where all have
    path: Path


def flatten(bundle: MetricsData, promotion: Promotion, limits: SizeLimits, timestamp: int | None = None) -> Flat:
    """Flatten one message; `timestamp` is Kafka's, in milliseconds.

    Raises MessageError where the message as a whole cannot be read, or makes more than the limits allow.
    """
    walk = _Walk(promotion, limits, timestamp)
    for resource_metrics in bundle.resourceMetrics or ():
        resource = promotion.resource(resource_metrics.resource)
        for scope_metrics in resource_metrics.scopeMetrics or ():
            scope = promotion.scope(scope_metrics.scope, resource)
            for metric in scope_metrics.metrics or ():
                try:
                    walk.metric(scope, (resource_metrics, scope_metrics, metric))
                except MessageError as refused:
                    raise _in_metric(metric, refused) from None
    return walk.flat


def _in_metric(metric: Metric, refused: MessageError) -> MessageError:
    """Return the refusal with the metric's name, where the message cannot be read."""
    if refused.code != MALFORMED:
        return refused
    return MessageError(MALFORMED, f"metric {(metric.name or '')[:_SHOWN]!r}: {refused.text}")


class _Walk:
    """One message that is being flattened."""

    __slots__ = ("_largest_row", "_most", "flat", "known", "limits", "promotion", "reasons", "times", "timestamp")

    def __init__(self, promotion: Promotion, limits: SizeLimits, timestamp: int | None) -> None:
        self.flat = Flat()
        self.promotion = promotion
        self.limits = limits
        self.timestamp = timestamp
        self.times: dict[Integer, Moment] = {}
        # Beyond so many characters a row, and the message, are measured exactly.
        self._largest_row = limits.row_bytes // _WIDEST
        self._most = limits.message_bytes // _WIDEST
        self.known: Known = {}  # bytes of long texts that many rows share
        self.reasons: dict[tuple[str, str], DatapointError] = {}

    def metric(self, scope: Scope, path: Path) -> None:
        """Flatten the datapoints of the last in `path`."""
        metric = path[2]
        if metric.gauge is not None:
            self.numbers(scope, path, "gauge", metric.gauge, _NOTHING)
        if metric.sum is not None:
            total = metric.sum
            self.numbers(scope, path, "sum", total, _of_sum(bool(total.isMonotonic), total.aggregationTemporality))
        if metric.histogram is not None or metric.exponentialHistogram is not None or metric.summary is not None:
            for name, kind, parts in _DERIVED:
                data = getattr(metric, name)
                if data is not None and data.dataPoints:
                    self.several(self._series(scope, path, kind, data), data.dataPoints, parts)
        elif metric.gauge is None and metric.sum is None:
            self.flat.unknown_data += 1

    def numbers(self, scope: Scope, path: Path, kind: str, data: Gauge | Sum, reserved: ReservedKeys) -> None:
        """Flatten a gauge or sum: one row a datapoint. The common case is inline, for speed; the rest is called."""
        points = data.dataPoints or ()
        flat, metric = self.flat, path[2]
        shared, maps, size, _ = scope
        name, unit = metric.name or "", metric.unit or None
        missing = shared.missing if name else self._unnamed(scope)
        size += _ROW_FRAME + len(name) + (len(unit) if unit else 0)
        attributes_of, time_of, keep = self.promotion.datapoint, self.times.get, self.keep
        converted = 0
        for point in points:
            value, time = point.asDouble, point.timeUnixNano
            if value.__class__ is not float or point.flags is not None:
                value = _number(point)
            if value is None or value - value != 0:
                self._no_row(point, value)
                continue
            try:
                own = attributes_of(point.attributes)
                columns = own.promoted
                if missing or None in columns:
                    columns = self._with_fallback(scope, columns, missing)
                at = time_of(time) or self._time(scope, time)
                given = point.startTimeUnixNano
                start = None if given is None or given == time else _start(given, at)
                if -EXACT_INTEGERS <= value <= EXACT_INTEGERS:
                    is_written = reserved is own.reserved and start == own.start
                    attributes = own.written if is_written else own.text(reserved, start)
                else:
                    attributes = _with_exact(own, reserved, start, value)
                row = (*shared.columns, *columns, name, unit, kind, at.text, at.ms, value, attributes, *maps)
                keep(row, size + own.size + len(attributes))
            except DatapointError as refused:
                self._failed((*path, data), point, refused)
                continue
            converted += 1
            if point.exemplars:
                flat.exemplars += _given(point.exemplars)
        flat.datapoints += len(points)
        flat.converted += converted

    def _no_row(self, point: NumberDataPoint, value: float | None) -> None:
        """Count a datapoint that is dropped by rule."""
        self._check(point)
        if value is None:
            self.flat.no_recorded_value += 1
        else:  # NaN or infinite
            self.flat.non_finite += 1
            self.flat.converted += 1
        self.flat.exemplars += _given(point.exemplars or [])

    def _series(self, scope: Scope, path: Path, kind: str, data: Any) -> _Series:
        metric = path[2]
        name = metric.name or ""
        missing = scope.shared.missing if name else self._unnamed(scope)
        reserved = _NOTHING if kind == "summary" else _of_histogram(data.aggregationTemporality)
        return _Series(scope, name, metric.unit or None, kind, reserved, missing, (*path, data))

    def _unnamed(self, scope: Scope) -> str:
        """Return why a metric without a name makes no rows; empty where the specification allows it."""
        missing = f"{self.promotion.metric.name}: the metric has no name" if self.promotion.metric.required else ""
        return "; ".join(filter(None, (scope.shared.missing, missing)))

    def several(self, series: _Series, points: list[Any], parts: Callable[[Any], Iterator[histograms.Part]]) -> None:
        """Flatten a histogram or summary: several rows a datapoint, all of them or none."""
        flat = self.flat
        flat.datapoints += len(points)
        for point in points:
            if unsigned(point.flags, "flags") & _NO_RECORDED_VALUE:
                self._check(point)
                flat.no_recorded_value += 1
            else:
                before = len(flat.rows), flat.size, flat.measured, flat.bytes
                try:
                    flat.non_finite += self._rows(series, point, parts)
                except DatapointError as refused:
                    kept, flat.size, flat.measured, flat.bytes = before
                    del flat.rows[kept:]
                    self._failed(series.path, point, refused)
                    continue
                flat.converted += 1
            exemplars = getattr(point, "exemplars", None)
            if exemplars:
                flat.exemplars += _given(exemplars)

    def _check(self, point: DataPoint) -> None:
        """Refuse the message for what is broken in a datapoint, though it makes no row."""
        self.promotion.datapoint(point.attributes)
        read_all(point)

    def _failed(self, path: Path, point: DataPoint, refused: DatapointError) -> None:
        self._check(point)
        # One exception a reason, and no traceback: its frames would be a kilobyte a datapoint.
        kept = self.reasons.setdefault((refused.code, refused.text), refused.with_traceback(None))
        self.flat.refused.append(RefusedDatapoint((*path, point), kept))

    def _rows(self, series: _Series, point: Any, parts: Callable[[Any], Iterator[histograms.Part]]) -> int:
        """Add the rows of one datapoint; returns how many were not finite."""
        scope, name, reserved = series.scope, series.name, series.reserved
        own = self.promotion.datapoint(point.attributes)
        columns = own.promoted
        if series.missing or None in columns:
            columns = self._with_fallback(scope, columns, series.missing)
        at = self.times.get(point.timeUnixNano) or self._time(scope, point.timeUnixNano)
        size = _ROW_FRAME + scope.size + len(name) + len(series.unit or "") + own.size
        base = own.values | reserved.since(_start(point.startTimeUnixNano, at))
        plain = map_text(base)
        around: dict[str, tuple[str, str]] = {}  # the map's text around the label, by the label's key
        non_finite = 0
        for suffix, value, key, label in parts(point):
            if value - value != 0:
                non_finite += 1
                continue
            attributes = plain
            if isinstance(value, int) and abs(value) > EXACT_INTEGERS:
                attributes = map_text(base | ({key: label} if key else {}) | _exact(value))
            elif key:
                if key not in around:
                    around[key] = map_text_around(base, key)
                attributes = f'"{label}"'.join(around[key])
            made = name + suffix, series.unit, series.kind, at.text, at.ms, value, attributes
            self.keep((*scope.shared.columns, *columns, *made, *scope.maps), size + len(attributes))
        return non_finite

    def _with_fallback(self, scope: Scope, own: tuple[str | None, ...], missing: str) -> tuple[str | None, ...]:
        """Return the datapoint columns, else the scope's for them. Raises DatapointError where one is missing."""
        columns = tuple(one or other for one, other in zip(own, scope.shared.fallback, strict=True))
        missing = missing or self.promotion.missing(columns)
        if missing:
            raise DatapointError(MISSING_FIELD, missing)
        return columns

    def _time(self, scope: Scope, given: Integer) -> Moment:
        ns = unsigned(given, "timeUnixNano")
        if ns == 0:
            return moment(self._default_ns(scope))
        found = self.times[given] = moment(ns)
        return found

    def _default_ns(self, scope: Scope) -> int:
        attribute, field = scope.epochs
        for ns in (epoch_ns(attribute), epoch_ns(field_epoch(field)), kafka_ns(self.timestamp)):
            if ns is not None:
                return ns
        raise DatapointError(BAD_TIMESTAMP, "ts: no timeUnixNano, no epoch in the scope, and no Kafka timestamp")

    def keep(self, row: Row, size: int) -> None:
        """Add a row of so many characters in its columns; raises where it, or the message, is too large."""
        flat = self.flat
        if size > self._largest_row and self.limits.measure(row, known=self.known) > self.limits.row_bytes:
            shown = row[_METRIC][:_SHOWN]
            raise DatapointError(ROW_TOO_LARGE, f"a row of {shown} is larger than {self.limits.row_bytes:,} bytes")
        flat.rows.append(row)
        flat.size += size
        if flat.size > self._most:
            self._measure()

    def _measure(self) -> None:
        """Measure the rows exactly, each once: what could be too large may not be."""
        flat, limit = self.flat, self.limits.message_bytes
        flat.bytes += sum(map(self.limits.measure, flat.rows[flat.measured :]))
        flat.measured = len(flat.rows)
        if flat.bytes > limit:
            reason = f"its rows would take more than {limit:,} bytes (limit: LMDP_MAX_MESSAGE_ROW_BYTES)"
            raise MessageError(DECODE_TOO_LARGE, reason)


def _number(point: NumberDataPoint) -> int | float | None:
    """Return the value of a gauge or sum; None where it has none."""
    if point.flags is not None and unsigned(point.flags, "flags") & _NO_RECORDED_VALUE:
        return None
    if point.asDouble is not None:
        return double(point.asDouble, "asDouble")
    return None if point.asInt is None else signed(point.asInt, "asInt")


def _given(exemplars: list[Raw]) -> int:
    """Return how many there are; null is none."""
    return len(exemplars) - exemplars.count(_NULL)


def _with_exact(own: PointAttributes, reserved: ReservedKeys, start: int | None, value: float) -> str:
    """Return the attributes of a gauge or sum whose integer a double may not hold."""
    exact = _exact(value) if isinstance(value, int) else {}
    return map_text(own.values | reserved.since(start) | exact)


def _start(given: Integer, at: Moment) -> int | None:
    """Return the start of a datapoint's time span, in ms since 1970; None where it has none."""
    ns = unsigned(given, "startTimeUnixNano")
    return None if ns in (0, at.ns) else ns // 1_000_000


def _exact(value: int) -> dict[str, Value]:
    return {"otlp.intValue": str(value)}


_NOTHING = ReservedKeys({})


@functools.lru_cache(maxsize=64)
def _of_sum(is_monotonic: bool, temporality: Integer) -> ReservedKeys:  # noqa: FBT001 - a key of the cache
    return ReservedKeys({"otlp.monotonic": is_monotonic, **_of_histogram(temporality).values})


@functools.lru_cache(maxsize=64)
def _of_histogram(temporality: Integer) -> ReservedKeys:
    given = _TEMPORALITY.get(enum(temporality))
    return ReservedKeys({"otlp.temporality": given} if given else {})
