"""Other readers of the same bytes: Python's json and gzip, protobuf's own JSON, and the oracle on the result.

Where a strict reader refuses, so must we; where one accepts, the rows and the counts must be the oracle's.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.metrics.v1 import metrics_pb2

import oracle
from lmdp import Message, Transformed, TransformSettings, encode, transform

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BLANK = b" \t\r\n"

# Where protobuf's own JSON reader takes what OTLP/JSON, or the specification, does not.
_LAXER = re.compile(
    "is not an? (number|integer)"  # it reads " 5", "1_0" and "inf" as Python does
    "|expected an object, got (text|an array)"  # it looks for names in whatever it can go through
    "|expected a number, got a boolean"  # true is 1.0
    "|hex escape|surrogate"  # half a pair, where nobody looks at it
    "|bytesValue:"
    "|incorrect header check|unknown header flags"  # Python continues after zeros in a gzip, and knows no reserved bits
)
_ENUM = re.compile(rb'"aggregation_?[tT]emporality"\s*:\s*("[-0-9]|-?[0-9]{10})')  # it takes text, or the lower 32 bits
_NEGATIVE_ZERO = re.compile(rb"[:\[,\s]-0[\s,\]}]")  # it loses the sign
_OUTDATED = re.compile(rb"labels|instrumentation")
_EPOCH = re.compile(rb'"(e|\\u0065)poch"\s*:')  # a field that is not OTLP's


class DifferenceError(Exception):
    """Another reader does not take it: with a reason where nobody may, without one where we may."""


def result(done: Transformed) -> str:
    """Return the result of one message, in a word."""
    return done.rejects[0].code if done.rejects else "rows" if done.rows else "no rows"


def compared(done: Transformed, message: Message, settings: TransformSettings, seen: Counter[str]) -> Iterator[str]:
    """Return what is wrong with the result `done` of `message`, compared with other readers'."""
    value = message.value or b""
    if value.startswith(_ZSTD):  # there is one library for it, and we use it
        return
    if value.startswith(_GZIP):
        try:
            value = gzip.decompress(value)
        except (OSError, EOFError, zlib.error) as error:
            if result(done) != "Decode.Malformed":
                yield f"gzip that Python does not read ({error}) is {result(done)}"
            return
        if not value.startswith((_GZIP, _ZSTD)):
            plain = transform([Message(value, timestamp=message.timestamp)], settings)
            if done.rows != plain.rows:
                yield "gzip changes the rows"
    text = value.lstrip(_BLANK).removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    if text:
        yield from _content(done, value, text, (message.timestamp, settings.org_id), seen)
    elif result(done) != "no rows" or done.counts.dropped["empty"] != 1:
        yield f"an empty message is {result(done)}"


def _content(
    done: Transformed, value: bytes, text: bytes, given: tuple[int | None, str | None], seen: Counter[str]
) -> Iterator[str]:
    found, reported = result(done), done.rejects[0].message if done.rejects else ""
    try:
        canonical = _json(text) if text.startswith(b"{") else _protobuf(value)
    except DifferenceError as differs:
        # What begins with a line feed and a brace may be protobuf all the same.
        # What is logs, traces or a part of metrics, in protobuf, is said to be that.
        if str(differs) and found not in ("Decode.Malformed", "Decode.NotMetrics") and not value.startswith(b"\n"):
            yield f"{differs}, but it is {found}"
        return
    if found == "Decode.NotMetrics":
        is_json = text.startswith(b"{") and not _OUTDATED.search(text)
        if is_json and canonical["resourceMetrics"] and oracle.expect(canonical, given[1], given[0]).datapoints:
            yield "metrics that are said to be none"
    elif found == "Decode.Malformed" and _LAXER.search(reported):
        seen["stricter than protobuf's reader"] += 1
    else:
        seen["compared with the second reading"] += 1
        yield from _as_expected(canonical, done, given, reported)


def _json(text: bytes) -> dict[str, Any]:
    """Canonical OTLP/JSON by protobuf's own reader. Raises DifferenceError."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        tree = json.loads(text.decode(), parse_constant=constant)
    except RecursionError:
        raise DifferenceError from None
    except ValueError as error:
        raise DifferenceError("" if "digits" in str(error) else f"no JSON ({error})") from None
    if not isinstance(tree, dict) or any(odd.search(text) for odd in (_EPOCH, _ENUM, _NEGATIVE_ZERO)):
        raise DifferenceError
    message = metrics_pb2.MetricsData()
    try:
        json_format.Parse(text.decode(), message, ignore_unknown_fields=True)
        return _canonical(message)
    except Exception:  # noqa: BLE001 - it has many; the contract is more lenient
        raise DifferenceError from None


def _protobuf(data: bytes) -> dict[str, Any]:
    message = metrics_pb2.MetricsData()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise DifferenceError(f"no protobuf ({error})") from None
    return _canonical(message)


def _canonical(message: Any) -> dict[str, Any]:
    return {"resourceMetrics": [], **json_format.MessageToDict(message)}


def _as_expected(
    canonical: dict[str, Any], done: Transformed, given: tuple[int | None, str | None], reported: str
) -> Iterator[str]:
    timestamp, org_id = given
    try:
        expected = oracle.expect(canonical, org_id, timestamp)
    except KeyError:  # a kind of value that only profiles have
        return
    except oracle.MalformedError as error:
        if result(done) != "Decode.Malformed":
            yield f"malformed by the second reading ({error}), but {result(done)}"
        return
    if result(done).startswith("Decode."):
        yield f"{result(done)} ({reported}), but others read it"
        return
    rows = [json.dumps(json.loads(line), sort_keys=True) for line in encode(done.rows)]
    wanted = [json.dumps(row, sort_keys=True) for row in expected.rows]
    if rows != wanted:
        pairs = [pair for pair in zip(rows, wanted, strict=False) if pair[0] != pair[1]]
        yield f"other rows than the second reading: {pairs[0] if pairs else (len(rows), len(wanted))}"
    counts = done.counts
    # The other reader leaves unknown fields out, so it cannot count what they held.
    unseen = counts.dropped["unknownData"] - expected.dropped["unknownData"]
    wanted_dropped = +(expected.dropped + Counter(unknownData=max(unseen, 0)))
    found = (counts.datapoints, counts.converted, counts.rejected_datapoints, +counts.dropped)
    if found != (expected.datapoints, expected.converted, len(expected.failed), wanted_dropped):
        yield f"other counts than the second reading: {counts}, {expected}"[:500]
