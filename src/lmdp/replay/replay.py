"""The order of a replay: read failures → through the path again → into the sink → archive their source.

Archiving comes last, so that a crash never loses a failure. Where the sink is the warehouse, the rows and a mark of the
object are one transaction, so that a crash before the object is archived doubles nothing either.

One object, or one page of the warehouse's own rejects, is one step. The process that has the warehouse takes it: this
one, or a run that gets the failures over its socket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

from lmdp.errors import AlreadyReplayedError, LmdpError, SettingsError, UnreadableObjectError
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay import marks
from lmdp.replay.marks import REJECTS, Rejects, ReplayedObject
from lmdp.replay.retry import Outcome, ReplaySettings, Report, now, printed, retry
from lmdp.replay.sinks import Send
from lmdp.replay.stores import ReplayedFailures, Store, place_of_replayed
from lmdp.support.failed_records import FailedRecord, Unparseable, failed, packed, read, unpacked

_ROWS: Final = (
    "it holds rows (Firehose's failed records), and a topic carries bundles. Nothing of it was sent. "
    "Replay those with --to firehose or --to warehouse."
)
_TOO_MANY: Final = (
    "it makes more rows than a run takes at once. Nothing of it was written. Stop the run, and run the same command "
    "again."
)
_VAIN: Final = 10  # pages in a row whose rejects were others when they were to be replaced; a removal makes one


@dataclass(frozen=True, slots=True)
class Origin:
    """The failures of one step come from `source`: an object with its `address`, or a page of a warehouse's rejects.

    `copies` are of what was replayed before, by their indices. `replaced` has the page's rejects by their row number
    and a hash. `tried`: they were tried already, and are what is left. What fails again is stamped with `now_ms`.
    """

    source: str
    now_ms: int
    address: str = ""
    copies: frozenset[int] = frozenset()
    replaced: Sequence[tuple[int, int]] = ()
    tried: bool = False


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one step; an object has its bytes and the digest of its text, too."""

    origin: Origin
    pieces: Sequence[FailedRecord | Unparseable]
    content: bytes = b""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a step: how many failures were `tried`, whether one `changed`, and what is `left` of an object."""

    report: Report
    tried: int
    changed: bool
    left: bytes | None = None


Step: TypeAlias = Callable[[Failures], Replayed]
"""Replays failures in one transaction, or raises; then nothing was written."""


@dataclass(frozen=True, slots=True)
class ReplayControl:
    """Replay control: `dry` changes nothing, `on_progress` takes what is done and all, `stop` ends it between steps."""

    dry: bool
    on_progress: Callable[[int, int], None]
    stop: Callable[[], bool]


def replay_objects(store: Store, step: Step, control: ReplayControl, report: Report) -> None:
    """Replay the objects of a store; `report` is filled in on the way. Raises LmdpError where it cannot continue."""
    names = store.names()
    seen = ReplayedFailures(store.replayed(), partial(_pieces, store))
    for done, name in enumerate(names):
        control.on_progress(done, len(names))
        if control.stop():
            return
        report.objects += 1
        try:
            _object(store, name, step, seen, control, report)
        except UnreadableObjectError as why:
            report.skipped[name] = str(why)
        except LmdpError as error:
            error.args = (f"{store.where}{name}: {error}",)
            raise
    control.on_progress(len(names), len(names))


def _object(
    store: Store, name: str, step: Step, seen: ReplayedFailures, control: ReplayControl, report: Report
) -> None:
    stored = store.read(name)
    text = unpacked(stored.content)
    pieces = list(read(text))
    if not any(isinstance(piece, FailedRecord) for piece in pieces):
        raise UnreadableObjectError("there are no rejects in it")
    digest, copies = hashlib.sha256(text).hexdigest(), seen.copies(name, pieces)
    origin = Origin(printed(store.where), now(), printed(store.where + name), copies)
    result = step(Failures(origin, pieces, stored.content, digest))
    report.add(result.report)
    if not result.changed:
        return
    if not control.dry and not store.archive(name, stored, place_of_replayed(name, digest), result.left):
        report.skipped[name] = "it changed while it was replayed; the next replay reads it again"
    report.replayed += 1
    seen.add(pieces)


def _pieces(store: Store, name: str) -> list[FailedRecord | Unparseable]:
    try:
        return list(read(unpacked(store.read(name).content)))
    except UnreadableObjectError:
        return []


def replay_rejects(rejects: Rejects, step: Step, control: ReplayControl, report: Report) -> None:
    """Replay the rejects of a warehouse, a page a step. Raises LmdpError where it cannot continue."""
    total, done, last, vain = rejects.count(), 0, -1, 0
    while not control.stop() and (page := rejects.page(last)):
        control.on_progress(done, total)
        ids = list(page)
        try:
            origin = Origin(REJECTS, max(now(), rejects.before), replaced=ids)
            result = step(Failures(origin, list(page.values())))
        except AlreadyReplayedError:
            vain += 1
            if vain > _VAIN:
                raise
            continue  # read those again that are still there
        vain = 0
        done += result.tried
        last = ids[result.tried - 1][0] if control.dry else last
        report.add(result.report)
    control.on_progress(done, total)


def into_warehouse(warehouse: Warehouse, settings: ReplaySettings, failures: Failures) -> Replayed:
    """Replay into an open warehouse: rows, and the mark of the object or the change of REJECTS, are one transaction."""
    ask = marks.asking(warehouse)
    if failures.digest and (known := marks.known(ask, failures.digest)):
        return Replayed(Report(), len(failures.pieces), changed=True, left=known[0])
    outcome = _retried(failures, settings, marks.copies(ask, failures.pieces))
    origin = failures.origin
    mark = ReplayedObject(failures.digest, origin.address, _left(failures, outcome)) if failures.digest else None
    if not settings.dry and (outcome.changed or origin.replaced):
        replaced = origin.replaced[: outcome.tried]
        outcome.report.bytes_out = marks.write(warehouse, origin.source, outcome, mark=mark, replaced=replaced)
    return Replayed(outcome.report, outcome.tried, outcome.changed, mark.left if mark else None)


def elsewhere(send: Send, keep: Step | None, settings: ReplaySettings, failures: Failures) -> Replayed:
    """Replay to another sink; `keep` has what is left of a page replace it in the warehouse that it is of."""
    outcome = _retried(failures, settings)
    if outcome.changed and not settings.dry:
        outcome.report.bytes_out = send(outcome)
    if keep and not settings.dry:
        left = [piece for piece in map(failed, outcome.left) if piece]
        keep(Failures(replace(failures.origin, tried=True), left))
    return Replayed(outcome.report, outcome.tried, outcome.changed, _left(failures, outcome))


def _retried(failures: Failures, settings: ReplaySettings, copies: frozenset[int] = frozenset()) -> Outcome:
    if failures.origin.tried:
        left = [piece.envelope for piece in failures.pieces if isinstance(piece, FailedRecord)]
        return Outcome(left=[*left], tried=len(failures.origin.replaced))
    outcome = retry(failures.pieces, failures.origin.copies | copies, settings, failures.origin.now_ms)
    if failures.digest and outcome.tried < len(failures.pieces):
        raise LmdpError(_TOO_MANY)
    if settings.whole and outcome.row_events:
        raise SettingsError(_ROWS)
    return outcome


def _left(failures: Failures, outcome: Outcome) -> bytes | None:
    return packed(outcome.left, failures.content) if outcome.left else None
