"""What every sink owes to those who hand it rows, whatever it is made of.

A sink's tests bring a rig and run each of RULES on it. The sums hold always: accepted + refused = sent, and a row that
was called accepted is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

ROWS = 1_200


class Fate(Enum):
    """What the next delivery meets."""

    FINE = auto()
    SOMETIMES_REFUSED = auto()  # a part, for a while: a retry mends it
    ALWAYS_BUSY = auto()  # all, for as long as the sink tries
    NEVER_ALLOWED = auto()  # what no retry mends
    HALF_IN_ANSWER_LOST = auto()  # a call is carried out in part, and its answer does not come


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sink says of a delivery; `raised` is empty, `retryable` or `permanent`."""

    sent: int
    accepted: int
    refused: int
    repeats: int = 0
    raised: str = ""


class Rig(Protocol):
    """A sink with something that can be made to fail behind it."""

    def arrange(self, fate: Fate) -> None:
        """Decide what the next delivery meets."""

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""

    def stored(self) -> Counter[int]:
        """How often each row is there."""


def everything_arrives_once(rig: Rig) -> None:
    """Without faults each row is there once."""
    rig.arrange(Fate.FINE)
    assert rig.deliver(0, ROWS) == Outcome(ROWS, accepted=ROWS, refused=0)
    assert rig.stored() == Counter(range(ROWS))


def nothing_to_do_is_done(rig: Rig) -> None:
    """No rows are a success."""
    rig.arrange(Fate.FINE)
    assert rig.deliver(0, 0) == Outcome(0, 0, 0)
    assert rig.stored() == Counter()


def only_refused_rows_go_again(rig: Rig) -> None:
    """A part that was refused for a while arrives, and what was accepted is not sent again."""
    rig.arrange(Fate.SOMETIMES_REFUSED)
    assert rig.deliver(0, ROWS) == Outcome(ROWS, accepted=ROWS, refused=0)
    assert rig.stored() == Counter(range(ROWS))


def giving_up_is_never_a_success(rig: Rig) -> None:
    """What cannot be delivered raises, and the sums hold."""
    rig.arrange(Fate.ALWAYS_BUSY)
    outcome = rig.deliver(0, ROWS)
    assert outcome.raised == "retryable"
    assert outcome.refused > 0
    assert outcome.accepted + outcome.refused == outcome.sent == ROWS
    assert len(rig.stored()) >= outcome.accepted


def what_no_retry_mends_says_so(rig: Rig) -> None:
    """A permanent fault is told from one that time mends, and the sums hold."""
    rig.arrange(Fate.NEVER_ALLOWED)
    outcome = rig.deliver(0, ROWS)
    assert outcome.raised == "permanent"
    assert outcome.refused > 0
    assert outcome.accepted + outcome.refused == outcome.sent == ROWS


def a_lost_answer_loses_no_row(rig: Rig) -> None:
    """A call that was carried out unheard loses nothing, and its repeats are counted."""
    rig.arrange(Fate.HALF_IN_ANSWER_LOST)
    outcome = rig.deliver(0, ROWS)
    assert (outcome.accepted, outcome.refused, outcome.raised) == (ROWS, 0, "")
    stored = rig.stored()
    assert set(stored) == set(range(ROWS))
    assert stored.total() - ROWS <= outcome.repeats


def the_same_rows_again_after_a_failure(rig: Rig) -> None:
    """A batch that failed can be handed over again, whole."""
    for fate in (Fate.ALWAYS_BUSY, Fate.NEVER_ALLOWED):
        rig.arrange(fate)
        failed = rig.deliver(0, ROWS)
        assert failed.raised
    rig.arrange(Fate.FINE)
    assert rig.deliver(0, ROWS).accepted == ROWS
    assert set(rig.stored()) == set(range(ROWS))


RULES: tuple[Callable[[Rig], None], ...] = (
    everything_arrives_once,
    nothing_to_do_is_done,
    only_refused_rows_go_again,
    giving_up_is_never_a_success,
    what_no_retry_mends_says_so,
    a_lost_answer_loses_no_row,
    the_same_rows_again_after_a_failure,
)
