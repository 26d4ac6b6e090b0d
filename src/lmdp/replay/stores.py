"""Stores of objects with failures: a folder, or a bucket below a prefix. Both are the same few calls.

What was replayed goes below `replayed/`, and what is left takes its place: written only when the sink has the rest.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from lmdp.errors import SettingsError, UnreachableError, UnreadableObjectError, translating
from lmdp.support.atomic_files import write_whole
from lmdp.support.failed_records import LARGEST, REPLAYED, FailedRecord, Unparseable
from lmdp.support.opening import file_version

_LONGEST_NAME: Final = 240  # bytes; file systems take 255
_LONGEST_PLACE: Final = 900  # bytes; with the prefix, S3 takes 1,024

# <topic>-<partition>-<first offset>-<last offset>.<digest>.ndjson.gz, behind what a replayed object has in front.
_NAME: Final = re.compile(
    r"(?:[0-9a-f]{12}-)?(?P<place>.+-\d+)-(?P<first>\d+)-(?P<last>\d+)(?:\.[0-9a-f]{16})?\.ndjson(?:\.gz)?"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """An object's content, and its version, to see whether it is still the same."""

    content: bytes
    version: object


class Store(Protocol):
    """A place with objects; their names are relative to it, with `/` between the parts."""

    @property
    def where(self) -> str:
        """The place as a user names it; `where` and a name make an object's address."""

    def names(self) -> list[str]:
        """Return the objects that were not replayed yet, in order. Raises UnreachableError."""

    def replayed(self) -> list[str]:
        """Return the names of those that were."""

    def read(self, name: str) -> Stored:
        """Read one.

        Raises UnreadableObjectError for what is no object of failures, UnreachableError when it is not to be had.
        """

    def archive(self, name: str, stored: Stored, to: str, left: bytes | None) -> bool:
        """Move an object to the name `to`, and put `left` in its place.

        False where it changed since it was read: then it stays, and what was read goes to `to`, so that it is known.
        """


def place_of_replayed(name: str, digest: str) -> str:
    """Return where a replayed object goes: an earlier one may have its name, so a part of the digest is in it.

    Always below `replayed/`, also for a key that begins with a slash, and never longer than a name may be: an object
    that could not be moved would be sent again each time.
    """
    path = PurePosixPath(name.lstrip("/"))
    place = PurePosixPath(REPLAYED, path.parent, f"{digest[:12]}-{path.name}")
    if len(os.fsencode(path.name)) <= _LONGEST_NAME and len(os.fsencode(place)) <= _LONGEST_PLACE:
        return str(place)
    return str(PurePosixPath(REPLAYED, f"{digest[:12]}-{hashlib.sha256(os.fsencode(name)).hexdigest()}"))


def is_replayed(name: str) -> bool:
    """Return whether an object of this name is one that was replayed."""
    return REPLAYED in PurePosixPath(name).parts[:-1]


class ReplayedFailures:
    """The failures that were replayed before: a batch that was tried again may have been split into other objects.

    Replayed objects stay in the store. The names of our own have their offsets, so that only those are read that may
    have the same ones; an object under any other name may have any.
    """

    def __init__(self, replayed: Iterable[str], pieces: Callable[[str], Iterable[FailedRecord | Unparseable]]) -> None:
        """`replayed` names the objects that were replayed, and `pieces` reads one."""
        self._pieces = pieces
        self._found: set[tuple[object, ...]] = set()
        self._unread: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
        self._anywhere: list[str] = []  # without offsets in their names: they may have copies of any
        for name in replayed:
            if place := _offsets(name):
                self._unread[place[0]].append((*place[1:], name))
            else:
                self._anywhere.append(name)

    def add(self, pieces: Iterable[FailedRecord | Unparseable]) -> None:
        """Add failures that were replayed just now."""
        self._found |= {key for piece in pieces if (key := _identity(piece))}

    def copies(self, name: str, pieces: Sequence[FailedRecord | Unparseable]) -> frozenset[int]:
        """Return the indices of copies in the object `name`: of what was replayed, or came before in the object."""
        if not any(map(_identity, pieces)):  # row events, which nothing read here can be a copy of
            return frozenset()
        for other in self._candidates(name):
            self.add(self._pieces(other))
        found, here = set[int](), set[tuple[object, ...]]()
        for index, piece in enumerate(pieces):
            if key := _identity(piece):
                if key in self._found or key in here:
                    found.add(index)
                here.add(key)
        return frozenset(found)

    def _candidates(self, name: str) -> list[str]:
        """Take from the unread objects those that may hold copies of what the object `name` holds."""
        place = _offsets(name)

        def is_near(other: tuple[int, int, str]) -> bool:
            return place is None or (other[0] <= place[2] and place[1] <= other[1])

        taken, self._anywhere = self._anywhere, []
        for key in list(self._unread) if place is None else [place[0]]:
            others = self._unread[key]
            taken += [other[2] for other in others if is_near(other)]
            self._unread[key] = [other for other in others if not is_near(other)]
        return taken


def _offsets(name: str) -> tuple[str, int, int] | None:
    match = _NAME.fullmatch(name.rpartition("/")[2])
    return (match["place"], int(match["first"]), int(match["last"])) if match else None


def _identity(piece: FailedRecord | Unparseable) -> tuple[object, ...] | None:
    return piece.identity if isinstance(piece, FailedRecord) else None


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below `root`, but for hidden ones: rejects as `lmdp run --rejects` writes, or `aws s3 sync` fetches.

    Symbolic links are not followed, neither to files nor to folders, so that nothing outside it is read or moved.
    """

    root: Path

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Return the folder at `path`. Raises SettingsError when that is none, or one of what was replayed."""
        root = path.resolve()
        if not root.is_dir():
            raise SettingsError(
                f"{path} is not a folder. Name a folder of rejects, s3://bucket/prefix, a .duckdb file, or `warehouse`."
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
        """Return the files that were not replayed yet."""
        return sorted(name for name in self._files(self.root) if not is_replayed(name))

    def replayed(self) -> list[str]:
        """Return the files that were."""
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
                    raise UnreadableObjectError("it is not a file") from None
                raise
            with os.fdopen(handle, "rb") as file:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode):
                    raise UnreadableObjectError("it is not a file")
                if about.st_size > LARGEST:
                    raise UnreadableObjectError(f"it has more than {LARGEST // 2**20} MiB")
                return Stored(file.read(), file_version(about))

    def archive(self, name: str, stored: Stored, to: str, left: bytes | None) -> bool:
        """Rename it; or, where something is left of it, give it a second name, and the first one to that."""
        path, target = self.root / name, self.root / to
        with _translated(path):
            self._make(target.parent)
            if not os.path.lexists(path) or file_version(path.lstat()) != stored.version:
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
