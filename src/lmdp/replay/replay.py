"""The order of a replay: read failures → through the path again → into the sink → archive their source.

Archiving comes last, so that a crash never loses a failure. Where the sink is the warehouse, the rows and a mark of the
object are one transaction, so that a crash before the object is archived doubles nothing either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from lmdp.errors import AlreadyReplayedError, LmdpError, SettingsError, UnreadableObjectError
from lmdp.replay import log
from lmdp.replay.failed_records import Failed, Unparseable, packed, read, unpacked
from lmdp.replay.log import Rejects, ReplayedObject, WarehouseOwner
from lmdp.replay.report import Report, placed
from lmdp.replay.retry import Before, Outcome, ReplaySettings, now, retry
from lmdp.replay.seen import Seen
from lmdp.replay.sinks import Send
from lmdp.replay.sources import Store, place_of_replayed

_ROWS: Final = (
    "it holds rows (Firehose's failed records), and a topic carries bundles. Nothing of it was sent. "
    "Replay those with --to firehose or --to warehouse."
)

_VAIN: Final = 10  # pages in a row that were others when they were to be written; a run that writes makes one, at times

OnProgress: TypeAlias = Callable[[int, int], None]
"""Takes the number of objects or rejects that are done, and of all."""


@dataclass(frozen=True, slots=True)
class Sink:
    """Where objects' rows go: `take` takes an object whole or raises; `known` finds what it took before a crash.

    `copies` finds which of these failures it has already, from whatever object.
    """

    take: Callable[[Outcome, ReplayedObject], int]
    known: Callable[[str], ReplayedObject | None] = lambda _digest: None
    copies: Callable[[Sequence[Failed | Unparseable]], set[str]] = lambda _pieces: set()


@dataclass(frozen=True, slots=True)
class Run:
    """How to replay: `dry` changes nothing; `stop` is asked before each object or page."""

    settings: ReplaySettings
    dry: bool
    on_progress: OnProgress
    stop: Callable[[], bool]


def into_warehouse(owner: WarehouseOwner, source: str) -> Sink:
    """The warehouse as a sink of the objects of `source`."""
    return Sink(partial(log.take, owner, _text(source)), partial(log.known, owner), partial(log.copies, owner))


def replay_objects(store: Store, sink: Sink, run: Run, report: Report) -> None:
    """Replay the objects of a store; `report` is filled in on the way. Raises LmdpError where it cannot continue."""
    names = store.names()
    seen = Seen(store.replayed(), partial(_pieces, store))
    for done, name in enumerate(names):
        run.on_progress(done, len(names))
        if run.stop():
            return
        report.objects += 1
        try:
            _object(store, name, sink, seen, run, report)
        except UnreadableObjectError as why:
            report.skipped[name] = str(why)
        except LmdpError as error:
            raise placed(error, f"{store.where}{name}: {error}") from error
    run.on_progress(len(names), len(names))


def _object(store: Store, name: str, sink: Sink, seen: Seen, run: Run, report: Report) -> None:
    stored = store.read(name)
    text = unpacked(stored.content)
    pieces = list(read(text))
    if not any(isinstance(piece, Failed) for piece in pieces):
        raise UnreadableObjectError("there are no rejects in it")
    digest = hashlib.sha256(text).hexdigest()
    mark = sink.known(digest)
    if mark is None:
        seen.recall(name)
        copies = sink.copies(pieces)
        outcome = retry(pieces, run.settings, partial(_seen, seen, copies), now())
        if run.settings.whole and outcome.row_events:
            raise SettingsError(_ROWS)
        fresh = ReplayedObject(
            digest, _text(store.where + name), packed(outcome.left, stored.content) if outcome.left else None
        )
        mark = _take(sink, outcome, fresh, report, dry=run.dry)
        if not outcome.changed:
            return
    if not run.dry and not store.archive(name, stored, place_of_replayed(name, digest), mark.left):
        report.skipped[name] = "it changed while it was replayed; the next replay reads it again"
    report.replayed += 1
    seen.add(pieces)


def _text(name: str) -> str:
    """A name as the warehouse can have it: one of a file may be no UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def _take(sink: Sink, outcome: Outcome, fresh: ReplayedObject, report: Report, *, dry: bool) -> ReplayedObject:
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


def _pieces(store: Store, name: str) -> list[Failed | Unparseable]:
    try:
        return list(read(unpacked(store.read(name).content)))
    except UnreadableObjectError:
        return []


def replay_rejects(owner: WarehouseOwner, send: Send | None, run: Run, report: Report) -> None:
    """Replay the rejects of a warehouse into itself, or to `send`. Raises LmdpError where it cannot continue."""
    rejects = Rejects.of(owner)
    total, done, last, vain = rejects.count(), 0, -1, 0
    while not run.stop() and (page := rejects.page(last)).ids:
        run.on_progress(done, total)
        copies = log.copies(owner, page.pieces) if send is None else set()
        outcome = retry(page.pieces, run.settings, _copy_of(copies), max(now(), rejects.before))
        if run.dry:
            last = max(number for number, _ in page.ids)
        else:
            report.bytes_out += send(outcome) if send is not None and outcome.changed else 0
            try:
                report.bytes_out += rejects.replace(page, outcome, with_rows=send is None)
            except AlreadyReplayedError:
                vain += 1
                if vain > _VAIN:
                    raise
                continue  # read those again that are still there
        vain = 0
        done += len(page.ids)
        report.add(outcome)
    run.on_progress(done, total)


def _copy_of(copies: set[str]) -> Before:
    return lambda piece: piece.copy_of in copies


def _seen(seen: Seen, copies: set[str], piece: Failed) -> bool:
    return seen(piece) or piece.copy_of in copies
