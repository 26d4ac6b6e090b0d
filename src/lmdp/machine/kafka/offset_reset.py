"""Offset resets: where to continue when the wanted offset is not there, and what was lost by it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# librdkafka reports where the log was truncated only in words:
# https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_offset.c
_TRUNCATED = re.compile(r"log truncation detected .*broker end offset is (\d+)")


@dataclass(frozen=True, slots=True)
class OffsetReset:
    """Continue at `offset`; the messages from `lost_from` (None: nothing) up to it expired unread."""

    offset: int
    text: str
    lost_from: int | None = None


def truncated_at(text: str) -> int | None:
    """Return the offset from which on a broker lost what it had, by librdkafka's text; None where it names none."""
    found = _TRUNCATED.search(text)
    return int(found[1]) if found else None


def reset(name: str, wanted: int, low: int, high: int, truncated: int | None = None) -> OffsetReset:
    """Decide for the partition `name`, which has `low` up to, not including, `high`, and of which `wanted` was next.

    From `truncated` on it has other messages than those that were read: the broker lost its newest ones, and took
    new ones.
    """
    if truncated is None and high < wanted:
        truncated = high
    again = wanted if truncated is None else min(truncated, wanted)
    if again < low:
        return OffsetReset(
            low,
            f"LOST: {low - again:,} messages of {name} (offsets {again:,} to {low - 1:,}) had passed the topic's "
            "retention before they were read. Raise its retention above the longest outage.",
            again,
        )
    if again < wanted:
        return OffsetReset(
            again,
            f"{name} had messages up to offset {wanted:,}, and they end at {again:,} now: the broker has lost its "
            f"newest ones. The rows of those that were read stay; continuing from {again:,}.",
        )
    text = f"{name} did not give offset {wanted:,} for a moment, though it has it; continuing from there."
    return OffsetReset(wanted, text)
