"""The batch that is committed in one step: data, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

from lmdp.core.flatten import Row
from lmdp.core.pipeline import Counts, Transformed
from lmdp.core.rejects import Reject, envelope
from lmdp.machine.offsets import Fetch, OffsetRange, TopicIdentity
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.sink import Load

if TYPE_CHECKING:
    import pyarrow as pa

_REJECT_FRAME = 1_000
_REJECT_COPIES = 4  # as bytes, in base64, as a column, and for a file
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class TransformedTable(Transformed):
    """Rows that are `columns` already; `rows` has none."""

    columns: pa.Table | None = None


@dataclass(slots=True)
class _Range:
    first: int
    next: int
    epoch: int = -1
    rows: int = 0
    rejects: int = 0

    def takes(self, fetch: Fetch) -> bool:
        """Return whether `fetch`, which adjoins, belongs to it. A reset is a range of its own."""
        return self.epoch == fetch.epoch and self.first < self.next and fetch.first < fetch.next

    def is_unknown(self) -> bool:
        """Return whether it has offsets of an unknown epoch, and no message."""
        return self.epoch == -1 and self.first < self.next and not (self.rows or self.rejects)


@dataclass(slots=True)
class Batch:
    """Rows, rejects and offset ranges of one topic that are committed together.

    A row is a tuple in `rows`, or in a table of `columns`.
    `size` is about how many characters its rows and rejects have. `since` is when something was first read into it.
    """

    identity: TopicIdentity
    rows: list[Row] = field(default_factory=list)
    columns: list[pa.Table] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    counted_rejects: list[Reject] = field(default_factory=list)
    size: int = 0
    counts: Counts = field(default_factory=Counts)
    timestamps: Counter[int] = field(default_factory=Counter)
    """Messages by Kafka's timestamp."""
    gaps: list[OffsetRange] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)
    since: float | None = None
    messages: list[tuple[int, int, int]] = field(default_factory=list)
    """Each message's partition and offset, and the rows up to its last."""
    number: int = field(default_factory=_numbers.__next__)
    _ranges: dict[int, list[_Range]] = field(default_factory=dict)  # by partition, in reading order
    _has_reset: bool = False

    def is_empty(self) -> bool:
        """Return whether it holds nothing to commit."""
        return not self._ranges

    def adjoins(self, fetch: Fetch) -> bool:
        """Return whether `fetch` begins where the batch ends in its partition; else it belongs to the next batch."""
        return self.next_offsets.get(fetch.partition, fetch.first) == fetch.first

    def add(self, fetch: Fetch, done: Transformed, now: float, *, counted: bool = False) -> None:
        """Take the rows and rejects of `fetch`; they are not counted where they were `counted` before."""
        found = self._range_of(fetch)
        found.next = self.next_offsets[fetch.partition] = fetch.next
        found.rows += done.counts.rows
        found.rejects += len(done.rejects)
        if isinstance(done, TransformedTable):
            self.columns.append(done.columns)
        else:
            self._note_messages(fetch, done.ends)
            self.rows += done.rows
        self.rejects += done.rejects
        self.size += done.size + sum(_REJECT_FRAME + _REJECT_COPIES * len(reject.raw) for reject in done.rejects)
        if not counted:
            self.counts += done.counts
            self.counted_rejects += done.rejects
            self.timestamps.update(message.timestamp for message in fetch.messages if message.timestamp is not None)
        self.since = now if self.since is None else self.since
        self._has_reset = self._has_reset or fetch.first == fetch.next
        if fetch.lost_from is not None:
            self.gaps.append(self._range(fetch.partition, _Range(fetch.lost_from, fetch.first)))

    def is_full(self, settings: ConsumeSettings) -> bool:
        """Return whether it is large enough to be committed at once."""
        return self.counts.rows >= settings.batch_rows or self.size >= settings.batch_bytes

    def is_due(self, settings: ConsumeSettings, now: float) -> bool:
        """Return whether it is old enough, or has where a partition begins, which must not be forgotten."""
        return self.since is not None and (self._has_reset or now - self.since >= settings.linger_s)

    def lost(self) -> int:
        """Return how many messages expired unread."""
        return sum(gap.next - gap.first for gap in self.gaps)

    def load(self, at: datetime) -> Load:
        """Return what a sink commits; `at` is the time of the commit."""
        ranges = [self._range(partition, one) for partition, found in self._ranges.items() for one in found]
        at_ms = int(at.timestamp() * 1000)
        rejects = [envelope(reject, at_ms) for reject in self.rejects]
        size = self.size * len(self.rows) // max(self.counts.rows, 1)
        return Load(self.rows, rejects, ranges, at, self.gaps, size, self.columns, self.messages, self.number)

    def _note_messages(self, fetch: Fetch, ends: Sequence[int]) -> None:
        partition, before = fetch.partition, len(self.rows)
        self.messages += [
            (partition, message.offset, before + end) for message, end in zip(fetch.messages, ends, strict=True)
        ]

    def _range_of(self, fetch: Fetch) -> _Range:
        """Return the range that `fetch` continues: the partition's last, or a new one.

        Epochs never fall within a log, so that what lies between two messages of one epoch is of it, too.
        """
        ranges = self._ranges.setdefault(fetch.partition, [])
        if len(ranges) > 1 and ranges[-1].is_unknown() and ranges[-2].takes(fetch):
            ranges.pop()
        if not (ranges and ranges[-1].takes(fetch)):
            ranges.append(_Range(fetch.first, fetch.first, fetch.epoch))
        return ranges[-1]

    def _range(self, partition: int, found: _Range) -> OffsetRange:
        topic = self.identity
        return OffsetRange(
            cluster=topic.cluster,
            topic_id=topic.topic_id,
            topic=topic.topic,
            partition=partition,
            first=found.first,
            next=found.next,
            rows=found.rows,
            rejects=found.rejects,
            epoch=found.epoch,
        )
