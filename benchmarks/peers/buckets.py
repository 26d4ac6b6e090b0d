"""The rows of histograms and summaries, for the peers that are written here: suffix, extra attribute, value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate

Part = tuple[str, dict[str, str], float]


def number_text(value: float) -> str:
    """The shortest decimal that reads back to `value`, without `.0`."""
    return "+Inf" if value == math.inf else repr(float(value)).removesuffix(".0")


def explicit(counts: Sequence[int], bounds: Sequence[float]) -> Iterator[Part]:
    """The cumulative buckets of an explicit histogram."""
    for bound, below in zip([*bounds, math.inf], accumulate(counts), strict=True):
        yield ".bucket", {"le": number_text(bound)}, below


def exponential(
    scale: int,
    negative: tuple[int, Sequence[int]],
    zero: tuple[float, int],
    positive: tuple[int, Sequence[int]],
    count: int,
) -> Iterator[Part]:
    """The cumulative buckets of an exponential histogram; sides are offset and counts, zero is threshold and count."""
    below = 0
    for index, each in reversed(list(enumerate(negative[1]))):
        below += each
        yield ".bucket", {"le": number_text(-(2.0 ** ((negative[0] + index) * 2.0**-scale)))}, below
    below += zero[1]
    yield ".bucket", {"le": number_text(zero[0])}, below
    for index, each in enumerate(positive[1]):
        below += each
        yield ".bucket", {"le": number_text(2.0 ** ((positive[0] + index + 1) * 2.0**-scale))}, below
    yield ".bucket", {"le": "+Inf"}, count
