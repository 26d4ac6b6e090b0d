"""Failures through the settings again: what passes now, what is left of each, and the report of it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from lmdp.core.encode import row_bytes
from lmdp.core.flatten import Row
from lmdp.core.pipeline import TENANT_HEADER, Counts, Message, TransformSettings, transform
from lmdp.core.rejects import envelope
from lmdp.core.specification import Field, Spec
from lmdp.errors import ROW_TOO_LARGE, DatapointError
from lmdp.support.failed_records import FailedRecord, Unparseable
from lmdp.support.row_validator import faults, validator
from lmdp.support.settings_reader import configured_limits

INVALID: Final = "Row.Invalid"
"""The code of a row event that does not fit the specification."""

_LONGEST: Final = 400  # characters of a reason that are shown
_SHOWN: Final = 5  # faults of a row event

ReadRow: TypeAlias = Callable[[bytes], Row]


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """The settings of a replay. `dry` changes nothing. `whole`: the sink takes messages, each whole or not at all.

    `most_size` limits the rows of one transaction, in characters, about.
    """

    transform: TransformSettings
    read_row: ReadRow
    whole: bool = False
    dry: bool = False
    most_size: float = math.inf

    @classmethod
    def of(cls, org_id: str | None, spec: Spec, *, key_overhead: int = 0, **more: Any) -> ReplaySettings:
        """Return the settings; `key_overhead` has the bytes of a row that the sink's own keys take."""
        limit = TransformSettings().max_row_bytes - key_overhead
        settings = TransformSettings(
            org_id=org_id, max_row_bytes=limit, spec=spec, tenant_header=TENANT_HEADER, **configured_limits()
        )
        return cls(settings, row_reader(spec, limit), **more)


@dataclass(slots=True)
class Report:
    """The counts of a replay, or of a part of it.

    `objects` were read; `replayed` of them were replayed and moved. `skipped` has the reasons of those that were left
    alone. `unread` counts pieces that are no failures, `repeats` copies of what was replayed before. `reasons` counts
    what failed again by its code, `examples` has the first text of each.
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

    def add(self, part: Report) -> None:
        """Add the report of one transaction."""
        for name in ("counts", "bytes_out", "repeats", "reasons", "unread"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.examples = {**part.examples, **self.examples}

    def fails(self, code: str, text: str) -> None:
        """Count a reason."""
        self.reasons[code] += 1
        self.examples.setdefault(code, printed(text[:_LONGEST]))

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


@dataclass(slots=True)
class Outcome:
    """The outcome of the first `tried` failures: `rows`, and the `messages` that made some; `left` failed again.

    `changed`: something passed, or was there before; otherwise all is as it was. `passed` has the keys of copies of
    those that passed.
    """

    rows: list[Row] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    left: list[dict[str, Any] | Unparseable] = field(default_factory=list)
    report: Report = field(default_factory=Report)
    row_events: int = 0
    changed: bool = False
    passed: list[str] = field(default_factory=list)
    tried: int = 0
    size: int = 0


def retry(
    pieces: Sequence[FailedRecord | Unparseable], copies: Container[int], settings: ReplaySettings, now_ms: int
) -> Outcome:
    """Try each failure once more, but for `copies` of what was replayed before, by their index.

    What is left is stamped with `now_ms`. Once there are more rows than `most_size`, no further failure is tried.
    Nothing in the data raises.
    """
    outcome = Outcome()
    for index, piece in enumerate(pieces):
        if outcome.size > settings.most_size:
            break
        outcome.tried += 1
        if isinstance(piece, Unparseable):
            outcome.report.unread += 1
            outcome.left.append(piece)
        elif index in copies:
            outcome.report.repeats += 1
            outcome.changed = True
        elif piece.place is None:
            _row_event(outcome, piece, settings, now_ms)
        else:
            headers = ((TENANT_HEADER, piece.tenant.encode(errors="replace")),) if piece.tenant else ()
            _message(outcome, piece, Message(piece.raw, *piece.place, piece.key, headers), settings, now_ms)
    outcome.report.counts.rows = len(outcome.rows)
    return outcome


def _row_event(outcome: Outcome, piece: FailedRecord, settings: ReplaySettings, now_ms: int) -> None:
    outcome.row_events += 1
    outcome.report.counts += Counts(messages=1, bytes_in=len(piece.raw))
    try:
        outcome.rows.append(settings.read_row(piece.raw))
    except DatapointError as refused:
        outcome.report.counts.rejected_messages += 1
        outcome.report.fails(refused.code, refused.text)
        outcome.left.append(_stamped(piece, {"errorCode": refused.code, "errorMessage": refused.text}, now_ms))
    else:
        outcome.size += len(piece.raw)
        outcome.changed = True
        outcome.passed.append(piece.copy_of)


def _message(outcome: Outcome, piece: FailedRecord, message: Message, settings: ReplaySettings, now_ms: int) -> None:
    done = transform((message,), settings.transform)
    outcome.rows += done.rows
    outcome.size += done.size
    outcome.report.counts += done.counts
    for reject in done.rejects:
        outcome.report.fails(reject.code, reject.message)
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


def _stamped(piece: FailedRecord, changes: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """Return the failure, one attempt later, with its original time of arrival, which retention depends on."""
    arrived = piece.envelope.get("arrivalTimestamp", now_ms)
    attempt = {"attemptsMade": piece.attempts + 1, "attemptEndingTimestamp": now_ms}
    return {**piece.envelope, **changes, "arrivalTimestamp": arrived, **attempt}


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def printed(name: str) -> str:
    """Return a text that is UTF-8: a file's name may be none, and a message may hold half a surrogate pair."""
    return name.encode(errors="backslashreplace").decode()


def row_reader(spec: Spec, max_row_bytes: int) -> ReadRow:
    """Return a function from a row's JSON, in any key style, to a row tuple. It raises DatapointError."""
    names = {field.name.upper(): field.name for field in spec.fields}
    checks = validator(spec)

    def read(raw: bytes) -> Row:
        given = _named(raw, names)
        if found := faults(msgspec.json.encode(given), spec, checks):
            raise DatapointError(INVALID, "; ".join(found[:_SHOWN]))
        row = tuple(_value(field, given.get(field.name)) for field in spec.fields)
        if row_bytes(row, spec) > max_row_bytes:
            raise DatapointError(ROW_TOO_LARGE, f"the row has more than {max_row_bytes:,} bytes")
        return row

    return read


def _named(raw: bytes, names: Mapping[str, str]) -> dict[str, msgspec.Raw]:
    """Return the values by the specification's names: `orgId` for the keys `orgId`, `"orgId"` and `ORGID`."""
    try:
        given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DatapointError(INVALID, f"not a JSON object: {error}") from error
    named: dict[str, msgspec.Raw] = {}
    for key, value in given.items():
        bare = key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key
        name = names.get(bare.upper(), key)
        if name in named:
            raise DatapointError(INVALID, f"{name}: given twice")
        named[name] = value
    return named


def _value(field: Field, value: msgspec.Raw | None) -> Any:
    """Return a row tuple's value. A map stays as its text, so that the row is the same, and is never missing."""
    if field.type == "map":
        return "{}" if value is None else bytes(value).decode()
    if value is None:
        return None
    decoded = msgspec.json.decode(value)
    return int(decoded) if field.type == "milliseconds" else decoded
