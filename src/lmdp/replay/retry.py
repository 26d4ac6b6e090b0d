"""Failures through the settings again: what passes now, and what is left of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lmdp.core.flatten import Row
from lmdp.core.pipeline import Counts, Message, TransformSettings, transform
from lmdp.errors import DatapointError
from lmdp.replay.failed_records import Failed, Unparseable
from lmdp.replay.rows import ReadRow
from lmdp.support.reject_files import envelope

Before: TypeAlias = Callable[[Failed], bool]
"""Whether a copy of this failure was replayed before."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """The settings of a replay. `whole`: the sink takes messages, so that one is sent again whole or not at all."""

    transform: TransformSettings
    read_row: ReadRow
    whole: bool = False


@dataclass(slots=True)
class Outcome:
    """The outcome of some failures: `rows`, and the `messages` that made some; `left` is what failed again.

    `changed`: something passed, or was there before; otherwise all is as it was. `passed` has the keys of copies of
    those that passed. `reasons` counts what failed again by
    its code, `examples` has the first text of each.
    """

    rows: list[Row] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    left: list[dict[str, Any] | Unparseable] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    row_events: int = 0
    repeats: int = 0
    changed: bool = False
    passed: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def fails(self, code: str, text: str) -> None:
        """Count a reason."""
        self.reasons[code] += 1
        self.examples.setdefault(code, text)


def retry(pieces: Iterable[Failed | Unparseable], settings: ReplaySettings, before: Before, now_ms: int) -> Outcome:
    """Try each failure once more; what is left is stamped with `now_ms`. Nothing in the data raises."""
    outcome = Outcome()
    for piece in pieces:
        if isinstance(piece, Unparseable):
            outcome.left.append(piece)
        elif before(piece):
            outcome.repeats += 1
            outcome.changed = True
        elif piece.message is None:
            _row_event(outcome, piece, settings, now_ms)
        else:
            _message(outcome, piece, piece.message, settings, now_ms)
    outcome.counts.rows = len(outcome.rows)
    return outcome


def _row_event(outcome: Outcome, piece: Failed, settings: ReplaySettings, now_ms: int) -> None:
    outcome.row_events += 1
    outcome.counts += Counts(messages=1, bytes_in=len(piece.raw))
    try:
        outcome.rows.append(settings.read_row(piece.raw))
        outcome.changed = True
        outcome.passed.append(piece.copy_of)
    except DatapointError as refused:
        outcome.counts.rejected_messages += 1
        outcome.fails(refused.code, refused.text)
        outcome.left.append(_stamped(piece, {"errorCode": refused.code, "errorMessage": refused.text}, now_ms))


def _message(outcome: Outcome, piece: Failed, message: Message, settings: ReplaySettings, now_ms: int) -> None:
    done = transform((message,), settings.transform)
    outcome.rows += done.rows
    outcome.counts += done.counts
    for reject in done.rejects:
        outcome.fails(reject.code, reject.message)
    passed = not done.rejects or done.counts.rejected_datapoints < done.counts.datapoints
    if passed:
        outcome.changed = True
        outcome.passed.append(piece.copy_of)
        outcome.messages.append(message)
    if passed and settings.whole:
        return
    for reject in done.rejects:
        stored = envelope(reject, now_ms)
        # What nothing passed of stays as it came: cut down, it would only be other bytes with the same in them.
        kept = stored if passed else {name: stored[name] for name in ("errorCode", "errorMessage", "datapoints")}
        outcome.left.append(_stamped(piece, kept, now_ms))


def _stamped(piece: Failed, changes: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """Return the failure, one attempt later, with its original time of arrival, which retention depends on."""
    age = {"arrivalTimestamp": piece.envelope.get("arrivalTimestamp", now_ms)}
    return {
        **piece.envelope,
        **changes,
        **age,
        "attemptsMade": piece.attempts + 1,
        "attemptEndingTimestamp": now_ms,
    }


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
