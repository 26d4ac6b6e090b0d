"""Both shapes of an event, and what is odd in them."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest

from lmdp import Message
from lmdp.cloud.event_source import UNKNOWN, _written, read_event
from lmdp.core.rejects import envelope

# The sample of AWS's page about MSK as a source, shortened: the partition is text there.
PIPES: dict[str, Any] = {
    "eventSource": "aws:kafka",
    "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1",
    "eventSourceKey": "lm.metrics.otlp-0",
    "topic": "lm.metrics.otlp",
    "partition": "0",
    "offset": 15,
    "timestamp": 1545084650987,
    "timestampType": "CREATE_TIME",
    "key": "a2V5",
    "value": "SGVsbG8=",
    "headers": [{"headerKey": [104, 101, -61, -92]}, {"none": None}],
}
READ = Message(
    value=b"Hello",
    topic="lm.metrics.otlp",
    partition=0,
    offset=15,
    timestamp=1545084650987,
    key=b"key",
    headers=(("headerKey", "heä".encode()), ("none", None)),
)


def less(*names: str, **changes: Any) -> dict[str, Any]:
    """The sample without some fields, and with others."""
    return {name: value for name, value in {**PIPES, **changes}.items() if name not in names}


@pytest.mark.parametrize(
    ("event", "messages"),
    [
        ([PIPES], [READ]),
        ([less(partition=0)], [READ]),
        ([less(bootstrapServers="b-1:9094", eventSource="SelfManagedKafka")], [READ]),
        ({"eventSource": "aws:kafka", "records": {"lm.metrics.otlp-0": [less("eventSourceKey", partition=0)]}}, [READ]),
        ([less("key", "headers", "timestamp")], [Message(b"Hello", "lm.metrics.otlp", 0, 15)]),
        ([less("headers", "timestamp", key="", value="")], [Message(None, "lm.metrics.otlp", 0, 15)]),
        ([less("value", "headers", key=None)], [Message(None, "lm.metrics.otlp", 0, 15, 1545084650987)]),
        ([less("headers", key="?")], [Message(b"Hello", "lm.metrics.otlp", 0, 15, 1545084650987)]),
        ([], []),
        ({"records": {}}, []),
        (None, []),
    ],
)
def test_both_shapes_are_read(event: object, messages: list[Message]) -> None:
    """Pipes' list and an event source mapping's object give the same messages; what is optional may be absent."""
    incoming = read_event(json.loads(json.dumps(event)))
    assert incoming.messages == messages
    assert incoming.rejects == []


@pytest.mark.parametrize(
    ("record", "place", "raw", "reason"),
    [
        (less(value="SGVsbG8"), ("lm.metrics.otlp", 0, 15), b"SGVsbG8", "value: not valid base64"),
        (less(value="SGVs bG8="), ("lm.metrics.otlp", 0, 15), b"SGVs bG8=", "value: not valid base64"),
        (less(value="ä"), ("lm.metrics.otlp", 0, 15), "ä".encode(), "value: not valid base64"),
        (less(value="\ud800"), ("lm.metrics.otlp", 0, 15), b"\\ud800", "value: not valid base64"),
        (less(partition="zero"), ("lm.metrics.otlp", 0, 15), b"Hello", "partition: not a whole number"),
        (less("topic"), ("lm.metrics.otlp", 0, 15), b"Hello", "topic: not text"),
        (less("topic", "eventSourceKey", "partition"), ("", UNKNOWN, 15), b"Hello", "topic: not text; partition: not"),
        (less("offset"), ("lm.metrics.otlp", 0, UNKNOWN), b"Hello", "offset: not a whole number"),
        (less(offset=True), ("lm.metrics.otlp", 0, UNKNOWN), b"Hello", "offset: not a whole number"),
        (less(offset=-1), ("lm.metrics.otlp", 0, UNKNOWN), b"Hello", "offset: not a whole number"),
        ("text", ("", UNKNOWN, UNKNOWN), b'"text"', "the record is not a JSON object"),
        (None, ("", UNKNOWN, UNKNOWN), b"null", "the record is not a JSON object"),
        ({"key1": "\ud800"}, ("", UNKNOWN, UNKNOWN), b'{"key1": "\\ud800"}', "topic: not text"),
    ],
)
def test_an_odd_record_is_a_reject(record: object, place: tuple[str, int, int], raw: bytes, reason: str) -> None:
    """A record that cannot be read stops nothing: it is kept with its coordinates, and its neighbour is read."""
    incoming = read_event([record, PIPES])
    assert incoming.messages == [READ]
    (reject,) = incoming.rejects
    assert (reject.topic, reject.partition, reject.offset) == place
    assert reject.code == "Decode.Malformed"
    assert reject.raw == raw
    assert reason in reject.message


@pytest.mark.parametrize("event", ["text", 7, {"key1": "value1"}, {"records": {"t-0": "x"}}, {"records": [1]}])
def test_an_event_of_neither_shape_is_a_reject(event: object) -> None:
    """What is no event of Kafka's is kept too, once."""
    incoming = read_event(event)
    assert incoming.messages == []
    assert len(incoming.rejects) == 1


def nested(depth: int) -> Any:
    """Lists and objects in each other."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("event", "raw"),
    [
        ([nested(980)], None),
        ([nested(20_000)], None),
        ([less(value=nested(20_000))], None),
        ({"records": {"t-0": [nested(20_000)]}}, None),
        ({"records": nested(20_000)}, None),
        ([less(topic="\ud800")], b"Hello"),
        ([less(topic=5, eventSourceKey="\ud800-1")], b"Hello"),
        ([less(value="SGVs\udc00")], b"SGVs\\udc00"),
        ([less(value=1e400)], None),
    ],
    ids=["at the limit", "deep", "value", "mapping", "records", "topic", "source key", "value's text", "infinite"],
)
def test_what_cannot_be_read_or_written_is_a_reject(event: Any, raw: bytes | None) -> None:
    """However a record is nested, and whatever text it has, it is one reject that can be stored, and raises nothing."""
    incoming = read_event(event)
    (reject,) = incoming.rejects
    assert (incoming.messages, reject.code) == ([], "Decode.Malformed")
    assert msgspec.json.encode(envelope(reject, 1))
    assert reject.raw == raw if raw else reject.raw.count(b"[") > 0 or b"Infinity" in reject.raw


def test_a_deep_record_is_kept_whole() -> None:
    """What is nested beyond what Python follows is written as json.dumps would write it."""
    (reject,) = read_event([nested(5_000)]).rejects
    limit = sys.getrecursionlimit()
    assert limit < 5_000
    assert (reject.raw.count(b"["), reject.raw.count(b"]")) == (2_500, 2_500)
    (reject,) = read_event([[nested(40)]]).rejects
    assert b"".join(piece.encode() for piece in _written([nested(40)])) == reject.raw


@pytest.mark.parametrize(("header", "tenant"), [("lmdp-tenant", "acme"), (None, "")])
def test_a_record_that_is_no_message_keeps_its_tenant(header: str | None, tenant: str) -> None:
    """Its value may be one, which a replay reads."""
    record = less(offset="x", headers=[{"lmdp-tenant": list(b"acme")}])
    (reject,) = read_event([record], header).rejects
    assert (reject.raw, reject.tenant) == (b"Hello", tenant)
