"""Files that people name: opened without waiting for the other end of a pipe, their versions, and others' rights."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def open_nonblocking(path: str, flags: int) -> int:
    """Open for `open(…, opener=open_nonblocking)`.

    A pipe that nobody writes to reads as empty, and one that nobody reads raises OSError, where opening it would wait
    for ever. A shell's `<(…)` has its writer already, and is read to its end.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


def read_bytes(path: Path) -> bytes:
    """Read a file at once. Raises OSError."""
    with open(path, "rb", opener=open_nonblocking) as file:
        return file.read()


def others_may(mode: int, rights: int = stat.S_IRWXG | stat.S_IRWXO) -> bool:
    """Return whether a file's mode gives others one of these rights; a system without such modes gives none."""
    return os.name == "posix" and bool(mode & rights)


def file_version(about: os.stat_result) -> tuple[int, ...]:
    """Return numbers that differ after a file was written or replaced, also within the clock's grain by another."""
    return about.st_ino, about.st_mtime_ns, about.st_size
