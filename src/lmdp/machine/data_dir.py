"""The folder of one machine's pipeline: its owner's alone, and one run's at a time."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from lmdp.errors import SettingsError, UnreachableError
from lmdp.support.opening import others_may
from lmdp.support.program import at_home, program

_LOCK: Final = "run.lock"


def make_home(folder: Path) -> None:
    """Make it, and every missing folder above it, with mode 0700, whatever the umask.

    Raises SettingsError where it cannot be made, or where another user can read it or replace what is in it: keys,
    broker and warehouse would then be theirs.
    """
    try:
        _make_private(folder)
        if os.name != "posix":
            return
        faults = [*_not_private(folder), *replaceable(folder)]
        for child in sorted(folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):  # another command's temporary file
                faults += _owner_fault(child)
    except OSError as error:
        raise SettingsError(
            f"the folder {folder} cannot be made or read: {error.strerror}. Name another: --home"
        ) from error
    except ValueError as error:  # a NUL in the path
        raise SettingsError(f"--home {str(folder)!r} is not a path: {error}") from error
    if faults:
        raise SettingsError.of([f"--home: {fault}, or name another folder" for fault in dict.fromkeys(faults)])


def replaceable(path: Path) -> list[str]:
    """Return why another user could put something else in the place of `path`, each with the command that ends that.

    Every folder above it counts, by its name and behind symbolic links. Root may do anything, and in a folder with the
    sticky bit (as /tmp) only the owner of an entry replaces it: https://man7.org/linux/man-pages/man7/inode.7.html
    """
    faults: list[str] = []
    for whole in dict.fromkeys((path.absolute(), path.resolve())):
        for one in (whole, *whole.parents):
            faults += _owner_fault(one)
        for folder in whole.parents:
            found = folder.stat()
            if found.st_mode & stat.S_ISVTX == 0 and _others_may_write(found):
                faults.append(
                    f"others can replace what is in {folder} (mode {stat.S_IMODE(found.st_mode):04o}). "
                    f"Run: chmod go-w {shlex.quote(str(folder))}"
                )
    return list(dict.fromkeys(faults))


@contextlib.contextmanager
def only_run(home: Path) -> Iterator[None]:
    """Have the folder for one run during the block; a killed run leaves no lock. Raises UnreachableError."""
    path = home / _LOCK
    lock = FileLock(path, timeout=0, mode=0o600, fallback_to_soft=False, on_acquired=_note_process)
    try:
        held = lock.acquire()
    except Timeout:
        pid = path.read_text("ascii", "replace")[:20].strip() or "unknown"
        shown = f"{program()} status{at_home(home)}"
        raise UnreachableError(
            f"another run (process {pid}) has the folder {home}, so this one was not started. Stop that one first "
            f"(`{shown}` shows it), or name another folder for this one: --home"
        ) from None
    except OSError as error:
        raise UnreachableError(
            f"{path} cannot be locked: {error.strerror}. Nothing was started. Name a local folder: --home"
        ) from error
    with held:
        yield


def _note_process(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


def _make_private(folder: Path) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(20, os.strerror(20))


def _not_private(folder: Path) -> list[str]:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not others_may(mode):
        return []
    return [f"others can look into {folder} (mode {mode:04o}). Run: chmod 700 {shlex.quote(str(folder))}"]


def _owner_fault(path: Path) -> list[str]:
    owner = path.lstat().st_uid
    if owner in (0, os.geteuid()):
        return []
    mine = f"sudo chown -h {os.geteuid()} {shlex.quote(str(path))}"
    return [f"{path} belongs to another user (uid {owner}), who can replace it. Run: {mine}"]


def _others_may_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_private(found.st_gid, found.st_uid)


def _is_private(gid: int, uid: int) -> bool:
    """Return whether a group is the one of a user alone: of the same name, and without other members.

    Systems that make such groups have umask 002: https://wiki.debian.org/UserPrivateGroups
    """
    import grp  # noqa: PLC0415 - POSIX alone
    import pwd  # noqa: PLC0415 - as above

    try:
        group, name = grp.getgrgid(gid), pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}
