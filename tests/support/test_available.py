"""Cores and memory of a container, by the files of its control group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lmdp.support.available import cores, memory_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [("50000 100000\n", 1), ("100000 100000\n", 1), ("max 100000\n", None), ("99900000 100000\n", None), ("", None)],
)
def test_a_quota_limits_the_cores(tmp_path: Path, limit: str, allowed: int | None) -> None:
    """None: as many as the process may run on."""
    (tmp_path / "cpu.max").write_text(limit)
    assert cores(tmp_path) == (allowed or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("name", "limit", "allowed"),
    [
        ("memory.max", "536870912\n", 536_870_912),
        ("memory.max", "max\n", MACHINE),
        ("memory/memory.limit_in_bytes", "1000000\n", 1_000_000),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", MACHINE),
        ("other", "", MACHINE),
    ],
)
def test_a_container_limits_the_memory(tmp_path: Path, name: str, limit: str, allowed: int) -> None:
    """A limit above the machine's memory is none."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(limit)
    assert memory_bytes(tmp_path) == allowed
