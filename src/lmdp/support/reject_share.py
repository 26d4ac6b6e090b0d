"""Warning about rejects: no row came of what was read, or most of it was rejected.

A run, its status, its page and `lmdp flatten` ask here, so that they agree with each other and with the exit code.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from lmdp.core.pipeline import Counts
from lmdp.core.rejects import Reject
from lmdp.support.program import at_home, program

MOST: Final = 0.5
"""The share of messages that cannot be read, or of datapoints that make no rows, above which this is a fault."""

_NO_TENANT: Final = "orgId:"  # how the reason of a reject begins whose only fault may be the missing setting
_UNREADABLE: Final = "Decode."


class RejectShare(NamedTuple):
    """Counts of what was read and what became of it; `unreadable` and `without_tenant` count rejected messages."""

    messages: int = 0
    rows: int = 0
    rejected: int = 0
    datapoints: int = 0
    rejected_datapoints: int = 0
    unreadable: int = 0
    without_tenant: int = 0

    @classmethod
    def of(cls, counts: Counts, rejects: Iterable[Reject]) -> RejectShare:
        """Count a batch and its rejects."""
        unreadable = without_tenant = 0
        for reject in rejects:
            unreadable += reject.code.startswith(_UNREADABLE)
            without_tenant += reject.message.startswith(_NO_TENANT)
        return cls(
            *(counts.messages, counts.rows, counts.rejected_messages, counts.datapoints, counts.rejected_datapoints),
            *(unreadable, without_tenant),
        )

    def plus(self, other: RejectShare) -> RejectShare:
        """Return the sum of both."""
        return RejectShare(*map(sum, zip(self, other, strict=True)))

    def is_fault(self) -> bool:
        """Return whether rejects have to be reported first."""
        if not self.rejected:
            return False
        return (
            not self.rows
            or self.unreadable > MOST * self.messages
            or self.rejected_datapoints > MOST * self.datapoints > 0
        )


def warning(tally: RejectShare, first: str, *, no_tenant: str, otherwise: str) -> str:
    """Return what to show, or "" while all is well.

    `first` is the reason of the first reject. The next step is `no_tenant` where most rejects lack one, else
    `otherwise`.
    """
    if not tally.is_fault():
        return ""
    what = f"{tally.rejected:,} of {tally.messages:,} messages rejected"
    if tally.rows:
        what += ", whole or in part"
    elif tally.rejected < tally.messages:
        what += ", no rows made"
    elif tally.messages > 1:
        what = f"All {tally.messages:,} messages rejected"
    if tally.without_tenant > tally.rejected / 2:
        return f"{what}: no tenant. {no_tenant}"
    return f"{what}. The first reject: {first}. {otherwise}"


def replay_command(options: str, home: Path, warehouse: Path | None = None, source: str = "warehouse") -> str:
    """Return the command that replays the rejects of this warehouse (None: that of `home`), or of another `source`."""
    if source != "warehouse":
        return f"{program()} replay {source} {options}"
    return f"{program()} replay warehouse{at_home(home, warehouse)} {options}".rstrip()
