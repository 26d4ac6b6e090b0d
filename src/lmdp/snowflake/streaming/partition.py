"""Partition of a topic, as a writer sees it: the name of its channel, and what is known of it."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lmdp.snowflake.streaming.channel import Channel, InFlight, Status
from lmdp.snowflake.streaming.token import Position


class Key(NamedTuple):
    """A partition of a topic in a cluster."""

    cluster: str
    topic_id: str
    topic: str
    partition: int

    def channel(self) -> str:
        """Return the name of its channel, in lower case: Snowflake compares names now with case, now without it.

        A recreated topic has another id, so that no token of the old one counts for it.
        """
        return f"lmdp.{_lower(self.cluster)}.{_lower(self.topic_id or self.topic)}.{self.partition}"


@dataclass(slots=True)
class Partition:
    """A partition's channel, and the next offset of what was taken, and of what is durable.

    `before`: the status with which the channel was opened. `lost`: rows that were taken have to be read again, from
    `taken` on. `reset`: the load whose offset reset was followed.
    """

    channel: Channel
    before: Status
    taken: int
    durable: int
    lost: bool = False
    unexplained: list[float] = field(default_factory=list)
    reset: int = 0

    def counts(self) -> Counter[str]:
        """Return what has become of rows since the channel was opened."""
        now, before = self.channel.status, self.before
        return Counter(inserted=now.inserted - before.inserted, refused=now.refused - before.refused)

    def continued(self, new: Channel, lost: Sequence[InFlight]) -> Position:
        """Return where the channel continues that was opened again: behind its token, where that is not too far.

        The token may be of offsets that a broker has given to other messages since, with a higher epoch. `lost`: what
        was in flight, and is not committed.
        """
        if new.status.token is None:  # the channel had expired
            return Position(self.durable)
        again = [self.channel.position] if new.epoch < self.channel.epoch else []
        return min([new.position, *(flight.first for flight in lost), *again])


def _lower(name: str) -> str:
    """Return an id of Kafka's in hexadecimal digits, any other name with what is not lower case as `~` and its code.

    https://kafka.apache.org/documentation/ (Uuid: 16 bytes in 22 characters of base64)
    """
    if re.fullmatch(r"[A-Za-z0-9_-]{22}", name):
        return base64.urlsafe_b64decode(f"{name}==").hex()
    return re.sub(r"[^a-z0-9_-]", lambda found: f"~{ord(found[0]):x}", name)
