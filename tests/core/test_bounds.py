"""What a message may take: memory within the stated bound, and time that grows with its size and not faster.

The whole of it is `make chaos` (`messages at their worst`); here are the kinds that once broke it, and small limits.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from chaos.worst import KINDS, MIB, apart, largest, passes, settings

import strategies
from bundles import HOST, NS, POINT, bundle, gauge, metric, raw, run, text, verdict
from lmdp import Message, transform
from lmdp.core.encode import encode, row_bytes
from lmdp.core.flatten import SizeLimits, flatten
from lmdp.core.otlp.decode import decode
from lmdp.core.promotion import Promotion
from lmdp.core.specification import load_spec
from lmdp.errors import SettingsError

MEMORY, ROWS = 16, 256  # MiB
SLACK = 12 * MIB  # the message itself, twice, and what the allocator keeps

apart_only = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a peak so")


@apart_only
@pytest.mark.parametrize(
    "kind",
    [
        "json: datapoints that fail",
        "json: quantiles",
        "json: numbers, read the slow way",
        "protobuf: empty resources",
        "protobuf: datapoints that fail",
        "protobuf: packed numbers",
    ],
)
def test_memory_is_bounded(kind: str) -> None:
    """The largest message that is read takes no more than the limit, and three times its rows."""
    size = largest(kind, settings(MEMORY, ROWS))
    assert not passes(kind, 2 * size + 10_000, MEMORY * MIB)
    took = apart(kind, size, MEMORY, ROWS)
    assert took.peak <= MEMORY * MIB + 3 * took.row_bytes + SLACK
    assert took.result != "Decode.TooLarge"


def seconds(value: bytes) -> float:
    """The least processor time of three, with rows of 9,000 bytes at most."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        run(value, max_row_bytes=9_000)
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.parametrize(
    "kind", ["json: a long name and many datapoints", "protobuf: a long resource and datapoints that fail"]
)
def test_time_grows_with_the_size_and_not_faster(kind: str) -> None:
    """Four times the datapoints with four times the text about them take about four times as long."""
    small, large = (seconds(KINDS[kind](size)) for size in (60_000, 240_000))
    assert large < 7 * small + 0.02


def test_a_long_text_is_measured_once() -> None:
    """Rows too large for what they share cost what they have of their own, and not each the shared text again."""
    long = text("blob", "日" * 500_000)
    one, many = (seconds(json.dumps(bundle(gauge(*[POINT] * n), attributes=[*HOST, long])).encode()) for n in (1, 400))
    assert verdict(run(bundle(gauge(POINT), attributes=[*HOST, long]))) == "Row.TooLarge"
    assert many < 10 * one + 0.1


def test_a_remembered_text_measures_the_same() -> None:
    """What is remembered of long texts changes no size, whichever column they are in."""
    long = 'é"\\\n日\U0001f600' * 300
    value = bundle(gauge({**POINT, "attributes": [text("a", long)]}), attributes=[*HOST, text("b", long)])
    value["resourceMetrics"][0]["scopeMetrics"][0]["scope"] = {"name": long}
    rows = run(value).rows * 2
    known: dict[Any, int] = {}
    assert [row_bytes(row, load_spec(), known) for row in rows] == [len(line) for line in encode(rows)]
    assert known


def test_a_reason_does_not_repeat_a_long_name() -> None:
    """The text of a reject stays short, however long the metric's name is."""
    (reject,) = run(bundle(gauge(*[POINT] * 50, name="n" * 2_000_000))).rejects
    assert reject.message == f"a row of {'n' * 200} is larger than 1,024,000 bytes"


def test_a_reason_keeps_no_frames() -> None:
    """Datapoints that fail alike share one reason, without the traceback that would keep their frames."""
    value = decode(raw(",".join(['{"asInt":1}'] * 3)), MIB)
    assert value is not None
    refused = flatten(value, Promotion.of(load_spec(), "acme"), SizeLimits(MIB, MIB, row_bytes)).refused
    assert len(refused) == 3
    assert len({id(one.error) for one in refused}) == 1
    assert refused[0].error.__traceback__ is None


@pytest.mark.parametrize("kind", ["histogram", "exponentialHistogram", "summary"])
def test_an_empty_binary_datapoint_is_rejected_as_an_empty_one(kind: str) -> None:
    """A reject of protobuf says only what was given, so that it is no larger than it must be."""
    whole = bundle(metric(kind, {"timeUnixNano": NS, "flags": 2}, name=""))
    (reject,) = run(strategies.protobuf(whole)).rejects
    (point,) = json.loads(reject.raw)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0][kind]["dataPoints"]
    assert set(point) <= {"timeUnixNano", "flags", "sum", "zeroThreshold"}


def test_too_much_to_read_is_said_before_it_is_read() -> None:
    """The reject is the message, its reason names the limit, and a raised limit mends it."""
    value = json.dumps(bundle(gauge(*[POINT] * 2_000))).encode()
    low = settings(1, 1)
    (reject,) = transform([Message(value)], low).rejects
    assert (reject.code, reject.raw, reject.datapoints) == ("Decode.TooLarge", value, 0)
    reason = "to read it could take more than 1,048,576 bytes of memory (limit: LMDP_MAX_MESSAGE_MEMORY)"
    assert reject.message == reason
    assert len(run(reject.raw).rows) == 2_000


@pytest.mark.parametrize("unit", [b"\xff", b"\x80", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0b"])
def test_what_is_no_protobuf_is_weighed_without_harm(unit: bytes) -> None:
    """Endless numbers, lengths beyond the end and groups: the weighing ends, and the reader says what is wrong."""
    assert verdict(run(unit * (1_700_000 // len(unit)))) == "Decode.Malformed"


def test_the_limit_is_at_least_one() -> None:
    """A limit of nothing is refused at once."""
    with pytest.raises(SettingsError, match="max_message_memory is 0; it is at least 1"):
        settings(0, 1)
