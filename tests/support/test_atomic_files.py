"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from lmdp.errors import LmdpError
from lmdp.support.atomic_files import replace_files, write_whole

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_file_has_its_mode_and_nothing_is_left_aside(tmp_path: Path, umask: int) -> None:
    """The mode is never wider than asked for, and a file that was there is replaced."""
    (tmp_path / "key").write_bytes(b"old")
    before = os.umask(umask)
    try:
        replace_files((tmp_path / "key", b"new", 0o600), (tmp_path / "cert", b"public", 0o644))
        write_whole(tmp_path / "whole", b"")
    finally:
        os.umask(before)
    found = {path.name: (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()}
    assert found == {"key": (b"new", 0o600), "cert": (b"public", 0o644 & ~umask), "whole": (b"", 0o600)}


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    """Where the first cannot be replaced, the second is as it was; the error names both, and no half file is left."""
    (tmp_path / "x.pem" / "in the way").mkdir(parents=True)
    (tmp_path / "y.pem").write_bytes(b"old")
    with pytest.raises(LmdpError, match=r"x\.pem and .*y\.pem cannot be written: Is a directory\. Nothing was changed"):
        replace_files((tmp_path / "x.pem", b"new", 0o600), (tmp_path / "y.pem", b"new", 0o600))
    assert (tmp_path / "y.pem").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pem", "y.pem"]
