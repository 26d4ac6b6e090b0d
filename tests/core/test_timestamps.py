"""When a datapoint was measured: nanoseconds, else the scope's epoch, else Kafka's timestamp, never the clock."""

from __future__ import annotations

from typing import Any

import pytest

from bundles import bundle, gauge, pair, run, text, verdict

BAD = "Row.BadTimestamp"
KAFKA = 1_000
FIRST = -62_135_596_800_000
LAST = 253_402_300_799_999


def time(point: dict[str, Any], scope: dict[str, Any] | None = None, timestamp: int | None = None) -> Any:
    """The two times of the row, or the verdict."""
    done = run(bundle(gauge({"asDouble": 1.5, **point}), scope={"name": "CPU", **(scope or {})}), timestamp=timestamp)
    return done.rows[0][8:10] if done.rows else verdict(done)


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (1, ("1970-01-01T00:00:00.000Z", 0)),
        (999_999, ("1970-01-01T00:00:00.000Z", 0)),
        (1_000_000, ("1970-01-01T00:00:00.001Z", 1)),
        ("1715263558360999999", ("2024-05-09T14:05:58.360Z", 1715263558360)),
        (1709164800 * 10**9, ("2024-02-29T00:00:00.000Z", 1709164800000)),
        (2**64 - 1, ("2554-07-21T23:34:33.709Z", 18446744073709)),
    ],
)
def test_nanoseconds(ns: Any, expected: tuple[str, int]) -> None:
    """Nanoseconds become whole milliseconds, rounded down, and win over the epoch and Kafka."""
    assert time({"timeUnixNano": ns}, {"attributes": [text("epoch", "5")]}, KAFKA) == expected


@pytest.mark.parametrize(
    ("epoch", "ms"),
    [
        ("0", 0),
        ("1", 1000),
        ("-1", -1000),
        ("1715263558", 1715263558000),
        ("1715263558.3609", 1715263558360),
        ("99999999999", 99999999999000),
        ("99999999999.9999", 99999999999999),
        ("100000000000", 100000000000),
        ("1715263558360", 1715263558360),
        ("1715263558360.9", 1715263558360),
        ("99999999999999", 99999999999999),
        ("100000000000000", 100000000000),
        ("1715263558360999", 1715263558360),
        ("99999999999999999", 99999999999999),
        ("100000000000000000", 100000000000),
        ("1715263558360999999", 1715263558360),
        ("1.715263558e9", 1715263558000),
        (" 1715263558360 ", 1715263558360),
    ],
)
def test_epoch_units(epoch: str, ms: int) -> None:
    """An epoch's unit is told by its size: seconds, milliseconds, microseconds, nanoseconds; all rounded down."""
    found = time({}, {"attributes": [text("epoch", epoch)]}, KAFKA)
    assert found[1] == ms
    assert time({"timeUnixNano": "0"}, {"epoch": epoch}, KAFKA) == found


@pytest.mark.parametrize(
    "value",
    [
        {"intValue": "1715263558360"},
        {"intValue": 1715263558},
        {"doubleValue": 1.71526355836e12},
        {"stringValue": "1715263558360"},
        {"stringValue": 1715263558360},
        {"doubleValue": "1715263558.36"},
    ],
)
def test_epoch_types(value: dict[str, Any]) -> None:
    """The epoch may be text or a number, as attribute and as field."""
    assert time({}, {"attributes": [pair("epoch", **value)]}, KAFKA)[1] // 1000 == 1715263558


@pytest.mark.parametrize(
    "value",
    [
        {"stringValue": "soon"},
        {"stringValue": ""},
        {"stringValue": "NaN"},
        {"doubleValue": "NaN"},
        {},
        {"boolValue": True},
        {"arrayValue": {"values": [{"intValue": "5"}]}},
        {"bytesValue": "NQ=="},
        {"stringValue": "2024-05-09T14:05:58Z"},
        {"stringValue": "1e400"},
        {"stringValue": "9" * 5000},
        {"stringValue": "1715263558_360"},
        {"stringValue": "+1715263558"},
        {"stringValue": "\u0661\u0667\u0661\u0665"},
        {"stringValue": "0x10"},
    ],
)
def test_an_unreadable_epoch_is_absent(value: dict[str, Any]) -> None:
    """Where the attribute cannot be read, the field is; where neither can, Kafka's timestamp."""
    attributes = [pair("epoch", **value)]
    assert time({}, {"attributes": attributes, "epoch": 5}, KAFKA)[1] == 5000
    assert time({}, {"attributes": attributes, "epoch": [5]}, KAFKA)[1] == KAFKA
    assert time({}, {"attributes": attributes}) == BAD


@pytest.mark.parametrize("field", ['"5"', "5", "5.0", "5e0"])
def test_attribute_before_field(field: str) -> None:
    """The epoch attribute wins over the field, and the last of two attributes wins."""
    attributes = [text("epoch", "6"), text("epoch", "7")]
    assert time({}, {"attributes": attributes, "epoch": 5}, KAFKA)[1] == 7000


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (None, BAD),
        (-1, BAD),
        (0, ("1970-01-01T00:00:00.000Z", 0)),
        (1715263558360, ("2024-05-09T14:05:58.360Z", 1715263558360)),
        (LAST, ("9999-12-31T23:59:59.999Z", LAST)),
        (LAST + 1, BAD),
        (2**63 - 1, BAD),
    ],
)
def test_kafka_timestamp(timestamp: int | None, expected: Any) -> None:
    """Kafka's timestamp is the last resort; -1 is Kafka's way to say that a record has none."""
    assert time({}, {}, timestamp) == expected


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (str(FIRST // 1000), ("0001-01-01T00:00:00.000Z", FIRST)),
        (str(FIRST // 1000 - 1), BAD),
        ("-0.0001", ("1969-12-31T23:59:59.999Z", -1)),
        (str(LAST) + "000000", ("9999-12-31T23:59:59.999Z", LAST)),
        (str(LAST) + "999999", ("9999-12-31T23:59:59.999Z", LAST)),
        (str(LAST + 1) + "000000", BAD),
        ("9" * 30, BAD),
    ],
)
def test_years_1_to_9999(epoch: str, expected: Any) -> None:
    """A readable time outside the years 1 to 9999 is refused, and nothing else is taken in its place."""
    assert time({}, {"attributes": [text("epoch", epoch)]}, KAFKA) == expected


def test_the_refusal_says_what_was_looked_for() -> None:
    """The reason of a row without a time names the three places."""
    (reject,) = run(bundle(gauge({"asDouble": 1.5}))).rejects
    assert reject.message == "ts: no timeUnixNano, no epoch in the scope, and no Kafka timestamp"
