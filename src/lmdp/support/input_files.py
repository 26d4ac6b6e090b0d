"""Messages out of files: line files (also compressed) and standard input hold one a line, any other file is one.

The OpenTelemetry Collector's file exporter writes lines into `.json`. A file of any name whose first line is an
OTLP/JSON request, with more behind it, is read as lines too: as one message it could only be malformed.
"""

from __future__ import annotations

import gzip
import re
import sys
import zlib
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import zstandard

from lmdp.core.pipeline import Message
from lmdp.errors import LmdpError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STDIN = "-"
# One message is held in memory whole. Kafka's own limit is far below (message.max.bytes, 1 MiB by default).
LONGEST_MESSAGE = 256 * 2**20
_PIECE = 256 * 1024
# A zstd block of 128 KiB may take 4 bytes, so the input comes in pieces that cannot swell beyond 32 MiB.
_ZSTD_PIECE = 1024
_REQUESTS = frozenset({"resourceMetrics", "resource_metrics", "resourceLogs", "resourceSpans"})
_INK = re.compile(rb"\S")
_LINE_ENDINGS = (".jsonl", ".ndjson")


def read_messages(path: Path | str, *, longest: int = LONGEST_MESSAGE) -> Iterator[Message]:
    """Read the messages of one file, or of standard input (`-`), lazily.

    The topic is the file's name, the partition 0, the offset the message's number from 0; there is no timestamp.
    Raises SettingsError when the file cannot be opened, LmdpError when its compression is damaged or a message has more
    than `longest` bytes.
    """
    name = "stdin" if str(path) == STDIN else Path(path).name
    for offset, value in enumerate(_values(path, longest)):
        yield Message(value=value, topic=name, partition=0, offset=offset)


def read_lines(path: Path | str) -> Iterator[tuple[int, bytes]]:
    """Number and read the lines of one file, or of standard input (`-`), lazily; blank ones are none.

    A `.json` file holds one JSON value: an array counts as a line an element. Raises as `read_messages` does.
    """
    values = _values(path, LONGEST_MESSAGE)
    is_json = str(path).lower().endswith(".json")
    yield from enumerate(chain.from_iterable(map(_elements, values)) if is_json else values, 1)


def _elements(text: bytes) -> Iterator[bytes]:
    """Return the elements of a JSON array, or the whole text where it is none."""
    try:
        value = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return iter([text])
    return map(bytes, value)


def _values(path: Path | str, longest: int) -> Iterator[bytes]:
    where = "standard input" if str(path) == STDIN else str(path)
    name = "-.jsonl" if str(path) == STDIN else Path(path).name.lower()
    with _translated(where), nullcontext(sys.stdin.buffer) if str(path) == STDIN else Path(path).open("rb") as file:
        if name.endswith(_LINE_ENDINGS):
            yield from _lines(_chunks(file), where, longest)
        elif name.endswith(tuple(f"{ending}.gz" for ending in _LINE_ENDINGS)):
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield from _lines(_chunks(unzipped), where, longest)
        elif name.endswith(tuple(f"{ending}.zst" for ending in _LINE_ENDINGS)):
            yield from _lines(_zstd_chunks(file), where, longest)
        else:
            value = file.read(longest + 1)
            if len(value) > longest:
                raise _too_long(where, longest)
            yield from _lines(iter([value]), where, longest) if _is_lines(value) else iter([value])


def _is_lines(value: bytes) -> bool:
    """Return whether the first line is a whole request in JSON, and another line follows."""
    end = value.find(b"\n")
    if not value.startswith(b"{") or end < 0 or not _INK.search(value, end):
        return False
    try:
        return not _REQUESTS.isdisjoint(msgspec.json.decode(value[:end], type=dict[str, msgspec.Raw]))
    except (msgspec.MsgspecError, RecursionError):
        return False


def _chunks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    # read1 hands on what a pipe holds, without waiting for a whole piece.
    read: Callable[[], bytes] = partial(getattr(file, "read1", file.read), _PIECE)
    return iter(read, b"")


def _zstd_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Decompress frame after frame. The library's own reader takes a file that was cut short for its end."""
    frame = None
    for piece in iter(partial(file.read, _ZSTD_PIECE), b""):
        rest = piece
        while rest:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(rest)
            rest = frame.unused_data
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("the zstd stream ends inside a frame")


def _lines(chunks: Iterator[bytes], where: str, longest: int) -> Iterator[bytes]:
    """Cut the stream at line ends; lines of white space alone are none."""
    begun: list[bytes] = []
    length = 0
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            line = b"".join((*begun, end))
            begun, length = [], 0
            if line.strip():
                yield line.rstrip(b"\r")
        begun.append(rest)
        length += len(rest)
        if length > longest:
            raise _too_long(where, longest)
    if (line := b"".join(begun)).strip():
        yield line.rstrip(b"\r")


def _too_long(where: str, longest: int) -> LmdpError:
    return LmdpError(
        f"{where} holds a message of more than {longest // 2**20} MiB; it was not read further. "
        "Several messages in one file have to be one a line, in a file that ends in .jsonl or .ndjson."
    )


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Translate what the file system and the decompressors raise into one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise SettingsError(f"{where} does not exist.") from None
    except IsADirectoryError:
        raise SettingsError(f"{where} is a folder; name the files in it.") from None
    except PermissionError:
        raise SettingsError(f"{where} may not be read by this user.") from None
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise LmdpError(
            f"{where} is damaged or truncated ({error}); the messages before the damage were read."
        ) from error
    except OSError as error:
        raise SettingsError(f"{where} could not be read: {error.strerror or error}.") from error
