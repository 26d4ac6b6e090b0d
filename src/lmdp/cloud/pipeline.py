"""One invocation: event → messages → rows and rejects → rejects to S3 → rows to Firehose. The order is here alone.

Bad data never raises, since a Kafka pipe would send it again until the topic's retention ends; it becomes rejects. What
raises is what trying again can mend: rejects that cannot be written, rows that cannot be delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from lmdp.cloud.event_source import UNKNOWN, read_event
from lmdp.cloud.firehose_sink import Delivered, Firehose, deliver
from lmdp.cloud.reject_sink import WriteRejects
from lmdp.core.encode import encode
from lmdp.core.pipeline import Counts, Message, Transformed, TransformSettings, transform
from lmdp.core.rejects import Reject
from lmdp.core.specification import Spec
from lmdp.errors import DECODE_TOO_LARGE, DeliveryError

_PORTION_BYTES: Final = 64 * 2**10


@dataclass(frozen=True, slots=True)
class Path:
    """What an invocation goes through. `step` marks a part of it in a trace; `margin` is in seconds."""

    transform: TransformSettings
    keys: Spec
    write_rejects: WriteRejects
    firehose: Firehose
    margin: float
    step: Callable[[str], AbstractContextManager[object]]


@dataclass(slots=True)
class Report:
    """What an invocation came to, as far as it came: filled in on the way, so that one that raises has it too.

    `offsets` is the first and last offset of each topic-partition; `firehose_code` is empty unless delivery failed.
    """

    counts: Counts = field(default_factory=Counts)
    rejects: Counter[str] = field(default_factory=Counter)
    oldest_age_ms: int | None = None
    reject_objects: int = 0
    delivered: Delivered | None = None
    offsets: dict[str, list[int]] = field(default_factory=dict)
    firehose_code: str = ""

    def summary(self) -> dict[str, Any]:
        """Numbers and codes only; never a row's content."""
        delivered = self.delivered or Delivered(0, 0)
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
            "firehoseCode": self.firehose_code or None,
        }


def invoke(event: object, path: Path, report: Report, *, now_ms: int, seconds_left: float) -> None:
    """Handle one event. Raises RejectsNotWrittenError or DeliveryError when the batch has to be sent again."""
    deadline = path.firehose.clock() + seconds_left - path.margin
    with path.step("transform"):
        rows, rejects = _transform(event, path, report, now_ms)
    with path.step("rejects"):
        report.reject_objects = path.write_rejects(rejects, now_ms, deadline - path.firehose.clock())
    with path.step("firehose"):
        try:
            report.delivered = deliver(path.firehose, rows, deadline)
        except DeliveryError as error:
            report.delivered, report.firehose_code = error.delivered, error.code
            raise


def _transform(event: object, path: Path, report: Report, now_ms: int) -> tuple[list[bytes], list[Reject]]:
    incoming = read_event(event)
    report.offsets = _offsets([*incoming.messages, *incoming.rejects])
    rows: list[bytes] = []
    rejects = list(incoming.rejects)
    unread = len(rejects)
    counts = Counts(messages=unread, rejected_messages=unread, bytes_in=sum(len(reject.raw) for reject in rejects))
    # A batch of compressed messages can make any number of rows: without an end the function would run out of memory,
    # and the pipe would try the same batch for ever.
    held, room = 0, path.transform.max_message_row_bytes
    for portion in _portions(incoming.messages):  # only their JSON is kept, a third of the memory of all at once
        done = _too_much(portion, room) if held > room else transform(portion, path.transform)
        encoded = encode(done.rows, path.keys)
        held += sum(map(len, encoded))
        rows += encoded
        rejects += done.rejects
        counts += done.counts
    times = [message.timestamp for message in incoming.messages if message.timestamp is not None]
    report.counts = counts
    report.rejects = Counter(reject.code for reject in rejects)
    report.oldest_age_ms = max(now_ms - min(times), 0) if times else None
    return rows, rejects


def _offsets(records: Iterable[Message | Reject]) -> dict[str, list[int]]:
    """First and last offset by topic-partition, so that a batch that comes again and again can be recognised."""
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


def _portions(messages: Iterable[Message]) -> Iterator[list[Message]]:
    """Messages that together make few rows, for what one costs; one that may be compressed stands alone."""
    portion: list[Message] = []
    size = 0
    for message in messages:
        value = message.value or b"{"
        size += len(value)
        if portion and (size > _PORTION_BYTES or value[:1] != b"{" or (portion[-1].value or b"{")[:1] != b"{"):
            yield portion
            portion, size = [], len(value)
        portion.append(message)
    if portion:
        yield portion


def _too_much(messages: Iterable[Message], room: int) -> Transformed:
    """The messages as they are, for a replay: there is no more room for their rows."""
    text = f"the messages before it in its batch make more than {room:,} bytes of rows; replay it"
    done = Transformed([], [], Counts())
    for message in messages:
        value = message.value or b""
        where = (message.topic, message.partition, message.offset, message.timestamp, message.key)
        if value:
            done.rejects.append(Reject(DECODE_TOO_LARGE, text, value, *where))
        done.counts.dropped["empty"] += not value
        done.counts.rejected_messages += bool(value)
        done.counts.messages += 1
        done.counts.bytes_in += len(value)
    return done
