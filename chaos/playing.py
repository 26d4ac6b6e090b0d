"""Scenarios side by side: each worker is a process with a site of its own, since most of a scenario is waiting."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from chaos import access, cloud, crash, data, direct, disk, load, network, order, receiver, transactions
from chaos.scenario import Outcome, Site, Size

ROOMS = (crash, direct, network, disk, data, load, order, transactions, cloud, access, receiver)
SCENARIOS = tuple(scenario for room in ROOMS for scenario in room.SCENARIOS)


@dataclass(frozen=True, slots=True)
class Played:
    """One of SCENARIOS, its outcome, and the time that it took; `error` when it could not be run to its end."""

    number: int
    outcome: Outcome | None
    seconds: float
    error: str = ""

    def faults(self) -> tuple[str, ...]:
        """Return what is not as promised; none is right."""
        return self.outcome.faults() if self.outcome else (self.error,)

    def cells(self) -> list[str]:
        """Its line of the table."""
        reported = self.outcome
        numbers = (
            [
                reported.times,
                reported.messages,
                reported.expected_rows,
                reported.found_rows,
                reported.repeats,
                reported.rejects,
            ]
            if reported
            else []
        )
        result = "; ".join(self.faults()) or "passed"
        measured = f" ({reported.measured})" if reported and reported.measured else ""
        return [
            SCENARIOS[self.number].name,
            *[f"{number:,}" for number in numbers],
            *[""] * (6 - len(numbers)),
            f"{self.seconds:.0f}",
            result + measured,
        ]


def play(number: int) -> Played:
    """Play one of SCENARIOS at this worker's site; an error of the scenario itself is shown in the table."""
    begun = time.monotonic()
    try:
        outcome, error = SCENARIOS[number].play(_SITES[0]), ""
    except Exception as failure:  # noqa: BLE001 - as said
        outcome, error = None, f"not played: {type(failure).__name__}: {failure}"
    return Played(number, outcome, time.monotonic() - begun, error)


_SITES: list[Site] = []


def _set_up(size: Size, folder: Path) -> None:
    """Make the site of a worker. Its Kafka ends with it, as the broker's guard sees to."""
    _SITES.append(Site(size, folder))


def play_all(numbers: Sequence[int], size: Size, folder: Path, jobs: int) -> Iterator[Played]:
    """Play side by side, each worker at a site of its own, since most of a scenario is waiting."""
    workers = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _set_up, (size, folder))
    with workers:
        for done in as_completed([workers.submit(play, number) for number in numbers]):
            yield done.result()
