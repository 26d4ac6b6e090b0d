"""Where reading goes on when a message that was wanted is not there: what was lost by that, and what to say."""

from __future__ import annotations

import re
from dataclasses import dataclass

# librdkafka tells where the log was cut only in words:
# https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_offset.c
_CUT = re.compile(r"log truncation detected .*broker end offset is (\d+)")


@dataclass(frozen=True, slots=True)
class Turn:
    """Reading goes on at `offset`; from `lost_from` (None: nothing) up to it messages were gone unread."""

    offset: int
    text: str
    lost_from: int | None = None

    def lost(self) -> int:
        """How many messages were gone unread."""
        return 0 if self.lost_from is None else self.offset - self.lost_from


def cut_at(told: str) -> int | None:
    """The offset from which on a broker lost what it had, by librdkafka's words; None when they tell nothing of it."""
    found = _CUT.search(told)
    return int(found[1]) if found else None


def turn(name: str, wanted: int, low: int, high: int, cut: int | None = None) -> Turn:
    """Decide for the partition `name`, which has `low` up to, not including, `high`, and of which `wanted` was next.

    From `cut` on it has other messages than those that were read: the broker lost its newest ones, and took new ones.
    """
    if cut is None and high < wanted:
        cut = high
    again = wanted if cut is None else min(cut, wanted)
    if again < low:
        return Turn(
            low,
            f"LOST: {low - again:,} messages of {name} (offsets {again:,} to {low - 1:,}) had passed the topic's "
            "retention before they were read. Raise its retention above the longest outage.",
            again,
        )
    if again < wanted:
        return Turn(
            again,
            f"{name} had messages up to offset {wanted:,}, and they end at {again:,} now: the broker has lost its "
            f"newest ones. The rows of those that were read stay; going on from {again:,}.",
        )
    return Turn(wanted, f"{name} did not give offset {wanted:,} for a moment, though it has it; going on from there.")
