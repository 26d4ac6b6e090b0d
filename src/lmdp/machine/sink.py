"""Sink of the pipeline: takes rows, rejects and offsets in one step, and knows the offsets that it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    import pyarrow as pa

    from lmdp.machine.offsets import OffsetRange


@dataclass(frozen=True, slots=True)
class Load:
    """One commit: rows, reject envelopes, and where they came from.

    A row is a tuple in the specification's order, or JSON as bytes for a sink that takes it so.
    Rows may be columns already: tables in `columns`, as `row_columns` makes them, come alongside `rows`. `size`:
    characters of `rows`, about, if known. `messages`: in the order of `rows`, each message's partition and offset, and
    how many rows there are up to its last. `number` is the same for a load that is committed again.
    """

    rows: Sequence[tuple[Any, ...]]
    rejects: Sequence[dict[str, Any]]
    ranges: Sequence[OffsetRange]
    at: datetime
    gaps: Sequence[OffsetRange] = ()  # expired before they were read
    size: int = 0
    columns: Sequence[pa.Table] = ()
    messages: Sequence[tuple[int, int, int]] = ()
    number: int = 0


class Sink(Protocol):
    """A store of rows and rejects. It keeps offsets by cluster id, topic id, topic and partition, with the rows.

    A sink may take a load before it is durable: `durable` reports how far it is.
    """

    @property
    def name(self) -> str:
        """The sink's name on this host, for the owner of a consumer group's offsets."""

    @property
    def reopened(self) -> int:
        """Number of times that the sink was opened again after a failed commit."""

    def commit(self, load: Load, *, then: Callable[[int], None]) -> int:
        """Take all of `load`, and return the bytes of its rows; `then` is called with them once it is taken.

        After LmdpError the same load may be committed again: only what is not there of it is written. SinkTakenError is
        final, PartitionsLostError ends the source; SinkRewoundError comes after `then`, or nothing is taken.
        """

    def durable(self, taken: Mapping[int, int]) -> Mapping[int, int]:
        """Return how far each partition of `taken` (next offset) is durable; never waits for what is not.

        Raises SinkRewoundError when what was taken has been lost: it has to be read again, from `offsets` on.
        """

    def offsets(self, cluster: str, topic_id: str, topic: str, partitions: Collection[int] = ()) -> dict[int, int]:
        """Return the next offset to read, by partition; a partition that is not in it was never read.

        `partitions` are those that will be written.
        """

    def release(self, partitions: Collection[int] | None) -> None:
        """Forget partitions (None: all) that another process may write from now on; nothing of them is undone."""

    def epochs(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """Return the leader epoch of the last message read, by partition; -1 where it is not known."""

    def has_other_offsets(self, topic: str) -> bool:
        """Return whether a topic of this name was read into this sink, whatever its cluster and id."""
