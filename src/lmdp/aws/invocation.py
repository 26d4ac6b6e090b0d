"""One invocation: event → messages → rows and rejects → rejects to S3 → rows to Firehose. The order is here alone.

Bad data never raises, since a Kafka pipe would send it again until the topic's retention ends; it becomes rejects. What
raises is what trying again can mend: rejects that cannot be written, rows that cannot be delivered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from lmdp.aws.events import read_event
from lmdp.aws.firehose import Delivered, Firehose, NotDelivered, deliver
from lmdp.aws.rejects import WriteRejects
from lmdp.encode import encode
from lmdp.pipeline import Counts, TransformSettings, transform
from lmdp.rejects import Reject
from lmdp.spec_loader import Spec


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
    """What an invocation came to, as far as it came: filled in on the way, so that one that raises has it too."""

    counts: Counts = field(default_factory=Counts)
    rejects: Counter[str] = field(default_factory=Counter)
    oldest_age_ms: int | None = None
    reject_objects: int = 0
    delivered: Delivered | None = None

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
        }


def invoke(event: object, path: Path, report: Report, *, now_ms: int, seconds_left: float) -> None:
    """Handle one event. Raises RejectsNotWritten or NotDelivered when the batch has to be sent again."""
    deadline = path.firehose.clock() + seconds_left - path.margin
    with path.step("transform"):
        rows, rejects = _transform(event, path, report, now_ms)
    with path.step("rejects"):
        report.reject_objects = path.write_rejects(rejects, now_ms)
    with path.step("firehose"):
        try:
            report.delivered = deliver(path.firehose, rows, deadline)
        except NotDelivered as error:
            report.delivered = error.delivered
            raise


def _transform(event: object, path: Path, report: Report, now_ms: int) -> tuple[list[bytes], list[Reject]]:
    incoming = read_event(event)
    done = transform(incoming.messages, path.transform)
    rejects = [*incoming.rejects, *done.rejects]
    unread = len(incoming.rejects)
    raw = sum(len(reject.raw) for reject in incoming.rejects)
    report.counts = done.counts + Counts(messages=unread, rejected_messages=unread, bytes_in=raw)
    report.rejects = Counter(reject.code for reject in rejects)
    times = [message.timestamp for message in incoming.messages if message.timestamp is not None]
    report.oldest_age_ms = max(now_ms - min(times), 0) if times else None
    return encode(done.rows, path.keys), rejects
