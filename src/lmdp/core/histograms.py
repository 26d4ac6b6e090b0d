"""Rows in Prometheus' form of a histogram, an exponential histogram or a summary.

Each function yields the parts of one datapoint: the suffix of the metric's name, the value, and for a bucket or a
quantile its label. They read numbers and know no columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

from lmdp.core.attributes import number_text
from lmdp.core.otlp.model import Buckets, ExponentialHistogramDataPoint, HistogramDataPoint, SummaryDataPoint
from lmdp.core.otlp.scalars import double, signed, unsigned
from lmdp.errors import BAD_HISTOGRAM, DatapointError


class Part(NamedTuple):
    """One row of a datapoint. `key` is `le` or `quantile` with `label` its text; both are empty elsewhere."""

    suffix: str
    value: int | float
    key: str = ""
    label: str = ""


def histogram(point: HistogramDataPoint) -> Iterator[Part]:
    """Parts of an explicit histogram. Raises DatapointError where counts and bounds do not fit."""
    counts = [unsigned(count, "bucketCounts") for count in point.bucketCounts or ()]
    bounds = [double(bound, "explicitBounds") for bound in point.explicitBounds or ()]
    if counts and len(counts) != len(bounds) + 1:
        raise DatapointError(BAD_HISTOGRAM, f"{len(counts)} bucket counts do not fit {len(bounds)} bounds")
    if counts and (any(not low < high for low, high in pairwise(bounds)) or any(map(math.isnan, bounds))):
        raise DatapointError(BAD_HISTOGRAM, "the bounds do not rise from each to the next")
    yield from _statistics(point)
    if counts:
        yield from _buckets(zip([*bounds, math.inf], accumulate(counts), strict=True))


def exponential_histogram(point: ExponentialHistogramDataPoint) -> Iterator[Part]:
    """Parts of an exponential histogram: its buckets from the lowest negative one to +Inf.

    Raises DatapointError where zero is no range.
    """
    scale, threshold = signed(point.scale, "scale"), double(point.zeroThreshold, "zeroThreshold")
    if not threshold >= 0:
        raise DatapointError(BAD_HISTOGRAM, f"the zero threshold is {threshold}, and no number from 0 on")
    yield from _statistics(point)
    yield from _buckets(_exponential(point, scale, threshold))


def summary(point: SummaryDataPoint) -> Iterator[Part]:
    """Parts of a summary."""
    yield Part(".count", unsigned(point.count, "count"))
    yield Part(".sum", double(point.sum, "sum"))
    for each in point.quantileValues or ():
        yield Part(".quantile", double(each.value, "value"), "quantile", number_text(double(each.quantile, "quantile")))


def _statistics(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> Iterator[Part]:
    yield Part(".count", unsigned(point.count, "count"))
    if point.sum is not None:
        yield Part(".sum", double(point.sum, "sum"))
    if point.min is not None:
        yield Part(".min", double(point.min, "min"))
    if point.max is not None:
        yield Part(".max", double(point.max, "max"))


def _exponential(point: ExponentialHistogramDataPoint, scale: int, threshold: float) -> Iterator[tuple[float, int]]:
    """Each bucket's upper bound and how many values lie below it. The zero bucket takes those within its threshold.

    A merge may have left some: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#zero-count-and-zero-threshold
    """
    below = 0
    offset, counts = _counts(point.negative)
    for index in range(len(counts) - 1, -1, -1):
        below += counts[index]
        bound = _bound(offset + index, scale)
        yield -bound if bound >= threshold else threshold, below
    below += unsigned(point.zeroCount, "zeroCount")
    yield threshold, below
    offset, counts = _counts(point.positive)
    for index, count in enumerate(counts):
        below += count
        yield max(_bound(offset + index + 1, scale), threshold), below
    yield math.inf, unsigned(point.count, "count")


def _counts(buckets: Buckets | None) -> tuple[int, list[int]]:
    if buckets is None:
        return 0, []
    return signed(buckets.offset, "offset"), [unsigned(count, "bucketCounts") for count in buckets.bucketCounts or ()]


def _bound(index: int, scale: int) -> float:
    """`2 ** (index * 2 ** -scale)`, infinite where a double cannot hold it.

    https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponential-buckets
    """
    try:
        return float(2.0 ** (index * 2.0**-scale))
    except OverflowError:
        return math.inf if index > 0 else float(index == 0)


def _buckets(bounds: Iterator[tuple[float, int]] | zip[tuple[float, int]]) -> Iterator[Part]:
    """One part a bucket; one whose bound is infinite, or equals the next, is merged into the next."""
    previous: tuple[float, int] | None = None
    for bound, below in bounds:
        if previous is not None and math.isfinite(previous[0]) and previous[0] != bound:
            yield Part(".bucket", previous[1], "le", number_text(previous[0]))
        previous = bound, below
    if previous is not None:
        yield Part(".bucket", previous[1], "le", "+Inf")
