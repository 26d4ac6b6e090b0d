"""The worst that can be made of a kind of message, and what it takes: memory and time, in a process of its own.

`PYTHONPATH=tests python -m chaos.worst "json: empty datapoints" 100000 512 256` reads one of 100,000 bytes with 512 MiB
for reading and 256 MiB of rows, and prints what that took.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from opentelemetry.proto.metrics.v1 import metrics_pb2

from lmdp import Message, TransformSettings, encode, transform
from lmdp.core.otlp.memory_estimate import check_json_memory, check_protobuf_memory
from lmdp.errors import MessageError

MIB = 2**20
_STATUS = Path("/proc/self/status")

_POINTS = (
    b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"hostId","value":{"stringValue":"1"}}@RESOURCE]},'
    b'"scopeMetrics":[{"scope":{"name":"C"},"metrics":[{"name":"M@NAME","@KIND":{"dataPoints":[@POINTS]}}]}]}]}'
)


def _json(unit: bytes, kind: bytes = b"gauge", **texts: bytes) -> Callable[[int], bytes]:
    """A message whose datapoints are `unit` as often as it fits."""

    def make(size: int) -> bytes:
        text = _POINTS.replace(b"@KIND", kind)
        for name in ("RESOURCE", "NAME"):
            text = text.replace(b"@" + name.encode(), texts.get(name.lower(), b""))
        return text.replace(b"@POINTS", b",".join([unit] * max(1, (size - len(text)) // (len(unit) + 1))))

    return make


def _within(inner: bytes, before: bytes, after: bytes, kind: bytes = b"histogram") -> Callable[[int], bytes]:
    """A message of one datapoint that has `inner` as often as it fits."""

    def make(size: int) -> bytes:
        return _json(before + b",".join([inner] * (size // (len(inner) + 1))) + after, kind)(0)

    return make


def _long_text(character: bytes) -> Callable[[int], bytes]:
    return lambda size: _json(b'{"asInt":1,"timeUnixNano":1}', name=b"x" * size + character)(0)


def _half_name(size: int) -> bytes:
    return _json(b'{"asInt":1,"timeUnixNano":1}', name=b"x" * (size // 2))(size)


def _wide_resource(size: int) -> bytes:
    """480,000 characters of three bytes: too long for a row, which only measuring shows."""
    long = b',{"key":"a","value":{"stringValue":"' + "日".encode() * 480_000 + b'"}}'
    return _json(b'{"asInt":1,"timeUnixNano":1}', resource=long)(size + len(long))


def _binary(*tags: int, unit: bytes) -> Callable[[int], bytes]:
    """`unit` as often as it fits, in messages of these tags."""

    def make(size: int) -> bytes:
        data = unit * (size // len(unit))
        for tag in reversed(tags):
            data = bytes([tag]) + _length(len(data)) + data
        return data

    return make


def _length(number: int) -> bytes:
    return b"" if number < 0 else bytes([number & 127 | (128 if number > 127 else 0)]) + _length((number >> 7) or -1)


def _failing_binary(size: int) -> bytes:
    """A resource of a third of it, and datapoints that fail: each reject holds the resource."""
    metrics = _binary(0x12, 0x12, 0x2A, unit=b"\x0a\x09\x31\x01\0\0\0\0\0\0\0")(size * 2 // 3)
    text = b"x" * (size // 3)
    value = b"\x0a" + _length(len(text)) + text
    pair = b"\x0a\x01a\x12" + _length(len(value)) + value
    attribute = b"\x0a" + _length(len(pair)) + pair
    part = b"\x0a" + _length(len(attribute)) + attribute + metrics
    return b"\x0a" + _length(len(part)) + part


KINDS: dict[str, Callable[[int], bytes]] = {
    "json: empty datapoints": _json(b"{}"),
    "json: datapoints that fail": _json(b"{}", b"exponentialHistogram"),
    "json: datapoints without a time": _json(b'{"asInt":1}'),
    "json: rows": _json(b'{"asInt":1,"timeUnixNano":1}'),
    "json: quantiles": _within(b"{}", b'{"timeUnixNano":1,"quantileValues":[', b"]}", b"summary"),
    "json: numbers as text": _within(b'"1"', b'{"timeUnixNano":1,"bucketCounts":[', b"]}"),
    "json: numbers, read the slow way": _within(b"1", b'{"timeUnixNano":1,"bucketCounts":[', b'],"sum":true}'),
    "json: empty attributes": _within(b"{}", b'{"asInt":1,"timeUnixNano":1,"attributes":[', b"]}", b"gauge"),
    "json: exemplars": _within(b"1", b'{"asInt":1,"timeUnixNano":1,"exemplars":[', b"]}", b"gauge"),
    "json: long text": _long_text(b""),
    "json: long text, one wide character": _long_text("😀".encode()),
    "json: a long name and many datapoints": _half_name,
    "json: a long resource and many datapoints": _wide_resource,
    "protobuf: empty resources": _binary(unit=b"\x0a\x00"),
    "protobuf: empty datapoints": _binary(0x0A, 0x12, 0x12, 0x2A, unit=b"\x0a\x00"),
    "protobuf: datapoints that fail": _binary(0x0A, 0x12, 0x12, 0x52, unit=b"\x0a\x00"),
    "protobuf: empty attributes": _binary(0x0A, 0x12, 0x12, 0x2A, 0x0A, unit=b"\x3a\x00"),
    "protobuf: packed numbers": _binary(0x0A, 0x12, 0x12, 0x52, 0x0A, 0x42, 0x12, unit=b"\x01"),
    "protobuf: a long resource and datapoints that fail": _failing_binary,
}


@dataclass(frozen=True, slots=True)
class Took:
    """The cost of one message: bytes of memory at the most, seconds of processor time, and its result."""

    size: int
    peak: int
    seconds: float
    result: str
    rows: int
    row_bytes: int


def settings(memory: int, rows: int) -> TransformSettings:
    """Limits in MiB."""
    return TransformSettings(org_id="acme", max_message_memory=memory * MIB, max_message_row_bytes=rows * MIB)


def largest(kind: str, limits: TransformSettings) -> int:
    """The size of the largest message of this kind that is not refused before it is read."""
    low, high = 0, limits.max_decompressed_bytes
    while high - low > max(1_000, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if passes(kind, middle, limits.max_message_memory) else (low, middle)
    return low


def passes(kind: str, size: int, memory: int) -> bool:
    """Return whether such a message is read at all."""
    value = KINDS[kind](size)
    try:
        if value.startswith(b"{"):
            check_json_memory(value, memory, lenient="slow way" in kind)
        else:
            check_protobuf_memory(value, memory, metrics_pb2.MetricsData.DESCRIPTOR)
    except MessageError:
        return False
    return True


def measured(value: bytes, limits: TransformSettings) -> Took:
    """Read it here and now."""
    transform([Message(b'{"resourceMetrics":[null]}'), Message(b"\x0a\x00")], limits)  # what is made once
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before, begun = _memory("VmRSS"), time.process_time()
    done = transform([Message(value)], limits)
    seconds = time.process_time() - begun
    row_bytes = sum(map(len, encode(done.rows)))
    result = done.rejects[0].code if done.rejects else "rows" if done.rows else "no rows"
    return Took(len(value), _memory("VmHWM") - before, seconds, result, len(done.rows), row_bytes)


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found[1]) * 1024


def apart(kind: str, size: int, memory: int, rows: int) -> Took:
    """A message of this kind and size, read in a process of its own; the limits in MiB."""
    words = [sys.executable, "-m", "chaos.worst", kind, str(size), str(memory), str(rows)]
    here = Path(__file__).parents[1]
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{kind}: {done.stderr[-2000:]}"
    return Took(**json.loads(done.stdout))


def main() -> None:
    """Print what one message takes, as JSON."""
    kind, size, memory, rows = sys.argv[1:]
    print(json.dumps(asdict(measured(KINDS[kind](int(size)), settings(int(memory), int(rows))))))


if __name__ == "__main__":
    main()
