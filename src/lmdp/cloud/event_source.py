"""The event of a pipe or an event source mapping, read as messages.

EventBridge Pipes gives a list of flat records, an event source mapping an object that holds lists by partition:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html

A Kafka pipe retries a failed batch until the topic's retention ends. So a record that cannot be read raises nothing: it
becomes a reject, with as much of it as could be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pybase64 import b64decode

from lmdp.core.pipeline import Message, tenant_of
from lmdp.core.rejects import Reject
from lmdp.errors import MALFORMED

UNKNOWN: Final = -1
"""The partition or offset of a record that has none."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """The contents of an event: its messages, and the records that are none."""

    messages: list[Message] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


def read_event(event: object, tenant_header: str | None = None) -> Incoming:
    """Read the records of an event of either shape; `tenant_header` is trusted. Nothing in it raises."""
    incoming = Incoming()
    for record in _records(event):
        faults: list[str] = []
        message = _message(record, faults)
        if faults:
            incoming.rejects.append(_reject(record, message, faults, tenant_header))
        else:
            incoming.messages.append(message)
    return incoming


def _records(event: object) -> Iterator[object]:
    if isinstance(event, list):
        yield from event
    elif isinstance(event, dict) and isinstance(event.get("records"), dict):
        for records in event["records"].values():
            yield from records if isinstance(records, list) else [records]
    elif event is not None:
        yield event


def _message(record: object, faults: list[str]) -> Message:
    """Return the record as far as it can be read; adds its faults to `faults`."""
    if not isinstance(record, dict):
        faults.append("the record is not a JSON object")
        return Message(None, partition=UNKNOWN, offset=UNKNOWN)
    topic, partition = _place(record)
    if topic != record.get("topic"):
        faults.append("topic: not text")
    return Message(
        value=_bytes(record, "value", faults),
        topic=topic,
        partition=_whole(record.get("partition"), "partition", faults, otherwise=partition),
        offset=_whole(record.get("offset"), "offset", faults),
        timestamp=_timestamp(record.get("timestamp")),
        key=_bytes(record, "key", []),  # a key is kept, and nothing depends on it
        headers=_headers(record.get("headers")),
    )


def _place(record: dict[str, Any]) -> tuple[str, int]:
    """Return topic and partition, else those of `eventSourceKey`, which only Pipes has (`topic-0`)."""
    topic, source = record.get("topic"), record.get("eventSourceKey")
    name, dash, number = source.rpartition("-") if isinstance(source, str) else ("", "", "")
    known = bool(dash) and number.isascii() and number.isdigit() and len(number) < 10
    text = topic if isinstance(topic, str) else name if known else ""
    # Half a surrogate pair, which JSON can name, cannot be encoded.
    return text.encode("utf-8", "backslashreplace").decode(), int(number) if known else UNKNOWN


def _whole(value: object, name: str, faults: list[str], otherwise: int = UNKNOWN) -> int:
    """Return a number, or a numeric string's: AWS's sample has the partition as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    faults.append(f"{name}: not a whole number")
    return otherwise


def _timestamp(value: object) -> int | None:
    """Return Kafka's timestamp in milliseconds; a record may have none."""
    timestamp = _whole(value, "timestamp", [])
    return None if timestamp == UNKNOWN else timestamp


def _bytes(record: dict[str, Any], name: str, faults: list[str]) -> bytes | None:
    value = record.get(name)
    if value is None or value == "":
        return None
    try:
        return b64decode(value, validate=True)
    except (TypeError, ValueError):  # not text; not base64, or not ASCII
        faults.append(f"{name}: not valid base64")
        return None


def _headers(value: object) -> tuple[tuple[str, bytes | None], ...]:
    """Return Kafka's headers, which come as `[{name: [byte, …]}, …]`; malformed ones are left out."""
    headers = value if isinstance(value, list) else []
    pairs = [pair for header in headers if isinstance(header, dict) for pair in header.items()]
    return tuple((str(name), _octets(content)) for name, content in pairs)


def _octets(value: object) -> bytes | None:
    # They may be signed, as Java's bytes are.
    if isinstance(value, list) and all(isinstance(octet, int) and -128 <= octet <= 255 for octet in value):
        return bytes(octet & 255 for octet in value)
    return None


def _reject(record: object, message: Message, faults: list[str], tenant_header: str | None) -> Reject:
    """Return a reject with the record's value where it could be read, else with the record itself as JSON."""
    return Reject(
        code=MALFORMED,
        message="the event's record: " + "; ".join(faults),
        raw=message.value if message.value is not None else _raw(record),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp=message.timestamp,
        key=message.key,
        tenant=tenant_of(message, tenant_header),
    )


def _raw(record: object) -> bytes:
    value = record.get("value") if isinstance(record, dict) else None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    try:
        return json.dumps(record, default=repr).encode()
    except RecursionError:
        return "".join(_written(record)).encode()


def _written(record: object) -> Iterator[str]:
    """Yield the pieces of `record` as JSON, however deep it is nested: json.dumps recurses for each level."""
    pending: list[tuple[bool, object]] = [(False, record)]  # last first; whether it is JSON already
    while pending:
        is_json, item = pending.pop()
        if is_json or not isinstance(item, dict | list):
            yield str(item) if is_json else json.dumps(item, default=repr)
            continue
        inner: list[tuple[bool, object]] = [(True, "{" if isinstance(item, dict) else "[")]
        members = item.items() if isinstance(item, dict) else ((None, each) for each in item)
        for at, (key, each) in enumerate(members):
            inner.append((True, (", " if at else "") + ("" if key is None else f"{json.dumps(key)}: ")))
            inner.append((False, each))
        inner.append((True, "}" if isinstance(item, dict) else "]"))
        pending.extend(reversed(inner))
