"""Rejects at rest: NDJSON in gzip, one object a topic, partition and batch, in a folder or a bucket.

An object's name is made of what is in it (topic, partition, first and last offset, the day of the first record, a
digest), not of when it was written: a batch that is tried again writes the same objects again, nothing is there twice,
and a topic that was deleted and recreated overwrites nothing of the old one. A batch may be cut differently
the next time, so that a reader takes each topic, partition and offset once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Final
from urllib.parse import quote

from lmdp.core.rejects import Reject, envelope
from lmdp.errors import UnreachableError
from lmdp.support.atomic_files import make_folder, write_whole
from lmdp.support.disk_space import FULL, disk_full

SUFFIX: Final = ".ndjson.gz"
_LONGEST_TOPIC: Final = 150
_NOT_DONE: Final = (
    "Rejects could not be written, and their batch counts as not done. Free some space, or name another folder."
)

# The years that a `datetime` can say, in milliseconds since 1970.
_YEARS: Final = range(-62_135_596_800_000, 253_402_300_800_000)


@dataclass(frozen=True, slots=True)
class RejectFile:
    """One object: its name below the prefix or folder, and its content."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class RejectPlace:
    """Destination of a run's rejects: the name by which `lmdp replay` finds them, and what writes a batch's.

    `write` takes the time in milliseconds, and an event with which it ends soon. It raises LmdpError; the batch is then
    tried again.
    """

    name: str
    write: Callable[[Sequence[Reject], int, Event], object]


def reject_folder(folder: Path) -> RejectPlace:
    """Return a folder as the place of rejects."""
    return RejectPlace(str(folder), lambda rejects, now_ms, _stop: write_to_folder(folder, rejects, now_ms))


def reject_files(rejects: Iterable[Reject], now_ms: int) -> Iterator[RejectFile]:
    """The objects that hold `rejects`. `now_ms` goes into their lines; into a name, only without a Kafka timestamp."""
    parts: defaultdict[tuple[str, int], list[Reject]] = defaultdict(list)
    for reject in rejects:
        parts[reject.topic, reject.partition].append(reject)
    for part in parts.values():
        part.sort(key=lambda reject: reject.offset)
        lines = b"".join(json.dumps(envelope(reject, now_ms)).encode() + b"\n" for reject in part)
        # Without the time in the gzip header: the same lines are the same bytes.
        yield RejectFile(_name(part, now_ms), gzip.compress(lines, compresslevel=6, mtime=0))


def _name(part: list[Reject], now_ms: int) -> str:
    first, last = part[0], part[-1]
    at = now_ms if first.timestamp is None or first.timestamp not in _YEARS else first.timestamp
    day = datetime.fromtimestamp(at / 1000, UTC)
    place = f"{_topic(first.topic)}-{first.partition}-{first.offset}-{last.offset}"
    digest = _hash(b"\0".join(reject.raw for reject in part))
    return f"year={day:%Y}/month={day:%m}/day={day:%d}/{place}.{digest}{SUFFIX}"


def _topic(topic: str) -> str:
    """The topic as part of a file's name, which has 255 bytes at most; a topic of Kafka's has 249."""
    name = quote(topic, safe="", errors="replace")
    if name.startswith("."):
        name = f"%2E{name[1:]}"  # else the file is hidden, and no replay finds it
    return name if len(name) <= _LONGEST_TOPIC else f"{name[:_LONGEST_TOPIC]}~{_hash(topic.encode(errors='replace'))}"


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def write_to_folder(folder: Path, rejects: Iterable[Reject], now_ms: int) -> list[Path]:
    """Write the rejects of a batch below `folder`; a file is either there whole or not at all.

    Raises DiskFullError on a full disk, UnreachableError when one could not be written otherwise.
    """
    written = []
    for file in reject_files(rejects, now_ms):
        path = folder / file.name
        try:
            make_folder(path.parent)
            write_whole(path, file.content)
        except OSError as error:
            if error.errno in FULL:
                raise disk_full(folder.absolute(), os.strerror(error.errno), len(file.content), _NOT_DONE) from error
            raise UnreachableError(
                f"{path}: rejects could not be written ({error.strerror or error}). "
                "Their batch counts as not done. Free some space or name another folder, then run the command again."
            ) from error
        written.append(path)
    return written
