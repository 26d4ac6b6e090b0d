"""What a check says: a verdict; and a finding, which is a verdict with the check's name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

from lmdp.errors import LmdpError

State: TypeAlias = Literal["ok", "wrong", "not tried"]
Area: TypeAlias = Literal["local", "kafka", "aws", "snowflake"]


class Verdict(NamedTuple):
    """What was found. What is wrong has in `mend` what to do next; no text ever holds a secret."""

    state: State
    text: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of the check `name`."""

    area: Area
    name: str
    state: State
    text: str
    mend: str


def ok(text: str) -> Verdict:
    """All is as it should be."""
    return Verdict("ok", text)


def wrong(text: str, mend: str) -> Verdict:
    """Something is off; `mend` is the command, or the page that says what to do."""
    return Verdict("wrong", text, mend)


def not_tried(why: str) -> Verdict:
    """It is not set up here, or it cannot be asked."""
    return Verdict("not tried", why)


def refused(error: LmdpError, mend: str) -> Verdict:
    """An error's text, in one line."""
    return wrong(" ".join(str(error).split()), mend)


def days_left(ends: datetime) -> int:
    """Whole days until then."""
    return (ends - datetime.now(UTC)) // timedelta(days=1)
