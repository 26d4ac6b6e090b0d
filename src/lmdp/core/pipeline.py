"""The order of the core: message → decompress → decode → flatten → rows, rejects and counts.

It does no I/O, reads no clock and knows no vendor: sources hand messages in, sinks take rows and rejects out.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from msgspec import Struct

from lmdp.core.encode import row_bytes
from lmdp.core.flatten import Flat, Row, SizeLimits, flatten
from lmdp.core.otlp.decode import decode
from lmdp.core.otlp.memory_estimate import MEMORY
from lmdp.core.promotion import Promotion
from lmdp.core.rejects import Reject, cut_down, reasons
from lmdp.core.specification import MAX_ROW_BYTES, Spec, load_spec
from lmdp.errors import MALFORMED, TOO_DEEP, MessageError, SettingsError

TENANT_HEADER = "lmdp-tenant"
"""The Kafka header in which the receiver writes a message's tenant."""

_TENANTS = 64  # whose promotions are cached


class Message(Struct, frozen=True, gc=False):
    """One Kafka record, or its equal. `timestamp` is Kafka's, in milliseconds; a tombstone has no value."""

    value: bytes | None
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp: int | None = None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class TransformSettings:
    """The settings of `transform`. `org_id` is the tenant of messages that name none; the limits are in bytes.

    `tenant_header` names a Kafka header that decides the tenant before anything in the message, where a message has it:
    for a topic to which nobody else can write than who sets it.
    `max_message_memory` is the memory that reading a message may take, estimated beforehand and on the safe side.
    `max_row_bytes` is for a row as JSON: the specification's limit, or less where a sink's own is lower.
    """

    org_id: str | None = None
    max_decompressed_bytes: int = 64 * 2**20
    max_message_memory: int = MEMORY
    max_message_row_bytes: int = 256 * 2**20
    max_row_bytes: int = MAX_ROW_BYTES
    spec: Spec = field(default_factory=load_spec)
    tenant_header: str | None = None

    def __post_init__(self) -> None:
        limits = ("max_decompressed_bytes", "max_message_memory", "max_message_row_bytes", "max_row_bytes")
        faults = [f"{name} is {getattr(self, name)}; it is at least 1" for name in limits if getattr(self, name) < 1]
        if faults:
            raise SettingsError.of(faults)


@dataclass(slots=True)
class Counts:
    """Counts of what was read, and of its results.

    `datapoints` = `converted` + `dropped["noRecordedValue"]` + `rejected_datapoints`.
    """

    messages: int = 0
    datapoints: int = 0
    converted: int = 0
    rows: int = 0
    rejected_messages: int = 0
    rejected_datapoints: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.messages + other.messages,
            self.datapoints + other.datapoints,
            self.converted + other.converted,
            self.rows + other.rows,
            self.rejected_messages + other.rejected_messages,
            self.rejected_datapoints + other.rejected_datapoints,
            self.dropped + other.dropped,
            self.bytes_in + other.bytes_in,
        )

    def report(self) -> dict[str, Any]:
        """Return the counts under the names that every report uses."""
        return {
            "messages": self.messages,
            "datapoints": self.datapoints,
            "converted": self.converted,
            "rows": self.rows,
            "rejectedMessages": self.rejected_messages,
            "rejectedDatapoints": self.rejected_datapoints,
            "dropped": {reason: count for reason, count in sorted(self.dropped.items()) if count},
            "bytesIn": self.bytes_in,
        }


@dataclass(frozen=True, slots=True)
class Transformed:
    """The rows of some messages, what was rejected of them, and how it adds up.

    `size` is how many characters the rows have as JSON, and rather more than fewer. `ends` has for each message how
    many rows there are up to its last.
    """

    rows: list[Row]
    rejects: list[Reject]
    counts: Counts
    size: int = 0
    ends: list[int] = field(default_factory=list)


def transform(messages: Iterable[Message], settings: TransformSettings) -> Transformed:
    """Turn messages into rows and rejects. Nothing in the data raises."""
    stages = _stages(settings)
    header = settings.tenant_header
    return _each(messages, lambda message, value, done: _transform(message, value, stages, done), header)


def reject_whole(messages: Iterable[Message], code: str, text: str, tenant_header: str | None = None) -> Transformed:
    """Reject messages whole and unread, for a reason that is not in them; counted as `transform` counts."""

    def refuse(*_: object) -> int:
        raise MessageError(code, text)

    return _each(messages, refuse, tenant_header)


_Convert: TypeAlias = Callable[[Message, bytes, "Transformed"], int]
"""Adds a message, given its value, to what is done; returns the characters of its rows, or raises MessageError."""


def _each(messages: Iterable[Message], convert: _Convert, tenant_header: str | None) -> Transformed:
    counts = Counts()
    done = Transformed([], [], counts)
    rows, ends, size = done.rows, done.ends, 0
    for message in messages:
        value = message.value
        counts.messages += 1
        if not value:
            counts.dropped["empty"] += 1
            ends.append(len(rows))
            continue
        counts.bytes_in += len(value)
        try:
            size += convert(message, value, done)
        except MessageError as refused:
            _reject(done, message, refused.code, refused.text, value, 0, tenant_of(message, tenant_header))
        except RecursionError:
            _reject(done, message, MALFORMED, TOO_DEEP, value, 0, tenant_of(message, tenant_header))
        ends.append(len(rows))
    counts.rows = len(rows)
    return Transformed(rows, done.rejects, counts, size, ends)


@dataclass(frozen=True, slots=True)
class _Stages:
    """The settings as the stages take them."""

    settings: TransformSettings
    promotion: Promotion
    limits: SizeLimits
    tenant: str | None
    tenants: dict[str, _Stages] = field(default_factory=dict)


@functools.lru_cache(maxsize=8)
def _stages(settings: TransformSettings) -> _Stages:
    return _stages_of(settings, None)


def _stages_of(settings: TransformSettings, tenant: str | None) -> _Stages:
    measure = functools.partial(row_bytes, spec=settings.spec)
    return _Stages(
        settings,
        Promotion.of(settings.spec, tenant or settings.org_id, only=tenant is not None),
        SizeLimits(settings.max_message_row_bytes, settings.max_row_bytes, measure),
        tenant,
    )


def _transform(message: Message, value: bytes, stages: _Stages, done: Transformed) -> int:
    settings = stages.settings
    bundle = decode(value, settings.max_decompressed_bytes, settings.max_message_memory)
    if bundle is None:
        done.counts.dropped["empty"] += 1
        return 0
    if settings.tenant_header is not None:
        stages = _of_tenant(message, stages)
    flat = flatten(bundle, stages.promotion, stages.limits, message.timestamp)
    if flat.refused:
        code, text = reasons([refused.error for refused in flat.refused])
        raw = cut_down(refused.path for refused in flat.refused)
        _reject(done, message, code, text, raw, len(flat.refused), stages.tenant or "")
    done.rows.extend(flat.rows)
    _count(done.counts, flat)
    return flat.size


def tenant_of(message: Message, header: str | None) -> str:
    """Return the tenant that a message's header names; empty where it names none, or no header is trusted."""
    given = next((value for name, value in message.headers if name == header), None)
    return given.decode("utf-8", "replace").replace("\0", "") if given else ""


def _of_tenant(message: Message, stages: _Stages) -> _Stages:
    """Return the stages for the tenant that a message's header names; those of every message where it names none."""
    tenant = tenant_of(message, stages.settings.tenant_header)
    if not tenant:
        return stages
    if tenant not in stages.tenants:
        if len(stages.tenants) >= _TENANTS:
            stages.tenants.clear()
        stages.tenants[tenant] = _stages_of(stages.settings, tenant)
    return stages.tenants[tenant]


def _count(counts: Counts, flat: Flat) -> None:
    counts.datapoints += flat.datapoints
    counts.converted += flat.converted
    counts.rejected_datapoints += len(flat.refused)
    if flat.no_recorded_value:
        counts.dropped["noRecordedValue"] += flat.no_recorded_value
    if flat.non_finite:
        counts.dropped["nonFinite"] += flat.non_finite
    if flat.exemplars:
        counts.dropped["exemplars"] += flat.exemplars
    if flat.unknown_data:
        counts.dropped["unknownData"] += flat.unknown_data


def _reject(
    done: Transformed, message: Message, code: str, text: str, raw: bytes, datapoints: int, tenant: str
) -> None:
    done.counts.rejected_messages += 1
    done.rejects.append(
        Reject(
            code=code,
            message=text,
            raw=raw,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp=message.timestamp,
            key=message.key,
            datapoints=datapoints,
            tenant=tenant,
        )
    )
