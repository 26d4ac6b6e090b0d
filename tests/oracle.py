"""A second reading of the contract: plain Python over the parsed JSON, slow, and made from the contract's words alone.

It takes OTLP/JSON as `json.loads` gives it and says which rows, rejects and counts must come of it. Size limits are not
its business: it knows no bytes.
"""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

TYPES = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponentialHistogram": "exponential_histogram",
    "summary": "summary",
}
FIELDS = {"name", "description", "unit", *TYPES}
TEMPORALITY = {
    1: "delta",
    2: "cumulative",
    "AGGREGATION_TEMPORALITY_DELTA": "delta",
    "AGGREGATION_TEMPORALITY_CUMULATIVE": "cumulative",
}
DEVICE_ID = ("hostId", "host.id", "host.name", "service.instance.id", "service.name")
FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999


class MalformedError(Exception):
    """The whole message is refused."""


class NotMetricsError(Exception):
    """The whole message is refused: something was there, and nothing at all could be read."""


@dataclass
class Expected:
    """What must come of a bundle. `failed` has the code of each failed datapoint, by its place in the bundle."""

    rows: list[Json] = field(default_factory=list)
    failed: dict[tuple[int, int, int, int], str] = field(default_factory=dict)
    datapoints: int = 0
    converted: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


# --- values ----------------------------------------------------------------------------------------------------------


def integer(value: Any, low: int, high: int) -> int:
    """A 64-bit integer as number or text; absent is 0."""
    if value is None:
        return 0
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        raise MalformedError(value) from None
    if not number.is_finite() or number != int(number) or not low <= number <= high:
        raise MalformedError(value)
    return int(number)


def signed(value: Any) -> int:
    """An int64."""
    return integer(value, -(2**63), 2**63 - 1)


def unsigned(value: Any) -> int:
    """A uint64 or fixed64."""
    return integer(value, 0, 2**64 - 1)


def double(value: Any) -> float:
    """A double as number, text or name; absent is 0."""
    if value is None:
        return 0.0
    named = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    return named[value] if value in list(named) else float(value)


def attribute(value: Json | None) -> Any:
    """An AnyValue as JSON."""
    read: dict[str, Callable[[Any], Any]] = {
        "stringValue": lambda inner: inner,
        "boolValue": lambda inner: inner,
        "intValue": signed,
        "doubleValue": lambda inner: inner if inner in ("NaN", "Infinity", "-Infinity") else double(inner),
        "arrayValue": lambda inner: [attribute(item) for item in inner.get("values") or []],
        "kvlistValue": lambda inner: attributes(inner.get("values")),
        "bytesValue": lambda inner: base64.b64encode(base64.b64decode(inner)).decode(),
    }
    return next((read[kind](inner) for kind, inner in (value or {}).items() if inner is not None), None)


def attributes(pairs: list[Json] | None) -> Json:
    """A list of key-values as an object; the last of a key wins."""
    return {pair.get("key") or "": attribute(pair.get("value")) for pair in pairs or []}


def promoted(value: Any) -> str | None:
    """An attribute's value in a text column; None where it is absent, empty or no scalar."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return shortest(value)
    return value or None if isinstance(value, str) else None


def first(found: Json, *keys: str) -> tuple[str | None, str | None]:
    """The first of `keys` that has a value, and which it was."""
    return next(((promoted(found[key]), key) for key in keys if promoted(found.get(key)) is not None), (None, None))


# --- time ------------------------------------------------------------------------------------------------------------


def epoch_ns(value: Any) -> int | None:
    """A poll's epoch in nanoseconds; None where it cannot be read."""
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", str(value)):
        return None
    number = Decimal(str(value))
    if number.adjusted() > 30 or len(str(value)) > 40:  # no time, in whatever unit
        return None
    unit = 10**9 if number < 10**11 else 10**6 if number < 10**14 else 10**3 if number < 10**17 else 1
    return math.floor(number * unit)


def time_ns(point: Json, scope: Json, kafka_ms: int | None) -> int | None:
    """When a datapoint was measured."""
    given = unsigned(point.get("timeUnixNano"))
    if given:
        return given
    for epoch in (attributes(scope.get("attributes")).get("epoch"), scope.get("epoch")):
        if epoch is not None and epoch_ns(epoch) is not None:
            return epoch_ns(epoch)
    return None if kafka_ms is None or kafka_ms < 0 else kafka_ms * 10**6


def text_of(ms: int) -> str:
    """RFC 3339 in UTC."""
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=ms)  # noqa: DTZ001 - UTC by contract
    return moment.isoformat(timespec="milliseconds") + "Z"


# --- derived rows: (suffix, value, attributes of that row) ------------------------------------------------------------

Derived: TypeAlias = list[tuple[str, float, Json]]


def shortest(number: float) -> str:
    """`le` and `quantile` as text; ids, where they came as numbers."""
    named = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}
    return named.get(repr(number)) or repr(number).removesuffix(".0")


def statistics(point: Json, *, always_sum: bool = False) -> Derived:
    """Count, sum, min and max."""
    rows: Derived = [("count", unsigned(point.get("count")), {})]
    for name in ("sum", "min", "max"):
        if point.get(name) is not None or (name == "sum" and always_sum):
            rows.append((name, double(point.get(name)), {}))
    return rows


def histogram(point: Json) -> Derived | None:
    """The rows of an explicit histogram; None where buckets and bounds do not match, or bounds do not rise."""
    counts = [unsigned(count) for count in point.get("bucketCounts") or []]
    bounds = [double(bound) for bound in point.get("explicitBounds") or []]
    rows = statistics(point)
    if not counts:
        return rows
    if len(counts) != len(bounds) + 1:
        return None
    if any(not low < high for low, high in itertools.pairwise(bounds)) or any(map(math.isnan, bounds)):
        return None
    for number, bound in enumerate(bounds, start=1):
        if math.isfinite(bound):
            rows.append(("bucket", sum(counts[:number]), {"le": shortest(bound)}))
    return [*rows, ("bucket", sum(counts), {"le": "+Inf"})]


def exponential(point: Json) -> Derived | None:
    """The rows of an exponential histogram; None where the zero threshold is negative or no number."""
    scale, threshold = signed(point.get("scale")), double(point.get("zeroThreshold"))
    if math.isnan(threshold) or threshold < 0:
        return None

    def bound(index: int) -> float:
        if scale < -1000:  # the exponent itself has no double: what it would be in exact numbers
            return math.inf if index > 0 else float(index == 0)
        try:
            return float(2.0 ** (index * 2.0**-scale))
        except OverflowError:
            return math.inf

    positive, negative = point.get("positive") or {}, point.get("negative") or {}
    low = [unsigned(count) for count in negative.get("bucketCounts") or []]
    high = [unsigned(count) for count in positive.get("bucketCounts") or []]
    low_at, high_at = signed(negative.get("offset")), signed(positive.get("offset"))
    buckets = [(-bound(low_at + n), count) for n, count in enumerate(low)][::-1]
    buckets = [(threshold if -threshold < upper < 0 else upper, count) for upper, count in buckets]
    buckets.append((threshold, unsigned(point.get("zeroCount"))))
    buckets += [(max(threshold, bound(high_at + n + 1)), count) for n, count in enumerate(high)]
    rows, total = statistics(point), 0
    for number, (upper, count) in enumerate(buckets):
        total += count
        following = buckets[number + 1][0] if number + 1 < len(buckets) else math.inf
        if math.isfinite(upper) and upper != following:
            rows.append(("bucket", total, {"le": shortest(upper)}))
    return [*rows, ("bucket", unsigned(point.get("count")), {"le": "+Inf"})]


def summary(point: Json) -> Derived:
    """The rows of a summary."""
    rows = statistics({name: point.get(name) for name in ("count", "sum")}, always_sum=True)
    for each in point.get("quantileValues") or []:
        rows.append(("quantile", double(each.get("value")), {"quantile": shortest(double(each.get("quantile")))}))
    return rows


def number(point: Json) -> Derived | None:
    """The one row of a number datapoint; None without a value."""
    if point.get("asDouble") is not None:
        return [("", double(point["asDouble"]), {})]
    return [("", signed(point["asInt"]), {})] if point.get("asInt") is not None else None


# --- a bundle --------------------------------------------------------------------------------------------------------


def expect(bundle: Json, org_id: str | None = None, kafka_ms: int | None = None) -> Expected:
    """What must come of `bundle`. Raises MalformedError or NotMetricsError where the whole message is refused."""
    done = Expected()
    bundle = without_nul(bundle)
    unread = False
    for r, resource in enumerate(bundle["resourceMetrics"] or []):
        for s, scope in enumerate(resource.get("scopeMetrics") or []):
            for m, metric in enumerate(scope.get("metrics") or []):
                kind = next((kind for kind in TYPES if metric.get(kind) is not None), "")
                done.dropped["unknownData"] += not kind
                unread = unread or any(holds(metric[name]) for name in metric.keys() - FIELDS)
                for p, point in enumerate((metric.get(kind) or {}).get("dataPoints") or []):
                    done.datapoints += 1
                    context = (resource.get("resource") or {}, scope.get("scope") or {}, metric, kind)
                    _point(done, (r, s, m, p), point, context, org_id or None, kafka_ms)
                    if (r, s, m, p) not in done.failed:  # those of a reject come back with it
                        done.dropped["exemplars"] += len(point.get("exemplars") or [])
    if unread and not done.datapoints:
        raise NotMetricsError
    return done


def without_nul(value: Any) -> Any:
    """U+0000 is taken out of every text and key."""
    if isinstance(value, dict):
        return {without_nul(key): without_nul(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_nul(inner) for inner in value]
    return value.replace("\0", "") if isinstance(value, str) else value


def holds(value: Any) -> bool:
    """Whether an object or array has anything in it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(holds(item) or not isinstance(item, dict | list | None) for item in inner)


def _point(
    done: Expected,
    place: tuple[int, int, int, int],
    point: Json,
    context: tuple[Json, Json, Json, str],
    org_id: str | None,
    kafka_ms: int | None,
) -> None:
    resource, scope, metric, kind = context
    derived = _derived(kind, point)
    for name in ("timeUnixNano", "startTimeUnixNano"):
        unsigned(point.get(name))  # a number that cannot be read spoils the message, needed or not
    columns, maps, missing = _promote(resource, scope, point, org_id)
    if unsigned(point.get("flags")) & 1 or (kind in ("gauge", "sum") and derived is None):
        done.dropped["noRecordedValue"] += 1
        return
    if kind in ("gauge", "sum") and derived is not None and not math.isfinite(derived[0][1]):
        done.converted += 1
        done.dropped["nonFinite"] += 1
        return
    ns = time_ns(point, scope, kafka_ms)
    if missing or not metric.get("name"):
        done.failed[place] = "Row.MissingField"
    elif ns is None or not FIRST_MS <= ns // 10**6 <= LAST_MS:
        done.failed[place] = "Row.BadTimestamp"
    elif derived is None:
        done.failed[place] = "Row.BadHistogram"
    else:
        done.converted += 1
        maps["attributes"].update(_reserved(kind, metric[kind], point, ns))
        time = {"ts": text_of(ns // 10**6), "tsUnixMs": ns // 10**6}
        common = {**columns, "unit": metric.get("unit") or None, "type": TYPES[kind], **time, **maps}
        _rows(done, metric["name"], derived, common)


def _derived(kind: str, point: Json) -> Derived | None:
    make = {
        "gauge": number,
        "sum": number,
        "histogram": histogram,
        "exponentialHistogram": exponential,
        "summary": summary,
    }
    return make[kind](point)


def _promote(resource: Json, scope: Json, point: Json, org_id: str | None) -> tuple[Json, Json, bool]:
    """The promoted columns, the three maps, and whether a required column has no value."""
    found, own = attributes(resource.get("attributes")), attributes(point.get("attributes"))
    org, org_key = first(found, "orgId")
    device, device_key = first(found, *DEVICE_ID)
    name, name_key = first(found, "hostName", "host.name")
    instance, instance_key = first(own, "dataSourceInstanceName", "wildValue")
    datasource = scope.get("name") or first(found, "service.name")[0]
    columns = {
        "orgId": org or org_id,
        "deviceId": device,
        "deviceName": name,
        "datasource": datasource,
        "instance": instance,
    }
    moved = {org_key, device_key, name_key} & {"orgId", "hostId", "hostName"}
    given = {key: scope[key] for key in ("name", "version") if scope.get(key)}
    maps = {
        "attributes": {key: value for key, value in own.items() if key != instance_key},
        "resource": {key: value for key, value in found.items() if key not in moved},
        "scope": {**attributes(scope.get("attributes")), **given},
    }
    return columns, maps, not (columns["orgId"] and device and datasource)


def _reserved(kind: str, data: Json, point: Json, ns: int) -> Json:
    keys: Json = {}
    temporality = data.get("aggregationTemporality")
    if kind in ("sum", "histogram", "exponentialHistogram") and temporality in TEMPORALITY:
        keys["otlp.temporality"] = TEMPORALITY[temporality]
    if kind == "sum":
        keys["otlp.monotonic"] = data.get("isMonotonic") is True
    start = unsigned(point.get("startTimeUnixNano"))
    if start and start != ns:
        keys["otlp.startTimeUnixMs"] = start // 10**6
    return keys


def _rows(done: Expected, name: str, derived: Derived, common: Json) -> None:
    for suffix, value, keys in derived:
        if not math.isfinite(value):
            done.dropped["nonFinite"] += 1
            continue
        exact = {"otlp.intValue": str(value)} if isinstance(value, int) and abs(value) > 2**53 else {}
        row = {
            **common,
            "metric": f"{name}.{suffix}" if suffix else name,
            "value": value,
            "attributes": {**common["attributes"], **keys, **exact},
        }
        done.rows.append({key: value for key, value in row.items() if value is not None})
