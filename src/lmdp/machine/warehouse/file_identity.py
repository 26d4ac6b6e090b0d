"""Identity of an open warehouse: nobody removed, moved, replaced or truncated the file at its path.

A process keeps a file that has lost its name, and would write on without an error. Tried with DuckDB 2.0.0: between two
transactions the file has `12,288 + blocks * size` bytes, and the log is at its path or DuckDB has none. A checkpoint
removes the log, and the next transaction starts another.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from lmdp.errors import WarehouseReplacedError
from lmdp.support.program import program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HEADER_BYTES = 12_288
_LOOKS = 3
_PAUSE_S = 0.05  # between two looks at a log that a checkpoint is just removing
_Inode = tuple[int, int]


class DatabaseSize(NamedTuple):
    """A file as DuckDB knows it: how many blocks of how many bytes, and whether it has a log."""

    blocks: int
    block_bytes: int
    has_log: bool


class FileIdentity:
    """The file at `path` as it was when it was opened, and its log. `ask` returns what DuckDB believes; 2 ms."""

    def __init__(self, path: Path, ask: Callable[[], DatabaseSize]) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}.wal")
        self._ask = ask
        self._inode, _ = _seen(path)
        self.note()

    def check_file(self) -> None:
        """Compare the file's inode with the path's; takes microseconds, at any time. Raises WarehouseReplacedError."""
        inode, _ = _seen(self._path)
        if inode != self._inode:
            raise _replaced(self._path, "removed or moved" if inode is None else "replaced by another file")

    def check(self) -> None:
        """Check the log as well; for a moment in which nothing is being written. Raises WarehouseReplacedError."""
        self.check_file()
        for left in reversed(range(_LOOKS)):
            if self._has_log():
                return
            if left:
                time.sleep(_PAUSE_S)
        raise _replaced(self._log, "removed, moved or replaced")

    def check_sizes(self) -> None:
        """Check that nothing was truncated since `note`, as well. Raises WarehouseReplacedError."""
        self.check()
        _, size = _seen(self._path)
        if size < self._bytes:  # also after a checkpoint that gave space back
            believed = self._ask()
            if size < _HEADER_BYTES + believed.blocks * believed.block_bytes:
                raise _replaced(self._path, "truncated")
        log, log_bytes = _seen(self._log)
        if log is not None and log == self._log_inode and log_bytes < self._log_bytes:
            raise _replaced(self._log, "truncated")

    def note(self) -> None:
        """Remember the log and the sizes after a write."""
        _, self._bytes = _seen(self._path)
        self._log_inode, self._log_bytes = _seen(self._log)

    def _has_log(self) -> bool:
        """Return whether DuckDB's log is the one at its path; it changes with every checkpoint."""
        log, _ = _seen(self._log)
        if log == self._log_inode:
            return True
        return _is_open(log) if log is not None else not self._ask().has_log


def _seen(path: Path) -> tuple[_Inode | None, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None, 0
    return (found.st_dev, found.st_ino), found.st_size


def _is_open(inode: _Inode) -> bool:
    """Return whether this process has a file open by its inode."""
    for number in os.listdir("/dev/fd"):  # noqa: PTH208 - names alone
        with contextlib.suppress(OSError):
            found = os.fstat(int(number))
            if (found.st_dev, found.st_ino) == inode:
                return True
    return False


def _replaced(path: Path, what: str) -> WarehouseReplacedError:
    return WarehouseReplacedError(
        f"{path} was {what} while it was open, so writing has stopped. Nothing that was written since then was "
        "acknowledged to Kafka.\n"
        f"Put the warehouse back, together with its .wal if it has one, and start `{program()} run` again: it "
        "resumes from the offsets in that file. Without the file it reads everything that Kafka still has."
    )
