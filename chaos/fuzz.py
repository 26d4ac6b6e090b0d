"""The promises for any bytes that come as a message, checked for as many as there is time for.

`PYTHONPATH=tests python -m chaos.fuzz --seed 1 --count 10000` checks the messages 0 to 9,999 of seed 1, and names each
that breaks a promise; `--first 4711 --count 1` is that one again. LMDP_CORPUS names a folder of more messages to break.

The mutations are our own and uninstrumented: most of what reads a message is compiled (msgspec, protobuf, zlib), where
a coverage-guided fuzzer of Python sees nothing. atheris 3.1 was run against the same checks once, and is no dependency.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from chaos.mutate import Corpus, corpus
from chaos.second_reading import compared, result
from lmdp import Message, Reject, Transformed, TransformSettings, encode, transform
from lmdp.core.rejects import envelope
from lmdp.core.specification import load_spec
from lmdp.errors import TOO_DEEP
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.row_validator import faults as row_faults
from lmdp.support.row_validator import validator

SPEC = load_spec()
NAMES = [field.name for field in SPEC.fields]
SECONDS = 60  # for one message of some 10 KB, on a machine that does other things too
STORED = 2_000  # messages between two transactions
KAFKA_MS = 1_715_263_558_360

SETTINGS = (
    TransformSettings(org_id="acme", spec=SPEC),
    TransformSettings(org_id="acme", spec=SPEC),
    TransformSettings(spec=SPEC),
    TransformSettings(
        org_id="acme", spec=SPEC, max_row_bytes=420, max_message_row_bytes=4_000, max_decompressed_bytes=3_000
    ),
)
_CHECKS = validator(SPEC)
_TYPES: dict[str, Any] = {
    "text": msgspec.Meta(min_length=1),
    "kind": msgspec.Meta(pattern="^(gauge|sum|histogram|exponential_histogram|summary)$"),
    "timestamp": msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"),
}


def _type(kind: str) -> Any:
    from typing import Annotated  # noqa: PLC0415 - only to build the quick reader below

    if kind in _TYPES:
        return Annotated[str, _TYPES[kind]]
    return {"milliseconds": int, "number": int | float, "map": dict[str, Any]}[kind]


# The schema once more, as a reader that is quick enough for every row.
ROW = msgspec.json.Decoder(
    msgspec.defstruct(
        "RowEvent",
        sorted(
            ((one.name, _type(one.type)) if one.required else (one.name, _type(one.type), None) for one in SPEC.fields),
            key=len,
        ),
        forbid_unknown_fields=True,
    )
)


@dataclass(slots=True)
class Tally:
    """The counts of what was seen, and the broken promises: (message's number, what is wrong)."""

    messages: int = 0
    rows: int = 0
    stored: int = 0
    found: int = 0
    seconds: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.messages + other.messages,
            self.rows + other.rows,
            self.stored + other.stored,
            self.found + other.found,
            self.seconds + other.seconds,
            self.seen + other.seen,
            self.faults + other.faults,
        )


@dataclass(slots=True)
class Shelf:
    """Rows and rejects on their way into a real warehouse file."""

    warehouse: Warehouse
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    stored: int = 0
    found: int = 0

    def put(self) -> Iterator[str]:
        """Write what was gathered; yields what DuckDB does not take, or cannot read back."""
        self.stored += len(self.rows)
        at = datetime.now(UTC)
        try:
            self.warehouse.commit(Load(self.rows, [envelope(reject, KAFKA_MS) for reject in self.rejects], [], at))
            # METRICS is the one view that reaches into the maps, and casts what is in them.
            for source in ("ROW_EVENTS", "METRICS"):
                sql = f"SELECT count(*) AS N, count(COLUMNS(*)) FROM {source}"
                found = self.warehouse.query(sql).table.to_pylist()[0]["N"]
                self.found = found if source == "ROW_EVENTS" else self.found
                if found == 0 < self.stored:  # METRICS leaves out repeats
                    yield f"{source} has no rows of {self.stored}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            yield f"the warehouse: {type(error).__name__}: {error}"
        self.rows, self.rejects = [], []


class TimeLimitError(Exception):
    """One message took longer than any may."""


def fuzz(seed: int, numbers: Iterable[int], given: Corpus | None = None) -> Tally:
    """Check these messages of `seed`."""
    messages, tally, begun = given or corpus(), Tally(), time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse.open(Path(folder) / "fuzz.duckdb", SPEC) as warehouse,
        _alarm(),
    ):
        shelf, number = Shelf(warehouse), 0
        for number in numbers:
            value = messages.message(seed, number)
            tally.messages += 1
            try:
                for fault in check(value, number, tally, shelf):
                    tally.faults.append((number, fault))
            except Exception as error:  # noqa: BLE001 - nothing may raise
                tally.faults.append((number, f"raised {type(error).__name__}: {error}"[:500]))
            if tally.messages % STORED == 0:
                tally.faults += [(number, fault) for fault in shelf.put()]
        tally.faults += [(number, fault) for fault in shelf.put()]
        tally.stored, tally.found = shelf.stored, shelf.found
    tally.seconds = time.monotonic() - begun
    return tally


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimeLimitError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def check(value: bytes, number: int, tally: Tally, shelf: Shelf) -> Iterator[str]:
    """Return what is wrong with the result of `value`. Every message has most checks, each so many-th has the rest."""
    settings = SETTINGS[number % len(SETTINGS)]
    message = Message(value, "t", number % 7, number, KAFKA_MS if number % 3 else None, b"k", (("h", None), ("", b"")))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    done = transform([message], settings)
    lines = encode(done.rows)
    signal.setitimer(signal.ITIMER_REAL, 0)
    tally.rows += len(lines)
    tally.seen[result(done)] += 1
    yield from _sums(done, message)
    yield from _lines(lines, settings, deeply=number % 16 == 0)
    yield from _rejected(done, message, settings)
    if number % 4 == 0:
        again = _deeper(150, message, settings)
        # What is passed over may be nested as deep as Python lets it be; only attributes have a limit of ours.
        if not _same(done, again) and TOO_DEEP not in [reject.message for reject in (*done.rejects, *again.rejects)]:
            yield "another answer when asked from further down the stack"
    if number % 5 == 0:
        shelf.rows += done.rows
        shelf.rejects += done.rejects
    if settings.max_row_bytes > 1_000:
        yield from compared(done, message, settings, tally.seen)


def _sums(done: Transformed, message: Message) -> Iterator[str]:
    """The counts add up: each datapoint is converted, dropped or rejected."""
    counts, dropped = done.counts, done.counts.dropped
    if counts.datapoints != counts.converted + dropped["noRecordedValue"] + counts.rejected_datapoints:
        yield f"datapoints do not add up: {counts}"
    if (counts.messages, counts.rows, counts.rejected_messages, counts.bytes_in) != (
        1,
        len(done.rows),
        len(done.rejects),
        len(message.value or b""),
    ):
        yield f"counts that are not what is there: {counts}"
    if len(done.rejects) > 1 or counts.rejected_datapoints != sum(reject.datapoints for reject in done.rejects):
        yield f"rejects that are not what is counted: {counts}"
    kind = NAMES.index("type")
    if {row[kind] for row in done.rows} <= {"gauge", "sum"} and counts.rows > counts.converted:
        yield f"more rows than datapoints: {counts}"


def _lines(lines: list[bytes], settings: TransformSettings, *, deeply: bool) -> Iterator[str]:
    """Each row is one JSON object that the schema takes, within the limits."""
    for line in lines:
        try:
            ROW.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            yield f"no row event: {error}: {line[:300]!r}"
        if b"\n" in line:
            yield f"a row of two lines: {line[:300]!r}"
    if lines and max(map(len, lines)) > settings.max_row_bytes:
        yield "a row is larger than allowed"
    if sum(map(len, lines)) > settings.max_message_row_bytes:
        yield "the rows are larger than allowed"
    if deeply:
        for line in lines:
            yield from (f"{fault}: {line[:300]!r}" for fault in row_faults(line, SPEC, _CHECKS))
            event = json.loads(line, object_pairs_hook=list)
            if [name for name, _ in event] != [name for name in NAMES if name in dict(event)]:
                yield f"columns out of order: {line[:300]!r}"


def _rejected(done: Transformed, message: Message, settings: TransformSettings) -> Iterator[str]:
    """A reject is the message as it was, or is sent again to fail alike."""
    for reject in done.rejects:
        if reject.code.startswith("Decode."):
            if (reject.raw, reject.datapoints, done.rows) != (message.value, 0, []):
                yield f"a {reject.code} that is not the message itself"
            continue
        again = transform([Message(reject.raw, timestamp=message.timestamp)], settings)
        codes = [(one.code, one.datapoints) for one in again.rejects]
        if codes != [(reject.code, reject.datapoints)] or again.rows:
            reported = again.rejects[0].message[:200] if again.rejects else ""
            yield f"sent again, {reject.datapoints} x {reject.code} is {codes}, {len(again.rows)} rows {reported}"


def _deeper(frames: int, message: Message, settings: TransformSettings) -> Transformed:
    return _deeper(frames - 1, message, settings) if frames else transform([message], settings)


def _same(one: Transformed, other: Transformed) -> bool:
    return (one.rows, one.rejects, one.counts) == (other.rows, other.rejects, other.counts)


def main() -> int:
    """Check what was asked for, and say what broke."""
    parser = argparse.ArgumentParser(prog="python -m chaos.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--show", action="store_true", help="print each message that breaks a promise")
    given = parser.parse_args()
    messages = corpus()
    tally = fuzz(given.seed, range(given.first, given.first + given.count), messages)
    for number, fault in tally.faults:
        print(f"--seed {given.seed} --first {number} --count 1: {fault}")
        if given.show:
            print(messages.message(given.seed, number))
    rate = tally.messages / tally.seconds
    print(f"{tally.messages:,} messages, {tally.rows:,} rows, {rate:,.0f} a second: {dict(tally.seen)}")
    return int(bool(tally.faults))


if __name__ == "__main__":
    sys.exit(main())
