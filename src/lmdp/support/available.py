"""Cores and memory that this process may use: a container has less than the machine that it runs on.

Control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max, memory.max), and version 1's limit.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")
_MEMORY_FILES: Final = ("memory.max", "memory/memory.limit_in_bytes")


def cores(cgroup: Path = _CGROUP) -> int:
    """Return the cores that this process is allowed, one at least; a share of one counts as a whole one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no limit is `max`
        quota, _, period = (cgroup / "cpu.max").read_text().partition(" ")
        allowed = min(allowed, math.ceil(int(quota) / int(period)))
    return max(allowed, 1)


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Return the bytes of memory that this process is allowed: the machine's, or a container's where that is less."""
    allowed = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _MEMORY_FILES:
        with contextlib.suppress(OSError, ValueError):
            allowed.append(int((cgroup / name).read_text()))
    return min(allowed)
