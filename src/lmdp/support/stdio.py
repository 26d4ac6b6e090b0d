"""Standard streams that are closed or full: nothing else fails because of them, and truncated output is an error."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from typing import IO, Final

from lmdp.support.disk_space import FULL

_UNWRITABLE: Final = FULL | {errno.EBADF, errno.EIO}


def open_closed() -> None:
    """Replace streams that were closed at the start (`>&-`), before any file is opened.

    Else the next file gets the stream's number, and whatever a library prints lands in it. What is printed to a closed
    standard output fails, as it should; to a closed standard error it is dropped.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="backslashreplace")  # in a POSIX locale a \u2026 would end with a traceback


def print_error(text: str) -> None:
    """Print a line on standard error, where that can be written."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def discard(stream: IO[str]) -> None:
    """Discard what a stream still buffers: at exit Python would write it once more, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def flush(stream: IO[str]) -> None:
    """Flush a stream whose loss is no fault."""
    try:
        stream.flush()
    except OSError:
        discard(stream)


def is_unwritable(error: OSError) -> bool:
    """Return whether a write to standard output failed: no file's name, and no space left or a closed stream."""
    return error.filename is None and error.errno in _UNWRITABLE
