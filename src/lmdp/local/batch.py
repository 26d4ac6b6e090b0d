"""Messages on their way into one transaction: their rows and rejects, and which offsets they are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lmdp.flatten import Row
from lmdp.local.progress import Progress
from lmdp.local.warehouse import Load, OffsetRange, Warehouse
from lmdp.local.watch import Identity
from lmdp.pipeline import Counts, Message, TransformSettings, transform
from lmdp.reject_files import write_to_folder
from lmdp.rejects import Reject


@dataclass(slots=True)
class _Part:
    """What one partition gave to this batch: offsets from `first` up to, not including, `next`."""

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
        self._counts = Counts()
        self._parts: dict[int, _Part] = {}
        self._timestamps: Counter[int] = Counter()  # messages by Kafka's timestamp
        self._since: float | None = None

    @property
    def rows(self) -> int:
        """How many rows are in it."""
        return len(self._rows)

    def next(self) -> Batch:
        """An empty one for what comes next."""
        return Batch(self._identity, self._settings, self._rejects_folder)

    def empty(self) -> bool:
        """Whether no message is in it."""
        return not self._parts

    def age(self) -> float:
        """Seconds since its first message."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def add(self, message: Message) -> None:
        """Transform one message, the next of its partition."""
        done = transform((message,), self._settings)
        part = self._parts.get(message.partition)
        if part is None:
            part = self._parts[message.partition] = _Part(message.offset, message.offset)
            self._since = self._since or time.monotonic()
        part.next = message.offset + 1
        part.rows += len(done.rows)
        part.rejects += len(done.rejects)
        self._rows += done.rows
        self._rejects += done.rejects
        self._counts += done.counts
        if message.timestamp is not None:
            self._timestamps[message.timestamp] += 1

    def skip(self, partition: int, offset: int) -> None:
        """Note that `partition` goes on at `offset`, though no message before it was read."""
        self._parts[partition] = _Part(offset, offset)

    def commit(self, warehouse: Warehouse, progress: Progress) -> None:
        """Write it in one transaction, and note that in `progress`. Raises LmdpError when nothing was written."""
        now = datetime.now(UTC)
        now_ms = int(now.timestamp() * 1000)
        identity = self._identity
        ranges = [
            OffsetRange(
                identity.cluster, identity.topic_id, identity.topic, at, part.first, part.next, part.rows, part.rejects
            )
            for at, part in self._parts.items()
        ]
        if self._rejects_folder is not None:
            write_to_folder(self._rejects_folder, self._rejects, now_ms)  # a batch that comes again overwrites them
        bytes_out = warehouse.commit(
            Load(self._rows, [reject.envelope(now_ms) for reject in self._rejects], ranges, now)
        )
        progress.committed(self._counts, Counter(reject.code for reject in self._rejects), bytes_out)
        done_ms = time.time_ns() // 1_000_000
        for timestamp, messages in self._timestamps.items():
            progress.latencies.add(done_ms - timestamp, messages)

    def next_offsets(self) -> Iterator[tuple[int, int]]:
        """The offset behind the last message, by partition."""
        return ((at, part.next) for at, part in self._parts.items())
