"""A worker process of the transformation: messages in, columns out, over the socket that is its standard input.

It ends when its socket does, so that it outlives no run, however that one ended.
"""

from __future__ import annotations

import pickle
import socket
import struct
import sys
from collections import Counter
from typing import Final

import msgspec
import pyarrow as pa

from lmdp.core.pipeline import Counts, Message, Transformed, TransformSettings, transform
from lmdp.core.rejects import Reject
from lmdp.machine.warehouse.arrow import row_columns

_MOST_CHARACTERS: Final = 16 * 2**20
"""Rows of more are made again by the run itself: as tuples they share their texts, as columns each has its own."""

_LENGTH = struct.Struct("!Q")
_messages = msgspec.msgpack.Decoder(list[Message])


class Answer(msgspec.Struct):
    """What a worker made of a fetch, but for its rows, which follow as an Arrow stream."""

    rejects: list[Reject]
    counts: list[int]  # in the order of Counts, without `dropped`
    dropped: dict[str, int]
    size: int

    @classmethod
    def of(cls, done: Transformed) -> Answer:
        """Return what of `done` is not columns."""
        counts = done.counts
        numbers = [getattr(counts, name) for name in _NUMBERS]
        return cls(done.rejects, numbers, dict(counts.dropped), done.size)

    def totals(self) -> Counts:
        """Return the counts."""
        return Counts(**dict(zip(_NUMBERS, self.counts, strict=True)), dropped=Counter(self.dropped))


_NUMBERS: Final = (
    *("messages", "datapoints", "converted", "rows", "rejected_messages", "rejected_datapoints", "bytes_in"),
)


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


def answer(messages: bytes | bytearray, settings: TransformSettings) -> tuple[bytes, pa.Buffer] | tuple[()]:
    """Transform encoded messages; nothing where their rows take too much as columns."""
    done = transform(_messages.decode(messages), settings)
    if done.size > _MOST_CHARACTERS:
        return ()
    table = row_columns(done.rows, settings.spec.fields)
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return msgspec.msgpack.encode(Answer.of(done)), stream.getvalue()


def main() -> None:
    """Answer until the socket ends."""
    with socket.socket(fileno=sys.stdin.fileno()) as link:
        settings: TransformSettings = pickle.loads(receive(link))  # noqa: S301 - the run's own, over its own socket
        while True:
            try:
                messages = receive(link)
            except (EOFError, ConnectionError):
                return
            send(link, *(answer(messages, settings) or (b"",)))


if __name__ == "__main__":
    main()
