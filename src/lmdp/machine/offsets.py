"""A topic, ranges of its offsets, and fetches, as a source hands them out: data, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmdp.core.pipeline import Message


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """A topic by its cluster and id: one of the same name in another cluster, or a recreated one, is another topic.

    `topic_id` is empty where the broker has none.
    """

    cluster: str
    topic_id: str
    topic: str


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The messages `first` up to, not including, `next` of a partition, and what they became.

    A broker that lost its newest messages gives their offsets to others, with a higher leader `epoch` (-1: none).
    """

    cluster: str
    topic_id: str
    topic: str
    partition: int
    first: int
    next: int
    rows: int
    rejects: int
    epoch: int = -1


@dataclass(frozen=True, slots=True)
class Fetch:
    """Offsets `first` up to, not including, `next` of a partition, and the messages in them.

    Offsets without a message (transaction markers, aborted and compacted ones) are in it, so ranges adjoin. A reset is
    empty: reading continues at `first`, and the offsets from `lost_from` (None: nothing) up to it expired unread.
    `epoch` is the leader's, -1 where it is not known.
    """

    partition: int
    first: int
    next: int
    epoch: int = -1
    messages: Sequence[Message] = ()
    lost_from: int | None = None

    def split(self, offset: int) -> tuple[Fetch, ...]:
        """Return what is before `offset` and what is from there on; itself where one of them is empty."""
        if not self.first < offset < self.next:
            return (self,)
        before = [message for message in self.messages if message.offset < offset]
        return (
            replace(self, next=offset, messages=before),
            replace(self, first=offset, messages=self.messages[len(before) :], lost_from=None),
        )
