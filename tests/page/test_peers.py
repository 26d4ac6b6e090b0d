"""Whose connection it is, by the kernel's table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lmdp.page.security import is_ours

if TYPE_CHECKING:
    from pathlib import Path

PEER, PORT = 0x9C40, 0x1F98  # 40,000 and 8,088
LOOP = "0100007F"
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def entry(remote: int, state: str, uid: int, inode: int) -> str:
    """A line of /proc/net/tcp, of a socket on the peer's port."""
    ends = f"{LOOP}:{PEER:04X} {LOOP}:{remote:04X}"
    return f"   0: {ends} {state} 00000000:00000000 00:00000000 00000000 {uid} 0 {inode} 1\n"


OURS = entry(PORT, "01", os.geteuid(), 7)
ROOTS = entry(PORT, "01", 0, 7)
THEIRS = entry(PORT, "01", 12_345, 7)
WAITING = entry(0x1234, "06", 0, 0)
ELSEWHERE = entry(0x1234, "01", os.geteuid(), 7)
ORPHAN = entry(PORT, "05", 0, 0)


@pytest.mark.parametrize(
    ("lines", "ours"),
    [
        (OURS, True),
        (ROOTS, True),
        (THEIRS, False),
        (WAITING + THEIRS, False),
        (ELSEWHERE + THEIRS, False),
        (WAITING + OURS, True),
        (ORPHAN, False),
        ("", False),
    ],
)
def test_both_ends_tell_whose_it_is(tmp_path: Path, lines: str, ours: bool) -> None:
    """What the port was used for before, or what nobody holds any more, is no proof: the table has it as root's."""
    table = tmp_path / "tcp"
    table.write_text(HEAD + lines)
    assert is_ours(("127.0.0.1", PEER), PORT, [table]) is ours
