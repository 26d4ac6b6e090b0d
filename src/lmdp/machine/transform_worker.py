"""A worker process of the transformation: messages in, columns or JSON lines out, over the socket on standard input.

It ends when its socket does, so that it outlives no run, however that one ended.
"""

from __future__ import annotations

import pickle
import socket
import struct
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, cast

import msgspec
import pyarrow as pa

from lmdp.core.encode import encode
from lmdp.core.flatten import Row
from lmdp.core.pipeline import Counts, Message, Transformed, TransformSettings, transform
from lmdp.core.rejects import Reject
from lmdp.core.specification import Spec
from lmdp.machine.warehouse.arrow import row_columns

_MOST_CHARACTERS: Final = 16 * 2**20
"""Rows of more are made again by the run itself: as tuples they share their texts, as columns each has its own."""

_LENGTH = struct.Struct("!Q")
_messages = msgspec.msgpack.Decoder(list[Message])


class Answer(msgspec.Struct):
    """A worker's result for a fetch, without its rows, which follow as an Arrow stream, or as JSON lines.

    `ends` are of the messages, among the lines.
    """

    rejects: list[Reject]
    counts: list[int]  # in the order of Counts, without `dropped`
    dropped: dict[str, int]
    size: int
    ends: Sequence[int] = ()

    @classmethod
    def of(cls, done: Transformed, ends: Sequence[int] = ()) -> Answer:
        """Return what of `done` is not rows."""
        counts = done.counts
        numbers = [getattr(counts, name) for name in _NUMBERS]
        return cls(done.rejects, numbers, dict(counts.dropped), done.size, ends)

    def totals(self) -> Counts:
        """Return the counts."""
        return Counts(**dict(zip(_NUMBERS, self.counts, strict=True)), dropped=Counter(self.dropped))


_NUMBERS: Final = (
    "messages", "datapoints", "converted", "rows", "rejected_messages", "rejected_datapoints", "bytes_in",
)  # fmt: skip


def send(link: socket.socket, *parts: bytes | pa.Buffer) -> None:
    """Send parts, each behind its length. Raises OSError where the other side is gone."""
    for part in parts:
        link.sendall(_LENGTH.pack(len(part)))
        link.sendall(part)


def receive(link: socket.socket) -> bytearray:
    """Return the next part. Raises EOFError where the other side is gone, OSError after the socket's timeout."""
    (length,) = _LENGTH.unpack(_exactly(link, _LENGTH.size))
    return _exactly(link, length)


def _exactly(link: socket.socket, length: int) -> bytearray:
    found = bytearray(length)
    view = memoryview(found)
    while view:
        count = link.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return found


def transform_for_sink(messages: Sequence[Message], settings: TransformSettings, row_spec: Spec | None) -> Transformed:
    """Transform messages; with `row_spec`, a row is the JSON object that a sink sends, with its fields named so."""
    done = transform(messages, settings)
    return done if row_spec is None else replace(done, rows=cast("list[Row]", encode(done.rows, row_spec)))


def answer(
    messages: bytes | bytearray, settings: TransformSettings, row_spec: Spec | None = None
) -> tuple[bytes, bytes | pa.Buffer] | tuple[()]:
    """Transform encoded messages; nothing where their rows take too much."""
    done = transform_for_sink(_messages.decode(messages), settings, row_spec)
    if done.size > _MOST_CHARACTERS:
        return ()
    if row_spec is not None:
        return msgspec.msgpack.encode(Answer.of(done, done.ends)), b"\n".join(cast("list[bytes]", done.rows))
    table = row_columns(done.rows, settings.spec.fields)
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return msgspec.msgpack.encode(Answer.of(done)), stream.getvalue()


def main() -> None:
    """Answer until the socket ends."""
    with socket.socket(fileno=sys.stdin.fileno()) as link:
        given: tuple[TransformSettings, Spec | None] = pickle.loads(receive(link))  # noqa: S301 - the run's own
        while True:
            try:
                messages = receive(link)
            except (EOFError, ConnectionError):
                return
            send(link, *(answer(messages, *given) or (b"",)))


if __name__ == "__main__":
    main()
