"""The order of a replay: read failures → through the path again → into the sink → settle what they came from.

Settling comes last, so that a crash never loses a failure. Where the sink is the warehouse, the rows and a mark of the
object are one transaction, so that a crash before the object is settled doubles nothing either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from lmdp.errors import AlreadyReplayedError, LmdpError, SettingsError, UnreadableObjectError
from lmdp.replay import ledger
from lmdp.replay.again import Before, Outcome, Path, again, now
from lmdp.replay.failed_records import Failed, Unread, packed, read, unpacked
from lmdp.replay.ledger import Keeper, Mark, Rejects
from lmdp.replay.report import Report, placed
from lmdp.replay.sinks import Send
from lmdp.replay.sources import Store, place_of_replayed
from lmdp.replay.taken import Taken

_ROWS: Final = (
    "it holds rows (Firehose's failed records), and a topic carries bundles. Nothing of it was sent. "
    "Replay those with --to firehose or --to warehouse."
)

_VAIN: Final = 10  # pages in a row that were others when they were to be written; a run that writes makes one, at times

Tell: TypeAlias = Callable[[int, int], None]
"""Takes how many objects or rejects are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Sink:
    """Where objects' rows go: `take` takes an object whole or raises; `known` finds what it took before a crash.

    `copies` finds which of these failures it has already, from whatever object.
    """

    take: Callable[[Outcome, Mark], int]
    known: Callable[[str], Mark | None] = lambda _digest: None
    copies: Callable[[Sequence[Failed | Unread]], set[str]] = lambda _pieces: set()


@dataclass(frozen=True, slots=True)
class Run:
    """How to replay: `dry` changes nothing; `stop` is asked before each object or page."""

    path: Path
    dry: bool
    tell: Tell
    stop: Callable[[], bool]


def into_warehouse(keeper: Keeper, source: str) -> Sink:
    """The warehouse as a sink of the objects of `source`."""
    return Sink(
        partial(ledger.take, keeper, _text(source)), partial(ledger.known, keeper), partial(ledger.copies, keeper)
    )


def replay_objects(store: Store, sink: Sink, run: Run, report: Report) -> None:
    """Replay the objects of a store; `report` is filled in on the way. Raises LmdpError where it cannot go on."""
    names = store.names()
    taken = Taken(store.replayed(), partial(_pieces, store))
    for done, name in enumerate(names):
        run.tell(done, len(names))
        if run.stop():
            return
        report.objects += 1
        try:
            _object(store, name, sink, taken, run, report)
        except UnreadableObjectError as why:
            report.skipped[name] = str(why)
        except LmdpError as error:
            raise placed(error, f"{store.where}{name}: {error}") from error
    run.tell(len(names), len(names))


def _object(store: Store, name: str, sink: Sink, taken: Taken, run: Run, report: Report) -> None:
    stored = store.read(name)
    text = unpacked(stored.content)
    pieces = list(read(text))
    if not any(isinstance(piece, Failed) for piece in pieces):
        raise UnreadableObjectError("there are no rejects in it")
    digest = hashlib.sha256(text).hexdigest()
    mark = sink.known(digest)
    if mark is None:
        taken.recall(name)
        copies = sink.copies(pieces)
        outcome = again(pieces, run.path, partial(_seen, taken, copies), now())
        if run.path.whole and outcome.row_events:
            raise SettingsError(_ROWS)
        fresh = Mark(digest, _text(store.where + name), packed(outcome.left, stored.content) if outcome.left else None)
        mark = _take(sink, outcome, fresh, report, dry=run.dry)
        if not outcome.changed:
            return
    if not run.dry and not store.settle(name, stored, place_of_replayed(name, digest), mark.left):
        report.skipped[name] = "it changed while it was replayed; the next run looks at it again"
    report.settled += 1
    taken.add(pieces)


def _text(name: str) -> str:
    """A name as the warehouse can have it: one of a file may be no UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def _take(sink: Sink, outcome: Outcome, fresh: Mark, report: Report, *, dry: bool) -> Mark:
    """Give the sink an outcome; returns the mark that holds."""
    try:
        if outcome.changed and not dry:
            report.bytes_out += sink.take(outcome, fresh)
    except AlreadyReplayedError:  # the transaction of an earlier replay, which had no answer, came through meanwhile
        if (mark := sink.known(fresh.digest)) is None:
            raise
        return mark
    report.add(outcome)
    return fresh


def _pieces(store: Store, name: str) -> list[Failed | Unread]:
    try:
        return list(read(unpacked(store.read(name).content)))
    except UnreadableObjectError:
        return []


def replay_rejects(keeper: Keeper, send: Send | None, run: Run, report: Report) -> None:
    """Replay the rejects of a warehouse into itself, or to `send`. Raises LmdpError where it cannot go on."""
    rejects = Rejects.of(keeper)
    total, done, last, vain = rejects.count(), 0, -1, 0
    while not run.stop() and (page := rejects.page(last)).ids:
        run.tell(done, total)
        copies = ledger.copies(keeper, page.pieces) if send is None else set()
        outcome = again(page.pieces, run.path, _copy_of(copies), max(now(), rejects.before))
        if run.dry:
            last = max(number for number, _ in page.ids)
        else:
            report.bytes_out += send(outcome) if send is not None and outcome.changed else 0
            try:
                report.bytes_out += rejects.settle(page, outcome, with_rows=send is None)
            except AlreadyReplayedError:
                vain += 1
                if vain > _VAIN:
                    raise
                continue  # read those again that are still there
        vain = 0
        done += len(page.ids)
        report.add(outcome)
    run.tell(done, total)


def _copy_of(copies: set[str]) -> Before:
    return lambda piece: piece.copy_of in copies


def _seen(taken: Taken, copies: set[str], piece: Failed) -> bool:
    return taken(piece) or piece.copy_of in copies
