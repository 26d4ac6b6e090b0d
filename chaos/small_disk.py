"""A real small disk (a tmpfs) to fill up, where this machine lets us mount one, and a way to play where it does not."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from chaos.scenario import Outcome, Site

_BLOCK = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system of its own."""

    path: Path

    def free(self) -> int:
        """Bytes that can still be written."""
        about = os.statvfs(self.path)
        return about.f_bavail * about.f_frsize

    def fill(self, room: int = 0) -> None:
        """Take all of it but `room` bytes."""
        with (self.path / "filler").open("ab") as filler:
            filler.truncate(0)
            while (taken := (self.free() - room) // _BLOCK * _BLOCK) > 0:
                with contextlib.suppress(OSError):  # others write beside, so that there is less by now
                    os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, taken)

    def empty(self) -> None:
        """Give back what was taken."""
        (self.path / "filler").unlink(missing_ok=True)

    def remount(self, option: str) -> None:
        """`ro` or `rw`."""
        _run("mount", "-o", f"remount,{option}", str(self.path))


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of so many megabytes in the empty `folder`."""
    options = f"size={megabytes}m,mode=0700,uid={os.getuid()}"  # a home that others can replace is refused
    _run("mount", "-t", "tmpfs", "-o", options, "lmdp-chaos", str(folder))
    try:
        yield Disk(folder)
    finally:
        _run("umount", "-l", str(folder))


def _run(*words: str) -> None:
    subprocess.run([*_as_root(), *words], check=True, capture_output=True, timeout=30)


@functools.cache
def _as_root() -> tuple[str, ...]:
    """Return the words before `mount` here. Raises RuntimeError where nobody may mount."""
    for before in ((), ("sudo", "-n")):
        if os.geteuid() == 0 or before:
            with contextlib.suppress(OSError):
                if subprocess.run([*before, "mount", "-V"], capture_output=True, check=False).returncode == 0:
                    return before
    raise RuntimeError("a full disk needs root, sudo without a password, or user namespaces (unshare -Urm)")


def on_a_disk(room: str, name: str, play: Callable[[Site], Outcome]) -> Callable[[Site], Outcome]:
    """`play` as it is where this user may mount; else the same in a user namespace, by the module `room`."""

    def played(site: Site) -> Outcome:
        try:
            _as_root()
        except RuntimeError:
            return _in_a_namespace(room, name, site)
        return play(site)

    return played


def _in_a_namespace(room: str, name: str, site: Site) -> Outcome:
    within = ["unshare", "-Urm"]
    if subprocess.run([*within, "true"], capture_output=True, check=False).returncode:
        _as_root()  # says what is wanted
    done = subprocess.run(
        [*within, sys.executable, "-m", room, name, site.size, str(site.folder())],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"in a user namespace: {done.stderr[-500:]}")
    reported = json.loads(done.stdout.splitlines()[-1])
    return Outcome(**reported | {"broken": tuple(reported["broken"])})
