"""The contract of every sink, whatever it writes to: real ones and the doubles that ship.

A rig brings a sink, and declares the fates that it cannot have, each with the reason; RULES run on all others. The sums
hold always: accepted + refused = sent, and an accepted row is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

ROWS = 1_200


class Fate(Enum):
    """The condition of the next delivery."""

    FINE = auto()
    SOMETIMES_REFUSED = auto()  # in part, for a while: a retry succeeds
    ALWAYS_BUSY = auto()  # as long as the sink tries; later it may succeed
    NEVER_ALLOWED = auto()  # no retry can succeed
    ANSWER_LOST = auto()  # a call is carried out, and its answer is lost


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sink's report of a delivery; `raised` is empty, `retryable` or `permanent`.

    A sink that raises without counts has accepted nothing.
    """

    sent: int
    accepted: int
    refused: int
    repeats: int = 0
    raised: str = ""


class Rig(Protocol):
    """A sink, and a way to make it fail."""

    cannot: Mapping[Fate, str]
    """The fates that this sink cannot have, or that cannot be made here, each with the reason."""

    def arrange(self, fate: Fate) -> None:
        """Decide the fate of the next delivery."""

    def deliver(self, first: int, count: int) -> Outcome:
        """Deliver the rows `first` up to `first + count`."""

    def stored(self) -> Counter[int]:
        """Return how often each row is stored."""


def everything_arrives_once(rig: Rig) -> None:
    """Without faults each row is stored once, in as many deliveries as there are."""
    rig.arrange(Fate.FINE)
    assert rig.deliver(0, ROWS) == Outcome(ROWS, accepted=ROWS, refused=0)
    assert rig.deliver(ROWS, 1) == Outcome(1, accepted=1, refused=0)
    assert rig.stored() == Counter(range(ROWS + 1))


def an_empty_delivery_succeeds(rig: Rig) -> None:
    """No rows are a success."""
    rig.arrange(Fate.FINE)
    assert rig.deliver(0, 0) == Outcome(0, 0, 0)
    assert rig.stored() == Counter()


def only_refused_rows_are_sent_again(rig: Rig) -> None:
    """A part that is refused for a while arrives, and what was accepted is not sent again."""
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


def a_permanent_fault_is_reported_as_one(rig: Rig) -> None:
    """A permanent fault differs from a retryable one, and the sums hold."""
    rig.arrange(Fate.NEVER_ALLOWED)
    outcome = rig.deliver(0, ROWS)
    assert outcome.raised == "permanent"
    assert outcome.refused > 0
    assert outcome.accepted + outcome.refused == outcome.sent == ROWS


def a_lost_answer_loses_no_row(rig: Rig) -> None:
    """A call that was carried out and not answered loses nothing, and its repeats are counted."""
    rig.arrange(Fate.ANSWER_LOST)
    outcome = rig.deliver(0, ROWS)
    assert (outcome.accepted, outcome.refused, outcome.raised) == (ROWS, 0, "")
    stored = rig.stored()
    assert set(stored) == set(range(ROWS))
    assert stored.total() - ROWS <= outcome.repeats


def a_failed_batch_can_be_delivered_again(rig: Rig) -> None:
    """After any failure the whole batch can be delivered again, and is stored whole."""
    for fate in (Fate.ALWAYS_BUSY, Fate.NEVER_ALLOWED):
        if fate not in rig.cannot:
            rig.arrange(fate)
            assert rig.deliver(0, ROWS).raised
    rig.arrange(Fate.FINE)
    assert rig.deliver(0, ROWS).accepted == ROWS
    assert set(rig.stored()) == set(range(ROWS))


Rule = Callable[[Rig], None]

RULES: dict[Rule, Fate] = {
    everything_arrives_once: Fate.FINE,
    an_empty_delivery_succeeds: Fate.FINE,
    only_refused_rows_are_sent_again: Fate.SOMETIMES_REFUSED,
    giving_up_is_never_a_success: Fate.ALWAYS_BUSY,
    a_permanent_fault_is_reported_as_one: Fate.NEVER_ALLOWED,
    a_lost_answer_loses_no_row: Fate.ANSWER_LOST,
    a_failed_batch_can_be_delivered_again: Fate.FINE,
}
"""Each rule, and the fate without which it says nothing."""


def rules_of(rig: type[Rig]) -> list[Rule]:
    """Return the rules that hold for a rig's sink."""
    return [rule for rule, fate in RULES.items() if fate not in rig.cannot]
