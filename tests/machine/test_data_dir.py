"""The folder of one machine's pipeline."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lmdp.errors import SettingsError, UnreachableError
from lmdp.machine.data_dir import make_home, only_run, replaceable

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
NOBODY = 65_534


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_home_and_what_is_made_above_it_are_its_owners_alone(umask: int, tmp_path: Path) -> None:
    """Mode 0700 for every folder that was missing, whatever the umask."""
    before = os.umask(umask)
    try:
        make_home(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    assert [_mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3
    make_home(tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o750, 0o755, 0o711])
def test_a_home_that_others_can_look_into_is_refused(mode: int, tmp_path: Path) -> None:
    """The message has the command that closes it, and that command is enough."""
    home = tmp_path / "my home"
    home.mkdir()
    home.chmod(mode)
    with pytest.raises(SettingsError, match="others can look into") as refused:
        make_home(home)
    command = re.findall(r"Run: (.*?), or name another folder", str(refused.value))[0]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    make_home(home)


@pytest.mark.parametrize("above", [1, 2, 3])
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_home_in_a_folder_that_others_may_write_is_refused(above: int, mode: int, tmp_path: Path) -> None:
    """Whoever may write to any folder above renames the home and puts another in its place."""
    home = tmp_path / "a" / "b" / "home"
    make_home(home)
    opened = [home, *home.parents][above]
    opened.chmod(mode)
    if mode == 0o775 and os.geteuid() != 0:
        pytest.skip("the user's own group is no other user")
    if mode == 0o775:
        os.chown(opened, 0, NOBODY)
    with pytest.raises(SettingsError, match="others can replace") as refused:
        make_home(home)
    subprocess.run(["/bin/sh", "-c", re.findall(r"Run: (.*?), or name", str(refused.value))[0]], check=True)
    make_home(home)


def test_a_sticky_folder_above_is_none_where_others_replace_a_file(tmp_path: Path) -> None:
    """As /tmp is."""
    tmp_path.chmod(0o1777)
    try:
        make_home(tmp_path / "home")
    finally:
        tmp_path.chmod(0o700)


@AS_ROOT
@pytest.mark.parametrize("theirs", ["", "home", "home/certs", "link"])
def test_what_belongs_to_another_user_is_refused(theirs: str, tmp_path: Path) -> None:
    """The home, what is in it, a folder above it, and a symbolic link that leads to it."""
    base = tmp_path / "base"
    make_home(base / "home" / "certs")
    (base / "link").symlink_to(base / "home")
    os.chown(base / theirs, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(SettingsError, match=r"belongs to another user \(uid 65534\)") as refused:
        make_home(base / "link")
    command = re.findall(r"Run: sudo (.*?), or name", str(refused.value))[0]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    make_home(base / "link")


def test_an_open_folder_behind_a_link_counts(tmp_path: Path) -> None:
    """The name leads through private folders, the file lies in an open one."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "ca.pem").touch()
    (tmp_path / "ca.pem").symlink_to(tmp_path / "open" / "ca.pem")
    assert replaceable(tmp_path / "ca.pem") == []
    (tmp_path / "open").chmod(0o777)
    assert replaceable(tmp_path / "ca.pem") == [
        f"others can replace what is in {tmp_path}/open (mode 0777). Run: chmod go-w {tmp_path}/open"
    ]


@pytest.mark.parametrize("name", ["file", "file/home", "nul\0"])
def test_a_home_that_cannot_be_made(name: str, tmp_path: Path) -> None:
    """A file in its place, or above it, is named, and so is what is no path."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be made|is not a path"):
        make_home(tmp_path / name)


def test_a_home_is_one_runs_at_a_time(tmp_path: Path) -> None:
    """A second one is refused and told who has it; the end of the first, also by SIGKILL, frees it."""
    held = "import os, sys, pathlib, time\nfrom lmdp.machine.data_dir import only_run\n"
    held += "with only_run(pathlib.Path(sys.argv[1])):\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        first.stdout.readline()
        refused = pytest.raises(UnreachableError, match=rf"another run \(process {first.pid}\) has the folder")
        with refused, only_run(tmp_path):
            pass
        first.kill()
    with only_run(tmp_path):
        pass
    with only_run(tmp_path):
        pass
