"""The report of a replay, or of a dry run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from lmdp.core.pipeline import Counts
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.replay.failed_records import Unparseable
from lmdp.replay.retry import Outcome

_LONGEST: Final = 400  # characters of a reason that are shown


@dataclass(slots=True)
class Report:
    """The counts so far.

    `objects` were read; `replayed` of them were replayed and moved. `skipped` has the reasons of those that were left
    alone. `unread` counts pieces that are no failures, `repeats` copies of what was replayed before.
    """

    counts: Counts = field(default_factory=Counts)
    bytes_out: int = 0
    repeats: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    objects: int = 0
    replayed: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    unread: int = 0

    def add(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self.counts += outcome.counts
        self.repeats += outcome.repeats
        self.reasons += outcome.reasons
        self.unread += sum(isinstance(piece, Unparseable) for piece in outcome.left)
        for code, text in outcome.examples.items():
            self.examples.setdefault(code, text[:_LONGEST])

    def to_json(self, *, dry: bool) -> dict[str, Any]:
        """Return the report under the names that a program reads."""
        return {
            "dryRun": dry,
            **self.counts.report(),
            "bytesOut": self.bytes_out,
            "reasons": dict(self.reasons.most_common()),
            "repeats": self.repeats,
            "objects": self.objects,
            "objectsReplayed": self.replayed,
            "unreadPieces": self.unread,
            "skipped": self.skipped,
        }


def placed(error: LmdpError, text: str) -> LmdpError:
    """Return the same kind of error with another text."""
    for kind in (SettingsError, UnreachableError):
        if isinstance(error, kind):
            return kind(text)
    return LmdpError(text)
