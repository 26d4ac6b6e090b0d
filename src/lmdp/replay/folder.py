"""A folder of rejects, as `lmdp run --rejects` writes it or `aws s3 sync` fetches it.

Symbolic links are not followed, neither to files nor to folders, so that nothing outside the folder is read or moved.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lmdp.errors import SettingsError, UnreachableError, UnreadableObjectError, translating
from lmdp.replay.sources import REPLAYED, Stored, is_replayed
from lmdp.support.atomic_files import write_whole
from lmdp.support.failed_records import LARGEST


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below `root`, but for hidden ones."""

    root: Path

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Raises SettingsError when that is no folder, or one of what was replayed."""
        root = path.resolve()
        if not root.is_dir():
            raise SettingsError(
                f"{path} is no folder. Name a folder of rejects, s3://bucket/prefix, a .duckdb file, or `warehouse`."
            )
        if REPLAYED in root.parts:
            raise SettingsError(
                f"{path} holds what was replayed before. To send some of it again, move it out of there first."
            )
        return cls(root)

    @property
    def where(self) -> str:
        """The folder."""
        return f"{self.root}/"

    def names(self) -> list[str]:
        """Files that were not replayed yet."""
        return sorted(name for name in self._files(self.root) if not is_replayed(name))

    def replayed(self) -> list[str]:
        """Files that were."""
        below = self.root / REPLAYED
        return [] if below.is_symlink() else sorted(self._files(below))

    def read(self, name: str) -> Stored:
        """Read a file; a link or a device in its place is left alone."""
        with _translated(self.root / name):
            try:
                handle = os.open(self.root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:
                raise UnreadableObjectError("it was removed in the meantime") from None
            except OSError as error:
                if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket, a link
                    raise UnreadableObjectError("it is no file") from None
                raise
            with os.fdopen(handle, "rb") as file:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode):
                    raise UnreadableObjectError("it is no file")
                if about.st_size > LARGEST:
                    raise UnreadableObjectError(f"it has more than {LARGEST // 2**20} MiB")
                return Stored(file.read(), _version(about))

    def archive(self, name: str, stored: Stored, to: str, left: bytes | None) -> bool:
        """Rename it; or, where something is left of it, give it a second name, and the first one to that."""
        path, target = self.root / name, self.root / to
        with _translated(path):
            self._make(target.parent)
            if not os.path.lexists(path) or _version(path.lstat()) != stored.version:
                write_whole(target, stored.content)
                return False
            if left is None:
                path.replace(target)
            else:
                _second_name(path, target)
                write_whole(path, left)
        return True

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, none of them through a link."""
        for part in reversed([folder, *folder.relative_to(self.root).parents]):
            each = self.root / part
            if each.is_symlink():
                raise UnreachableError(
                    f"{each} is a link; what was replayed is not moved through it. Remove it, and repeat the command."
                )
            each.mkdir(exist_ok=True)

    def _files(self, below: Path) -> Iterator[str]:
        def refused(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise UnreachableError(f"{error.filename} cannot be read ({error.strerror}). Nothing was changed.")

        for folder, folders, files in os.walk(below, onerror=refused):
            folders[:] = [each for each in folders if not each.startswith(".")]
            for file in files:
                path = Path(folder, file)
                if not file.startswith(".") and not path.is_symlink():
                    yield path.relative_to(self.root).as_posix()


def _version(about: os.stat_result) -> tuple[int, ...]:
    return about.st_ino, about.st_size, about.st_mtime_ns


def _second_name(path: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:  # a file system without links
        shutil.copy2(path, target, follow_symlinks=False)


def _translated(path: Path) -> AbstractContextManager[None]:
    def unreachable(error: OSError) -> UnreachableError:
        return UnreachableError(
            f"{path} could not be read or moved ({error.strerror or error}). All that was replayed before it is "
            "complete. Fix that, and run the same command again: it resumes here."
        )

    return translating({OSError: unreachable})
