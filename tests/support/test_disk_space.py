"""What is said where there is no room, and how long it is waited for."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

from lmdp.errors import LmdpError
from lmdp.support.disk_space import REASONS, disk_full, free_bytes, has_space, wait_for_space


def test_the_message_names_folder_free_and_wanted_bytes(tmp_path: Path) -> None:
    """And what became of the data."""
    error = disk_full(tmp_path, os.strerror(errno.EDQUOT), 1_234_567, "Nothing is lost.")
    first, kept = str(error).split("\n")
    assert first.startswith(f"no space to write in {tmp_path}: Disk quota exceeded (")
    assert first.endswith(" bytes free there, about 1,234,567 wanted).")
    assert (kept, error.exit_code) == ("Nothing is lost.", 1)


def test_room_is_there_when_as_much_is_free_as_is_wanted(tmp_path: Path) -> None:
    """Of a folder that is gone nothing is free."""
    assert has_space(disk_full(tmp_path, "", 1, ""))
    assert not has_space(disk_full(tmp_path, "", free_bytes(tmp_path) * 2, ""))
    assert free_bytes(tmp_path / "gone") == 0


def test_full_disks_quotas_and_limits_are_known_by_their_text() -> None:
    """As the C library says it, since DuckDB gives no numbers."""
    assert set(REASONS) == {"No space left on device", "Disk quota exceeded", "File too large"}


def test_the_end_comes_before_the_room(tmp_path: Path) -> None:
    """A stop ends the waiting at once; room, or another fault, ends it after a second."""
    full, other, stop = disk_full(tmp_path, "", 2**62, ""), LmdpError("else"), threading.Event()
    assert wait_for_space(other, stop)
    assert wait_for_space(disk_full(tmp_path, "", 1, ""), stop)
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    assert not wait_for_space(full, stop)
    assert time.monotonic() - begun < 10
