"""The contents of an object of failures: our rejects, Firehose's failed records, and pieces that are neither.

Both are JSON objects with `rawData`; ours say where the message came from (`source`), Firehose's hold one row event:
https://docs.aws.amazon.com/firehose/latest/dev/retry.html
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lmdp.errors import UnreadableObjectError

LARGEST: Final = 512 * 2**20
"""Bytes of an object, decompressed, that is read; Firehose buffers at most 128 MiB before it compresses."""

REPLAYED: Final = "replayed"
"""The part of a name that says that an object was replayed; objects below it are not taken again."""

UNKNOWN: Final = -1

_SPARE: Final = 2**20
_TOO_DEEP: Final = 10_000
"""Cost limit of failing attempts to read, in characters: this and four times the object; and what a deep one costs."""

_GZIP: Final = b"\x1f\x8b"
_SPACE: Final = re.compile(r"[\s\x00\ufeff]*")
_json = json.JSONDecoder()
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """One failure: its JSON object as it was found, and its `rawData`: a message, or (`place` None) a row event.

    `place` is the message's topic, partition, offset and timestamp (ms, or None); `key` is its key, `tenant` what a
    trusted header named.
    """

    envelope: dict[str, Any]
    raw: bytes
    place: tuple[str, int, int, int | None] | None = None
    key: bytes | None = None
    tenant: str = ""

    @property
    def attempts(self) -> int:
        """Return how often it was tried."""
        made = self.envelope.get("attemptsMade")
        return made if isinstance(made, int) and made > 0 else 1

    @property
    def copy_of(self) -> str:
        """Return the key of every copy of this failure, wherever it is kept: its place in Kafka, its time, its content.

        Attempts are no part of it: the same content that failed once more is the same failure.
        """
        return hashlib.sha256(repr(self.place).encode(errors="surrogatepass") + b"\n" + self.raw).hexdigest()[:32]

    @property
    def identity(self) -> tuple[object, ...] | None:
        """Return the key of every copy of this failure; None where it does not say which message it is.

        The content is part of it: a copy with other content may hold what this one has not. The attempts are, since
        what is left of a message after a replay is no copy of it.
        """
        if self.place is None or not self.place[0] or min(self.place[1:3]) < 0:
            return None
        return (*self.place, self.attempts, hashlib.sha256(self.raw).digest())


@dataclass(frozen=True, slots=True)
class Unparseable:
    """A piece of an object that is no failure, as it was found."""

    content: bytes


def unpacked(content: bytes, most: int = LARGEST) -> bytes:
    """The content without gzip, should there be any around it; `most` bytes of it. Raises UnreadableObjectError."""
    if not content.startswith(_GZIP):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            text = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableObjectError(f"its gzip is damaged or was cut short: {error}") from error
    if len(text) > most:
        raise UnreadableObjectError(f"it has more than {most // 2**20} MiB")
    return text


def packed(pieces: Iterable[dict[str, Any] | Unparseable], like: bytes) -> bytes:
    """An object that holds `pieces`, one a line, compressed as `like` is."""
    lines = b"".join(
        (piece.content if isinstance(piece, Unparseable) else json.dumps(piece).encode()) + b"\n" for piece in pieces
    )
    return gzip.compress(lines, compresslevel=6, mtime=0) if like.startswith(_GZIP) else lines


def read(content: bytes) -> Iterator[FailedRecord | Unparseable]:
    """The failures in `content`: JSON objects one a line, or one behind the other, as Firehose may write them.

    The work grows with the content alone: once failing attempts cost too much, an object has to be one line.
    """
    text = content.decode("utf-8", "surrogateescape")
    spare = 4 * len(text) + _SPARE
    at = _next(text, 0)
    while at < len(text):
        value, end, cost = _object(text, at, whole_line=spare <= 0)
        spare -= cost
        yield failed(value) or Unparseable(text[at:end].encode("utf-8", "surrogateescape"))
        at = _next(text, end)


def _object(text: str, at: int, *, whole_line: bool) -> tuple[object, int, int]:
    """The JSON object at `at`, its end, and what a failing attempt cost; None and the end of the line where none is."""
    cost, line_end = 0, text.find("\n", at)
    line_end = len(text) if line_end < 0 else line_end
    if text[at] == "{":
        try:
            if whole_line:
                return json.loads(text[at:line_end]), line_end, 0
            return *_json.raw_decode(text, at), 0
        except json.JSONDecodeError as error:
            # The error counts its lines from the beginning.
            cost = 0 if whole_line else error.pos - at + error.pos // 100
        except (ValueError, RecursionError):
            cost = _TOO_DEEP
    return None, line_end, cost


def _next(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def failed(value: object) -> FailedRecord | None:
    """The failure that a JSON object is; None where it is none."""
    if not isinstance(value, dict):
        return None
    raw, source = _bytes(value.get("rawData")), value.get("source")
    if raw is None or not isinstance(source, dict):
        return None if raw is None else FailedRecord(value, raw)
    topic = source.get("topic")
    place = (
        topic if isinstance(topic, str) else "",
        _whole(source.get("partition"), UNKNOWN),
        _whole(source.get("offset"), UNKNOWN),
        _whole(source.get("timestamp"), None),
    )
    tenant = source.get("tenant")
    return FailedRecord(value, raw, place, _bytes(source.get("key")), tenant if isinstance(tenant, str) else "")


def _whole(value: object, otherwise: _T) -> int | _T:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else otherwise


def _bytes(value: object) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return None
