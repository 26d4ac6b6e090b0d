"""The folder of one machine's pipeline."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from lmdp.errors import SettingsError
from lmdp.local.home import make_home

if TYPE_CHECKING:
    from pathlib import Path


def test_a_new_home_is_its_owners_alone(tmp_path: Path) -> None:
    """Mode 0700, whatever the umask; one that is there keeps its own."""
    make_home(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    (tmp_path / "theirs").mkdir(mode=0o750)
    make_home(tmp_path / "theirs")
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o750


def test_a_home_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    """Who can put files there can have keys and a broker of his own used; sticky or not."""
    for mode in (0o777, 0o1777):
        tmp_path.chmod(mode)
        with pytest.raises(SettingsError, match="chmod o-w"):
            make_home(tmp_path)
    tmp_path.chmod(0o700)


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in its place is told."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be made"):
        make_home(tmp_path / "file")
