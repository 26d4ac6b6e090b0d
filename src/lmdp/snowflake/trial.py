"""Trial of the direct writer on a live account: each assumption tried once, in order, each answer a line.

It writes about ten rows of the datasource `lmdp.try`, and removes them. A trial that fails does not end the others,
unless they need what it makes.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeAlias

from lmdp.core.column_names import KeyStyle
from lmdp.core.encode import encode
from lmdp.core.specification import Spec
from lmdp.errors import ChannelBusyError, ChannelInvalidError, LmdpError
from lmdp.snowflake.canary import row
from lmdp.snowflake.streaming import elastic
from lmdp.snowflake.streaming.channel import Channel, Channels, Status
from lmdp.snowflake.streaming.requests import Append
from lmdp.snowflake.streaming.session import Call, PipeName, Session
from lmdp.snowflake.streaming.settings import WriterSettings
from lmdp.snowflake.streaming.token import OffsetToken, Position
from lmdp.snowflake.verify import TRIAL_DATASOURCE, Check, Installation, streamed_errors

_WRITER: Final = "try-host.1.ab"
_ATTRIBUTES: Final = '{"a":{"b":[1,null,"\N{GREEK SMALL LETTER MU}"]},"n":9223372036854775807}'

FindRows: TypeAlias = Callable[[str], Sequence[Mapping[str, Any]] | None]
"""Returns the rows of an instance, by the specification's names; None where the table cannot be read here."""


@dataclass(frozen=True, slots=True)
class TrialTimeouts:
    """Times in seconds: between two looks, for a commit, and in which nothing may come."""

    look_s: float = 0.5
    commit_s: float = 90.0
    quiet_s: float = 20.0


@dataclass(slots=True)
class Trial:
    """A trial of one account: what is signed in, and what the trials before have opened."""

    session: Session
    place: PipeName
    spec: Spec
    style: KeyStyle
    rows: FindRows
    refused: Callable[[str], int | None]
    limits: TrialTimeouts = TrialTimeouts()
    mark: str = field(default_factory=lambda: secrets.token_hex(6))
    channel: Channel | None = None

    @property
    def channels(self) -> Channels:
        """The channels of the pipe."""
        return Channels(self.session, self.place, _WRITER)

    def row(self, instance: str, **changes: Any) -> tuple[Any, ...]:
        """Return a row with every kind of value; `changes` are by the specification's names."""
        at = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
        given = {"value": 0.1, "attributes": _ATTRIBUTES, **changes}
        found = row(self.spec, "lmdp", f"{self.mark}.{instance}", at, TRIAL_DATASOURCE)
        return tuple(given.get(one.name, value) for one, value in zip(self.spec.fields, found, strict=True))

    def line(self, instance: str, **changes: Any) -> bytes:
        """Return a row as it is sent."""
        return encode([self.row(instance, **changes)], self.spec, identifiers=self.style)[0]

    def opened(self) -> Channel:
        """Return the channel that an earlier trial has opened. Raises LmdpError."""
        if self.channel is None:
            raise LmdpError("not tried: no channel could be opened")
        return self.channel

    def append(self, end: Position, *lines: bytes) -> Channel:
        """Append rows, with a token that says `end`."""
        channel = self.opened()
        self.channels.append(channel, Append(b"\n".join([*lines, b""]), channel.position, end, len(lines)))
        return channel

    def committed(self, end: Position) -> tuple[Status, float]:
        """Wait until the token says `end`; return the status, and how long it took. Raises LmdpError."""
        begun, name = time.monotonic(), self.opened().name
        while time.monotonic() - begun < self.limits.commit_s:
            status = self.channels.statuses([name]).get(name)
            if status and status.token and status.token.position >= end:
                return status, time.monotonic() - begun
            self.session.stop.wait(self.limits.look_s)
        raise LmdpError(f"it was not committed within {self.limits.commit_s:g} s")

    def landed(self, instance: str, wait_s: float, wanted: int = 1) -> Sequence[Mapping[str, Any]] | None:
        """Return the rows of an instance once there are `wanted`, or after `wait_s`; None where nobody can look."""
        ends = time.monotonic() + wait_s
        while (found := self.rows(f"{self.mark}.{instance}")) is not None:
            if len(found) >= wanted or time.monotonic() >= ends:
                return found
            self.session.stop.wait(self.limits.look_s)
        return None


Answer: TypeAlias = tuple[bool | None, str]


def run_trials(trial: Trial) -> Iterator[Check]:
    """Try everything in order; an answer that was not expected is not ok."""
    for name, look in TRIALS.items():
        try:
            yield Check(name, *look(trial))
        except (LmdpError, ChannelInvalidError, ChannelBusyError, KeyError, ValueError, TypeError) as error:
            yield Check(name, ok=False, said=" ".join(str(error).split()) or type(error).__name__)


def _sign_in(trial: Trial) -> Answer:
    host, seconds = trial.session.sign_in()
    return True, f"{host}; the token ends in {seconds / 60:.0f} min"


def _rights(trial: Trial) -> Answer:
    found = trial.channels.statuses([f"lmdp.try.{trial.mark}.none"])
    return not found, f"the user may use {trial.place}; an unknown channel is {'answered' if found else 'left out'}"


def _open(trial: Trial) -> Answer:
    trial.channel = opened = trial.channels.open(f"lmdp.try.{trial.mark}", discard=False)
    return opened.status.token is None, f"status {opened.status.code or '-'}, continuation {opened.continuation}"


def _token(trial: Trial) -> Answer:
    trial.opened().epoch = 3
    said, all_right = [], True
    for end in (Position(6, 2), Position(7)):
        trial.append(end, trial.line(f"token{end.rows}"))
        status, seconds = trial.committed(end)
        all_right = all_right and status.token == OffsetToken(end, 3, _WRITER)
        said.append(f"{status.token} after {seconds:.1f} s")
    return all_right, "committed " + ", ".join(said)


def _values(trial: Trial) -> Answer:
    found = trial.landed("token0", trial.limits.commit_s)
    if found is None:
        return None, "not known without the setup user's key"
    if len(found) != 1:
        return False, f"{len(found)} rows are in the table, and 1 was sent"
    sent = json.loads(encode([trial.row("token0")], trial.spec)[0])
    names = [one.name for one in trial.spec.fields]
    wrong = [
        f"{name}: {found[0].get(name)!r} for {sent.get(name)!r}"
        for name in names
        if _plain(found[0].get(name)) != sent.get(name)
    ]
    return not wrong, "; ".join(wrong) or f"{len(names)} columns have what was sent"


def _uncommitted(trial: Trial) -> Answer:
    """Open at once after an append, as a run does that follows a killed one."""
    name = trial.append(Position(9), trial.line("kept")).name
    begun, refusal = time.monotonic(), ""
    while True:
        try:
            trial.channel = opened = trial.channels.open(name, discard=False)
            break
        except ChannelBusyError as error:
            refusal = str(error)
            if time.monotonic() - begun > trial.limits.commit_s or trial.session.stop.wait(trial.limits.look_s):
                raise
    text = f"opened after {time.monotonic() - begun:.1f} s{f', refused before: {refusal}' if refusal else ''}"
    token = opened.status.token
    return token is not None and token.position == Position(9), f"{text}; the token is {token}"


def _discarded(trial: Trial) -> Answer:
    """Open and give up the rows in flight, and look whether they land all the same."""
    name = trial.append(Position(10), trial.line("discarded")).name
    trial.channel = opened = trial.channels.open(name, discard=True)
    token = opened.status.token
    wanted = int(token is not None and token.position == Position(10))
    found = trial.landed("discarded", trial.limits.quiet_s, wanted=2)
    if found is None:
        return None, f"the token is {token}; whether the row landed is not known without the setup user's key"
    return len(found) == wanted, f"the token is {token}, and {len(found)} rows are in the table ({wanted} expected)"


def _fenced(trial: Trial) -> Answer:
    """Use a channel that another has opened since."""
    old = trial.opened()
    trial.channel = trial.channels.open(old.name, discard=True)
    try:
        trial.channels.append(old, Append(trial.line("fenced") + b"\n", Position(20), Position(21), 1))
    except ChannelInvalidError as error:
        return "STALE" in str(error), str(error)
    return False, "an append through the old opening was accepted"


def _refused(trial: Trial) -> Answer:
    """Send a row that no column takes between two good ones."""
    before, good = trial.opened().status.refused, trial.line("refused")
    bad = trial.line("refused", value=1.5).replace(b"1.5", b'"no number"')
    trial.append(Position(31), good, bad, good)
    status, _ = trial.committed(Position(31))
    count, kept = status.refused - before, trial.refused(trial.mark)
    text = f"{count} of 3 rows refused ({status.error or 'no reason'}), kept: {'unknown' if kept is None else kept}"
    return count == 1 and kept in (None, 1), text


def _large(trial: Trial) -> Answer:
    """Send a row near the limit, which hardly compresses."""
    line = trial.line("large", attributes=json.dumps({"noise": secrets.token_hex(450_000)}))
    trial.append(Position(41), line)
    _, seconds = trial.committed(Position(41))
    return True, f"a row of {len(line):,} bytes was committed after {seconds:.1f} s"


def _elastic(trial: Trial) -> Answer:
    begun = time.monotonic()
    elastic.post(trial.session, trial.place, [trial.line("elastic")], trial.limits.commit_s)
    text = f"accepted after {time.monotonic() - begun:.1f} s"
    found = trial.landed("elastic", trial.limits.commit_s)
    if found is None:
        return None, f"{text}; whether the row landed is not known without the setup user's key"
    return len(found) == 1, f"{text}; {len(found)} rows in the table after {time.monotonic() - begun:.1f} s"


def _drop(trial: Trial) -> Answer:
    name = trial.opened().name
    trial.session.call(Call("DELETE", f"{trial.place.path()}/channels/{name}"))
    left = trial.channels.statuses([name])
    return not left, "it is still there" if left else "dropped"


TRIALS: Final[Mapping[str, Callable[[Trial], Answer]]] = {
    "sign-in": _sign_in,
    "rights": _rights,
    "channel": _open,
    "token": _token,
    "values": _values,
    "uncommitted": _uncommitted,
    "discarded": _discarded,
    "fenced": _fenced,
    "refused row": _refused,
    "large row": _large,
    "elastic": _elastic,
    "drop": _drop,
}


def of(session: Session, writer: WriterSettings, spec: Spec, scope: Installation | None) -> Trial:
    """Return the trial of an account; without a `scope` nobody can look into its tables."""
    found = (partial(_rows, scope), partial(_kept, scope)) if scope else (lambda _: None, lambda _: None)
    return Trial(session, writer.place, spec, writer.identifiers, *found)


def _rows(scope: Installation, instance: str) -> list[dict[str, Any]]:
    """Return the rows of an instance in the landing table, by the specification's names."""
    names = [one.name for one in scope.spec.fields]
    found = scope.ask(
        f"SELECT {', '.join(f'{scope.name(name)} AS C{at}' for at, name in enumerate(names))}"  # noqa: S608 - checked names
        f" FROM {scope.settings.place}.ROW_EVENTS"
        f" WHERE {scope.name('datasource')} = '{TRIAL_DATASOURCE}' AND {scope.name('instance')} = '{instance}'"
    )
    return [{name: row[f"c{at}"] for at, name in enumerate(names)} for row in found]


def _kept(scope: Installation, mark: str) -> int | None:
    """Return how many refused rows hold a text; None where they are not kept."""
    found = f"""{streamed_errors(scope)} AND CONTAINS(ERROR_DATA:"$1"::STRING, '{mark}')"""
    try:
        return int(scope.ask(f"SELECT COUNT(*) AS KEPT FROM {found}")[0]["kept"])  # noqa: S608 - checked names
    except LmdpError:
        return None


def remove_rows(scope: Installation) -> None:
    """Remove the rows that landed; the one that no column takes is counted and fetched by nothing."""
    scope.ask(f"DELETE FROM {scope.settings.place}.ROW_EVENTS WHERE {scope.name('datasource')} = '{TRIAL_DATASOURCE}'")  # noqa: S608 - checked names


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, whatever the connector makes of it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value
