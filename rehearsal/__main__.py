"""`make rehearse`: play every step, and print a table: step, seconds, result. Exit code 1 when one did otherwise."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lmdp.deployment.naming import Names
from rehearsal.stage import ACCOUNT, REGION, Outcome, Place, Stage, checkout, staged
from rehearsal.steps import BUILD, FIRST, SECOND, Step, play

_TAIL_LINES = 60
_WARNINGS = 15


@dataclass(frozen=True, slots=True)
class Played:
    """A step of an environment, and its result: `ok`, or what is wrong."""

    environment: str
    step: Step
    outcome: Outcome
    fault: str

    def report(self) -> str:
        """Return a failed step for a reader: the command, its output, what to look at."""
        lines = self.outcome.output.splitlines()
        shown = lines if len(lines) <= _TAIL_LINES else [f"… {len(lines) - _TAIL_LINES} lines", *lines[-_TAIL_LINES:]]
        return "\n".join(
            [f"\n{self.environment}: {self.step.name}", f"$ {self.step.command or '(no command)'}", *shown,
             f"wrong: {self.fault}", f"look at: {self.step.look}"]
        )  # fmt: skip


def lane(steps: Sequence[Step], place: Place, console: Console) -> list[Played]:
    """Play one environment's steps in order, up to the first that fails."""
    done: list[Played] = []
    for step in steps:
        outcome, fault = play(step, place)
        done.append(Played(place.names.environment, step, outcome, fault))
        console.print(f"{place.names.environment:8} {outcome.seconds:6.1f} s  {step.name}: {fault or 'ok'}")
        if fault:
            break
    return done


def rehearse(stage: Stage, console: Console, only: str) -> list[Played]:
    """Build once; then both environments at the same time."""
    folder = checkout(stage.folder / "prod")
    first = Place(stage, folder, Names("prod", ACCOUNT, REGION))
    done = lane(BUILD, first, console)
    if done[-1].fault:
        return done
    second = checkout(stage.folder / "dev")
    shutil.copytree(folder / "dist", second / "dist")
    lanes: list[tuple[Sequence[Step], Place]] = [
        (FIRST, first),
        (SECOND, Place(stage, second, Names("dev", ACCOUNT, REGION))),
    ]
    wanted = [one for one in lanes if only in ("", one[1].names.environment)]
    with ThreadPoolExecutor(len(wanted)) as pool:
        for played in pool.map(lambda one: lane(one[0], one[1], console), wanted):
            done += played
    return done


def table(played: Sequence[Played]) -> Table:
    """Return a table of the steps."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("environment", "step", "seconds", "result"):
        drawn.add_column(name, justify="right" if name == "seconds" else "left", overflow="fold")
    for one in played:
        drawn.add_row(one.environment, one.step.name, f"{one.outcome.seconds:.1f}", one.fault or "ok")
    return drawn


def warnings(log: Path) -> list[str]:
    """The emulator's last warnings and errors, in which a function's own may be."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return [line[:400] for line in lines if re.search(r" (WARNING|ERROR) ", line)][-_WARNINGS:]


def main() -> int:
    """Play, print, and end with 0 only where each step did what the document says."""
    parser = argparse.ArgumentParser(prog="make rehearse", description=__doc__)
    parser.add_argument("--only", choices=("prod", "dev"), default="", help="one of the two environments")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there, and leave it: checkouts, logs")
    given = parser.parse_args()
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lmdp-rehearsal-", ignore_cleanup_errors=True) as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with staged(folder) as stage:
            played = rehearse(stage, console, given.only)
        warned = warnings(folder / "emulator.log")
    failed = [one for one in played if one.fault]
    for one in failed:
        console.print(one.report())
    if failed:
        console.print("\nthe emulator's last warnings", *warned, sep="\n")
    console.print(table(played))
    used = os.times()
    console.print(
        f"{len(played)} steps in {time.monotonic() - begun:.0f} s, {len(failed)} failed; "
        f"{used.user + used.system + used.children_user + used.children_system:.0f} s of CPU"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
