"""Rounds of work, the contenders in turn, so that the machine's moods hit all of them; ratios are within a round."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

LMDP: Final = "lmdp"

Messages = Sequence[bytes]
Counts = Literal["same", "own", "none"]


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


class UnequalError(Exception):
    """Contenders that should make the same rows did not."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work of a stage.

    `prepare` makes its input from a round's messages, untimed. `work` returns how many rows it made: the `same` as
    lmdp, its `own` number (a slow one that gets fewer messages), or `none` (a floor, which costs what it costs).
    """

    work: Callable[[Any], int]
    prepare: Callable[[Messages], Any] = list
    counts: Counts = "same"


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one unit: the median of the rounds, half their spread as a share of it, and the ratio to lmdp's."""

    median: float
    spread: float
    ratio: float


def compare(
    contenders: Mapping[str, Contender],
    rounds: Sequence[Messages],
    *,
    clock: Callable[[], float] = cpu,
    unit: str = "row",
) -> dict[str, Cost]:
    """Seconds a row (or a message) of each contender, `lmdp` among them; the first round only warms up.

    Raises UnequalError when contenders that make rows make different numbers of them.
    """
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for number, messages in enumerate(rounds):
        units = {name: _timed(contender, messages, clock) for name, contender in _turned(contenders, number)}
        made = {name: rows for name, (_, rows) in units.items() if contenders[name].counts == "same"}
        if len(set(made.values())) != 1:
            raise UnequalError(f"rows of the same {len(messages):,} messages: {made}")
        per = len(messages) if unit == "message" else made[LMDP]
        if number or len(rounds) == 1:
            for name, (seconds, rows) in units.items():
                spent[name].append(seconds / (rows if contenders[name].counts == "own" else per))
    return {name: _cost(seconds, spent[LMDP]) for name, seconds in spent.items()}


def _turned(contenders: Mapping[str, Contender], by: int) -> Iterator[tuple[str, Contender]]:
    """The contenders, another one first each round."""
    names = list(contenders)
    by %= len(names)
    return ((name, contenders[name]) for name in names[by:] + names[:by])


def _timed(contender: Contender, messages: Messages, clock: Callable[[], float]) -> tuple[float, int]:
    given = contender.prepare(messages)
    gc.collect()  # what the one before left is not charged to this one
    begun = clock()
    rows = contender.work(given)
    return clock() - begun, rows


def _cost(seconds: Sequence[float], ours: Sequence[float]) -> Cost:
    middle = median(seconds)
    return Cost(
        median=middle,
        spread=(max(seconds) - min(seconds)) / 2 / middle if middle else 0.0,
        ratio=median(one / other for one, other in zip(seconds, ours, strict=True)),
    )


@contextmanager
def one_core() -> Iterator[None]:
    """Stay on the last core for the block, where the system lets a process choose."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def peak_mib() -> float:
    """The most memory that this process has had, in MiB.

    On Linux from the kernel's high-water mark: `ru_maxrss` of a child begins at what its parent had.
    """
    status = Path("/proc/self/status")
    if status.exists():
        marks = [row.split()[1] for row in status.read_text(encoding="ascii").splitlines() if row.startswith("VmHWM:")]
        return round(int(marks[0]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)  # bytes, on macOS
