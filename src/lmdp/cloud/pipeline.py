"""The order of one invocation: event → messages → rows and rejects → rejects to S3 → rows to Firehose or Snowflake.

Bad data never raises, since a Kafka pipe would redeliver it until the topic's retention ends; it becomes rejects. Only
faults that a retry can fix raise: rejects that cannot be written, rows that cannot be delivered.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from lmdp.cloud.event_source import UNKNOWN, Incoming, read_event
from lmdp.cloud.reject_sink import WriteRejects
from lmdp.core.encode import encode
from lmdp.core.pipeline import Counts, Message, TransformSettings, reject_whole, transform
from lmdp.core.rejects import Reject
from lmdp.core.specification import Spec
from lmdp.errors import DECODE_TOO_LARGE, Delivery, DeliveryError

_CHUNK_BYTES: Final = 64 * 2**10

Step: TypeAlias = Callable[[str], AbstractContextManager[object]]
"""Marks a part of an invocation in a trace."""


@dataclass(frozen=True, slots=True)
class Sink:
    """Destination of rows. `deliver` sends them all before a time of `clock`, in seconds, or raises DeliveryError."""

    name: str
    deliver: Callable[[Sequence[bytes], float], Delivery]
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The settings and sinks of all invocations. `margin` seconds are reserved for the end of an invocation."""

    transform: TransformSettings
    row_spec: Spec
    write_rejects: WriteRejects
    sink: Sink
    margin: float


@dataclass(slots=True)
class Invocation:
    """One event on its way through the pipeline, and its results so far: one that raises has them too.

    `offsets` is the first and last offset of each topic-partition; `code` is empty unless delivery failed.
    """

    pipeline: Pipeline
    now_ms: int
    step: Step = nullcontext
    counts: Counts = field(default_factory=Counts)
    rejects: Counter[str] = field(default_factory=Counter)
    oldest_age_ms: int | None = None
    reject_objects: int = 0
    delivered: Delivery | None = None
    offsets: dict[str, list[int]] = field(default_factory=dict)
    code: str = ""

    def run(self, event: object, seconds_left: float) -> None:
        """Handle the event. Raises RejectsNotWrittenError or DeliveryError when the batch has to be sent again."""
        sink = self.pipeline.sink
        deadline = sink.clock() + seconds_left - self.pipeline.margin
        with self.step("transform"):
            rows, rejects = self._transform(read_event(event, self.pipeline.transform.tenant_header))
        with self.step("rejects"):
            self.reject_objects = self.pipeline.write_rejects(rejects, self.now_ms, deadline - sink.clock())
        with self.step(sink.name):
            self._deliver(rows, deadline)

    def _transform(self, incoming: Incoming) -> tuple[list[bytes], list[Reject]]:
        messages, rejects = incoming.messages, list(incoming.rejects)
        self.offsets = _offsets([*messages, *rejects])
        counts = Counts(
            messages=len(rejects), rejected_messages=len(rejects), bytes_in=sum(len(each.raw) for each in rejects)
        )
        rows: list[bytes] = []
        # A batch of compressed messages can make any number of rows: without a limit the function would run out of
        # memory, and the pipe would redeliver the same batch for ever.
        size, limit = 0, self.pipeline.transform.max_message_row_bytes
        for chunk in _chunks(messages):  # only their JSON is kept, a third of the memory of all at once
            if size <= limit:
                done = transform(chunk, self.pipeline.transform)
            else:
                text = f"the messages before it in its batch make more than {limit:,} bytes of rows; replay it"
                done = reject_whole(chunk, DECODE_TOO_LARGE, text, self.pipeline.transform.tenant_header)
            encoded = encode(done.rows, self.pipeline.row_spec)
            size += sum(map(len, encoded))
            rows += encoded
            rejects += done.rejects
            counts += done.counts
        times = [message.timestamp for message in messages if message.timestamp is not None]
        self.counts = counts
        self.rejects = Counter(reject.code for reject in rejects)
        self.oldest_age_ms = max(self.now_ms - min(times), 0) if times else None
        return rows, rejects

    def _deliver(self, rows: list[bytes], deadline: float) -> None:
        try:
            self.delivered = self.pipeline.sink.deliver(rows, deadline)
        except DeliveryError as error:
            self.delivered, self.code = error.delivered, error.code
            raise

    def summary(self) -> dict[str, Any]:
        """Return numbers and codes only; never a row's content."""
        delivered = self.delivered or Delivery(0)
        return {
            **self.counts.report(),
            "rejects": dict(sorted(self.rejects.items())),
            "rejectObjects": self.reject_objects,
            "delivered": delivered.accepted,
            "refused": delivered.refused,
            "retried": delivered.retried,
            "probableRepeats": delivered.repeats,
            "calls": delivered.calls,
            "throttledCalls": delivered.throttled,
            "deliveryMs": round(1000 * delivered.seconds),
            "oldestAgeMs": self.oldest_age_ms,
            "offsets": self.offsets,
            f"{self.pipeline.sink.name}Code": self.code or None,
        }


def _offsets(records: Iterable[Message | Reject]) -> dict[str, list[int]]:
    """Return the first and last offset by topic-partition, by which a redelivered batch can be recognised."""
    spans: dict[tuple[str, int], list[int]] = {}
    for record in records:
        offset = record.offset
        if offset == UNKNOWN:
            continue
        span = spans.setdefault((record.topic, record.partition), [offset, offset])
        if offset < span[0]:
            span[0] = offset
        elif offset > span[1]:
            span[1] = offset
    return {f"{topic}-{partition}": span for (topic, partition), span in sorted(spans.items())}


def _chunks(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Yield messages that together make few rows at little cost; one that may be compressed is a chunk of its own."""
    chunk: list[Message] = []
    size = 0
    for message in messages:
        value = message.value or b"{"
        size += len(value)
        if chunk and (size > _CHUNK_BYTES or value[:1] != b"{" or (chunk[-1].value or b"{")[:1] != b"{"):
            yield chunk
            chunk, size = [], len(value)
        chunk.append(message)
    if chunk:
        yield chunk
