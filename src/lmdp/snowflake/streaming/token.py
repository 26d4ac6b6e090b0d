"""Offset token of a channel: how far a partition is in Snowflake, and who wrote that.

`OFFSET[:ROWS][/EPOCH][@WRITER]`: the message at that Kafka offset is there; with ROWS only so many of its rows, since
it did not fit into one request. EPOCH is its leader's, WRITER the run that sent it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

_TOKEN: Final = re.compile(r"(\d{1,19})(?::(\d{1,10}))?(?:/(-?\d{1,10}))?(?:@(.{1,200}))?")


class Position(NamedTuple):
    """The first row that is not there: a message's offset, and how many of its rows are."""

    offset: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class OffsetToken:
    """A token: the position behind the rows that it was sent with, the leader's epoch (-1: none), and the writer."""

    position: Position
    epoch: int = -1
    writer: str = ""

    def __str__(self) -> str:
        """Return it as it is sent."""
        offset, rows = self.position
        where = f"{offset}:{rows}" if rows else str(offset - 1)
        return where + (f"/{self.epoch}" if self.epoch >= 0 else "") + (f"@{self.writer}" if self.writer else "")


def parse(text: str | None) -> OffsetToken | None:
    """Return the token; None for none, and for one that this program has not written."""
    found = _TOKEN.fullmatch(text or "")
    if found is None:
        return None
    offset, rows = int(found[1]), int(found[2] or 0)
    position = Position(offset, rows) if rows else Position(offset + 1)
    return OffsetToken(position, int(found[3] or -1), found[4] or "")
