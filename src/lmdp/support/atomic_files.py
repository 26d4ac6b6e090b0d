"""Files that are there whole or not at all: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from lmdp.errors import LmdpError


def replace_files(*files: tuple[Path, bytes, int]) -> None:
    """Replace files of one folder (path, content, mode) together. Raises LmdpError, with nothing changed."""
    try:
        _replace(files)
    except OSError as error:
        names = " and ".join(str(path) for path, _, _ in files)
        raise LmdpError(f"{names} cannot be written: {error.strerror or error}. Nothing was changed.") from error


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by one with mode 0600; a crash leaves the old one or the new one. Raises OSError."""
    _replace(((path, content, 0o600),))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; their names are on the disk when this returns. Raises OSError."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        _flush(one.parent)


def _replace(files: tuple[tuple[Path, bytes, int], ...]) -> None:
    """Rename only once all of them are on the disk; the mode holds from the first byte on."""
    with contextlib.ExitStack() as leftovers:
        asides = []
        for path, content, mode in files:
            aside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
            leftovers.callback(_remove, aside)
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            asides.append(aside)
        for aside, (path, _, _) in zip(asides, files, strict=True):
            aside.replace(path)
    _flush(files[0][0].parent)  # the names, too


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(aside: Path) -> None:
    with contextlib.suppress(OSError):
        aside.unlink(missing_ok=True)
