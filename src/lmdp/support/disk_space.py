"""Space on a disk: the error of a write that found none, and whether there is some by now."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Final

from lmdp.errors import DiskFullError, LmdpError

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The errors of a write for want of space: a full disk, a quota, the longest file allowed."""

REASONS: Final = tuple(os.strerror(number) for number in sorted(FULL))
"""The same as text, for errors that come without their number."""


_RETRY_S = 1.0
_PATIENCE_S = 15.0  # how much is wanted is an estimate, so that it is tried without as much, too


def disk_full(folder: Path, reason: str, wanted: int, kept: str) -> DiskFullError:
    """Return the error for a write of about `wanted` bytes to `folder`; `kept` says what became of the data."""
    place = f"no space to write in {folder}: {reason}"
    return DiskFullError(
        f"{place} ({free_bytes(folder):,} bytes free there, about {wanted:,} wanted).\n{kept}", folder, wanted, place
    )


def has_space(error: DiskFullError) -> bool:
    """Return whether as much is free by now; after a quota's fault that is unknown, and the answer is yes."""
    return free_bytes(error.folder) >= error.wanted


def wait_for_space(error: LmdpError, stop: threading.Event) -> bool:
    """Wait before another try: a second, or until there is space, but not for long. False when `stop` came first."""
    ends = time.monotonic() + (_PATIENCE_S if isinstance(error, DiskFullError) else 0)
    while not stop.wait(_RETRY_S):
        if time.monotonic() >= ends or (isinstance(error, DiskFullError) and has_space(error)):
            return True
    return False


def free_bytes(folder: Path) -> int:
    """Return the bytes that this user can still write there; 0 where that is unknown."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0
