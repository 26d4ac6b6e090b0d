"""Messages on their way into one transaction: their rows and rejects, and which offsets they are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lmdp.core.flatten import Row
from lmdp.core.pipeline import Counts, Message, TransformSettings, transform
from lmdp.core.rejects import Reject
from lmdp.machine.kafka.topic_identity import Identity
from lmdp.machine.metrics import Progress
from lmdp.machine.warehouse.warehouse import Load, OffsetRange, Warehouse
from lmdp.support.reject_files import envelope, write_to_folder

_REJECT_FRAME = 1_000
_REJECT_COPIES = 4  # as bytes, in base64, as a column, and for a file


@dataclass(slots=True)
class _Part:
    """What one partition gave to this batch: offsets from `first` up to, not including, `next`.

    Offsets without a message (transaction markers, aborted and compacted ones) are in it, so ranges adjoin in LOADS.
    """

    first: int
    next: int
    rows: int = 0
    rejects: int = 0


class Batch:
    """The messages of one topic that are written together. Not thread-safe."""

    def __init__(self, identity: Identity, settings: TransformSettings, rejects_folder: Path | None = None) -> None:
        self._identity = identity
        self._settings = settings
        self._rejects_folder = rejects_folder
        self._rows: list[Row] = []
        self._rejects: list[Reject] = []
        self.size = 0
        """About how many characters its rows and rejects have."""
        self._counts = Counts()
        self._parts: dict[tuple[int, int], _Part] = {}  # by partition and leader epoch, in the order of reading
        self.positions: dict[int, int] = {}
        """The next offset to read, by partition, of every partition that is read; the next batch has the same."""
        self._gaps: list[OffsetRange] = []
        self._timestamps: Counter[int] = Counter()  # messages by Kafka's timestamp
        self._since: float | None = None

    @property
    def rows(self) -> int:
        """How many rows are in it."""
        return len(self._rows)

    def next(self) -> Batch:
        """An empty one for what comes next."""
        batch = Batch(self._identity, self._settings, self._rejects_folder)
        batch.positions = self.positions
        return batch

    def empty(self) -> bool:
        """Whether nothing was read that is to be written."""
        return not self._parts

    def age(self) -> float:
        """Seconds since something was read into it."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def add(self, messages: Sequence[Message], epoch: int = -1) -> None:
        """Transform the next messages of one partition; `epoch` is its leader's, -1 where the broker has none."""
        done = transform(messages, self._settings)
        part = self._read(messages[0].partition, messages[0].offset, messages[-1].offset + 1, epoch)
        part.rows += len(done.rows)
        part.rejects += len(done.rejects)
        self._rows += done.rows
        self._rejects += done.rejects
        self.size += done.size + sum(_REJECT_FRAME + _REJECT_COPIES * len(reject.raw) for reject in done.rejects)
        self._counts += done.counts
        self._timestamps.update(message.timestamp for message in messages if message.timestamp is not None)

    def read_to(self, partition: int, offset: int, epoch: int = -1) -> None:
        """Note that `partition` was read up to `offset`, which may be behind offsets that have no message.

        `epoch` is the leader's there. A position that is known already is nothing to write.
        """
        at = self.positions.get(partition, offset)
        if offset > at:
            self._read(partition, at, offset, epoch)

    def _read(self, partition: int, first: int, end: int, epoch: int) -> _Part:
        """The part that offsets up to `end` belong to; `first` is the one of the first message."""
        part = self._parts.get((partition, epoch))
        if part is None:
            begin = min(first, self.positions.get(partition, first))
            part = self._parts[partition, epoch] = _Part(begin, begin)
            self._since = self._since or time.monotonic()
        part.next = self.positions[partition] = end
        return part

    def go_on(self, partition: int, offset: int, *, lost_from: int | None = None) -> None:
        """Note that `partition` goes on at `offset`; the messages from `lost_from` up to it were gone unread."""
        self._parts[partition, -1] = _Part(offset, offset)
        self.positions[partition] = offset
        if lost_from is not None:
            identity = self._identity
            lost = (partition, lost_from, offset, 0, 0)
            self._gaps.append(OffsetRange(identity.cluster, identity.topic_id, identity.topic, *lost))

    def commit(self, warehouse: Warehouse, progress: Progress) -> None:
        """Write it in one transaction, and note that in `progress`. Raises LmdpError when nothing was written."""
        now = datetime.now(UTC)
        now_ms = int(now.timestamp() * 1000)
        identity = self._identity
        ranges = [
            OffsetRange(
                *(identity.cluster, identity.topic_id, identity.topic, at),
                *(part.first, part.next, part.rows, part.rejects, epoch),
            )
            for (at, epoch), part in self._parts.items()
        ]
        if self._rejects_folder is not None:
            write_to_folder(self._rejects_folder, self._rejects, now_ms)  # a batch that comes again overwrites them
        rejects = self._rejects
        warehouse.commit(
            Load(
                self._rows, [envelope(reject, now_ms) for reject in self._rejects], ranges, now, self._gaps, self.size
            ),
            then=lambda bytes_out: progress.committed(self._counts, rejects, bytes_out),
        )
        done_ms = time.time_ns() // 1_000_000
        for timestamp, messages in self._timestamps.items():
            progress.latencies.add(done_ms - timestamp, messages)

    def next_offsets(self) -> dict[int, int]:
        """The next offset to read, by partition that was read."""
        return {at: part.next for (at, _), part in self._parts.items()}
