"""The folder of one machine's pipeline: its owner's alone."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from lmdp.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def make_home(folder: Path) -> None:
    """Make it with mode 0700; one that is there stays as it is.

    Raises SettingsError where it cannot be made, or where everybody may write: who can put files there can have keys,
    broker and warehouse of his own used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode
    except OSError as error:
        raise SettingsError(f"the folder {folder} cannot be made: {error.strerror}. Name another: --home") from error
    if mode & stat.S_IWOTH:
        raise SettingsError(
            f"everybody on this machine may write to the folder {folder} (mode {stat.S_IMODE(mode):04o}). "
            f"Run: chmod o-w {folder}, or name another: --home"
        )
