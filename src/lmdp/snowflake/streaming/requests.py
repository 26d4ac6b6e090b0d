"""Messages cut into requests by bytes: as few as fit, each with the position behind its last row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lmdp.snowflake.streaming.token import Position

# https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-rest-api
MAX_PAYLOAD: Final = 4_000_000
"""Bytes of a request on the wire. Requests are cut by their size before compression, so none can exceed it."""

MAX_REQUEST: Final = 3_000_000
"""Bytes of a request before compression. A row is 1,024,000 at most."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one message, a JSON object each, and its offset."""

    offset: int
    lines: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Append:
    """One request's rows as NDJSON, the positions before its first and behind its last, and how many they are."""

    body: bytes
    first: Position
    end: Position
    rows: int


def cut(messages: Iterable[Rows], position: Position, most: int = MAX_REQUEST) -> Iterator[Append]:
    """Yield the requests for what is at `position` and behind it; messages are in the order of their offsets.

    A message is cut only where it does not fit into one request.
    """
    lines: list[bytes] = []
    size, first, end = 0, position, position
    for offset, done, left in _left(messages, position):
        for part, total, is_last in _parts(left, most):
            if lines and size + total > most:
                yield _append(lines, first, end)
                lines, size = [], 0
            first = first if lines else Position(offset, done)
            lines += part
            size += total
            done += len(part)  # noqa: PLW2901 - how far the message is
            end = Position(offset + 1) if is_last else Position(offset, done)
    if lines:
        yield _append(lines, first, end)


def _left(messages: Iterable[Rows], position: Position) -> Iterator[tuple[int, int, Sequence[bytes]]]:
    """Yield the messages that have rows at `position` or behind it: offset, rows that are there, and the others."""
    for message in messages:
        done = position.rows if message.offset == position.offset else 0
        if message.offset >= position.offset and len(message.lines) > done:
            yield message.offset, done, message.lines[done:] if done else message.lines


def _parts(lines: Sequence[bytes], most: int) -> Iterator[tuple[Sequence[bytes], int, bool]]:
    """Yield the lines in parts that each fit into one request: lines, bytes, and whether it is the last part."""
    total = sum(map(len, lines)) + len(lines)
    if total <= most:
        yield lines, total, True
        return
    start, size = 0, 0
    for at, line in enumerate(lines):
        if at > start and size + len(line) + 1 > most:
            yield lines[start:at], size, False
            start, size = at, 0
        size += len(line) + 1
    yield lines[start:], size, True


def _append(lines: Sequence[bytes], first: Position, end: Position) -> Append:
    return Append(b"\n".join([*lines, b""]), first, end, len(lines))
