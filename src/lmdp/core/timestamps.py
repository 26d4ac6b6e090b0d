"""The time of a datapoint: from nanoseconds, from a poll's epoch of unknown unit, or from Kafka."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from lmdp.core.otlp.scalars import NUMBER
from lmdp.errors import BAD_TIMESTAMP, DatapointError

_MS_IN_NS = 1_000_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC throughout; a zone would only cost
_FIRST_MS = -62_135_596_800_000  # 0001-01-01
_LAST_MS = 253_402_300_799_999  # 9999-12-31

# Which unit an epoch is in, by its size: the limits lie in the years 1973 to 5138 of the next smaller unit.
_UNITS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


class Moment(NamedTuple):
    """One time: in milliseconds rounded down, as RFC 3339 text, and in nanoseconds."""

    ms: int
    text: str
    ns: int


def moment(ns: int) -> Moment:
    """The time `ns` nanoseconds after 1970. Raises DatapointError outside the years 1 to 9999."""
    ms = ns // _MS_IN_NS
    if not _FIRST_MS <= ms <= _LAST_MS:
        raise DatapointError(BAD_TIMESTAMP, f"ts: {ms} ms after 1970 is outside the years 1 to 9999")
    second, rest = divmod(ms, 1000)
    return Moment(ms, f"{_second(second)}.{rest:03}Z", ns)


@functools.lru_cache(maxsize=1024)
def _second(second: int) -> str:
    """RFC 3339 without zone and fraction. Many messages are of the same second."""
    return (_EPOCH + timedelta(seconds=second)).isoformat()


def epoch_ns(value: object) -> int | None:
    """Return a poll's epoch in nanoseconds, its unit inferred from its size; None where it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 40:
        return None
    text = str(value).strip()
    if not NUMBER.fullmatch(text):  # Decimal alone would read 1_715 and other scripts' digits
        return None
    number = Decimal(text)
    if number.adjusted() > 30:
        return None
    scale = next((scale for limit, scale in _UNITS if number < limit), 1)
    return int((number * scale).to_integral_value(rounding="ROUND_FLOOR"))


def kafka_ns(timestamp: int | None) -> int | None:
    """Kafka's timestamp in nanoseconds; it is in milliseconds, and negative where the record has none."""
    return None if timestamp is None or timestamp < 0 else timestamp * _MS_IN_NS
