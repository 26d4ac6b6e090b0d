"""Numbers as OTLP/JSON writes them: 64-bit integers and doubles, as JSON numbers or as text.

https://protobuf.dev/programming-guides/json/: integers may come quoted and with an exponent; doubles may come quoted,
and by the names NaN, Infinity and -Infinity. Anything else, and anything out of range, is refused: a metric that is
silently wrong is worse than one that is put aside.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lmdp.errors import MALFORMED, MessageError

if TYPE_CHECKING:
    from lmdp.core.otlp.model import Double, Integer

MAX_UINT64 = 2**64 - 1
MAX_INT64 = 2**63 - 1
MIN_INT64 = -(2**63)

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,6})?", re.ASCII)
_NAMED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NAMES = {repr(number): name for name, number in _NAMED.items()}


def unsigned(value: Integer, field: str) -> int:
    """Read a uint64 or fixed64; absent is 0, as in protobuf. Raises MessageError, which names `field`."""
    number = _integer(value, field)
    if not 0 <= number <= MAX_UINT64:
        raise _refused(field, value, f"is outside the unsigned 64-bit integers{_rounded(number)}")
    return number


def signed(value: Integer, field: str) -> int:
    """Read an int64, sfixed64, or sint32; absent is 0. Raises MessageError, which names `field`."""
    number = _integer(value, field)
    if not MIN_INT64 <= number <= MAX_INT64:
        raise _refused(field, value, f"is outside the signed 64-bit integers{_rounded(number)}")
    return number


def enum(value: Integer) -> int | str:
    """Read an enum: its number, however written, or its name; 0 where it is absent or can be neither."""
    try:
        return _integer(value, "")
    except MessageError:
        return str(value)


def double(value: Double, field: str) -> float:
    """Read a double; absent is 0.0. Raises MessageError, which names `field`."""
    if value.__class__ is float:
        return value
    if value is None:
        return 0.0
    if value in _NAMED:
        return _NAMED[str(value)]
    if not isinstance(value, str) or not NUMBER.fullmatch(value):
        raise _refused(field, value, "is not a number")
    number = float(value)
    if math.isinf(number):
        raise _refused(field, value, "is beyond the range of a double")
    return number


def written(number: float) -> float | str:
    """A double as OTLP/JSON writes it: by its name where JSON has no number for it."""
    return number if number - number == 0 else _NAMES[repr(number)]


def read_all(point: Any) -> None:
    """Read every number of a datapoint that makes no row, so that a broken one does not hide. Raises MessageError."""
    for name in ("timeUnixNano", "startTimeUnixNano", "flags", "count", "zeroCount"):
        unsigned(getattr(point, name, None), name)
    for name in ("asInt", "scale"):
        signed(getattr(point, name, None), name)
    for name in ("asDouble", "sum", "min", "max", "zeroThreshold"):
        double(getattr(point, name, None), name)
    for buckets in (point, getattr(point, "positive", None), getattr(point, "negative", None)):
        signed(getattr(buckets, "offset", None), "offset")
        for count in getattr(buckets, "bucketCounts", None) or ():
            unsigned(count, "bucketCounts")
    for bound in getattr(point, "explicitBounds", None) or ():
        double(bound, "explicitBounds")
    for each in getattr(point, "quantileValues", None) or ():
        double(each.quantile, "quantile")
        double(each.value, "value")


def _integer(value: Integer, field: str) -> int:
    if value.__class__ is int:
        return value
    if value is None:
        return 0
    text = str(value)
    if len(text) <= 20 and text.isascii() and text.isdecimal():
        return int(text)
    if len(text) > 400 or not NUMBER.fullmatch(text):
        raise _refused(field, value, "is not an integer")
    number = Decimal(text)
    if number.adjusted() > 20:
        raise _refused(field, value, "is outside 64 bits")
    if number != number.to_integral_value():
        raise _refused(field, value, "is not an integer")
    return int(number)


def _rounded(number: int) -> str:
    # -(2**63) and 2**64 - 1 as JavaScript prints them: https://tc39.es/ecma262/#sec-numeric-types-number-tostring
    is_rounded = number in (-9223372036854776000, 9223372036854776000, 18446744073709552000)
    return ", as JavaScript rounds one beyond 2^53: let the sender write it as text" if is_rounded else ""


def _refused(field: str, value: object, why: str) -> MessageError:
    return MessageError(MALFORMED, f"{field}: {_shown(value)} {why}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
