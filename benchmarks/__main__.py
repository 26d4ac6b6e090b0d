"""`python -m benchmarks`: measure, and print one table.

make bench                                       all of it, ten minutes on a quiet machine
make bench ARGS="--quick"                        about a minute
make bench ARGS="--only transform --only kafka"  some stages
make bench ARGS="--markdown docs/performance.md" also into the block of that file
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import kafka, machine, table
from benchmarks.bench import FULL, QUICK, Bench, Stage
from benchmarks.stages import commit, core, function, growth, workers
from benchmarks.stages import machine as one_machine

STAGES: Final[dict[str, Stage]] = {
    "decode": core.measure_decode,
    "flatten": core.measure_flatten,
    "transform": core.measure_transform,
    "deliver": function.measure_firehose,
    "invocation": function.measure_invocation,
    "start": function.measure_start,
    "memory": function.measure_memory,
    "commit": commit.measure_commit,
    "table": commit.measure_table,
    "machine": one_machine.measure_machine,
    "workers": workers.measure_workers,
    "latency": one_machine.measure_latency,
    "growth": growth.measure_growth,
}


def main() -> None:
    """Measure and print."""
    options = _options()
    if options.markdown is not None:
        try:  # now, not after ten minutes
            table.check(options.markdown)
        except (OSError, ValueError) as error:
            sys.exit(f"--markdown: {error}")
    about = machine.about()
    if (load := machine.load()) is not None and load > 0.5 * (os.cpu_count() or 1):
        about += f"; NOT QUIET: {load:.1f} processes wanted a core in the minute before"
    skipped: dict[str, str] = {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lmdp-bench-") as folder, kafka.once(Path(folder, "site")) as broker:
        bench = Bench(
            QUICK if options.quick else FULL, Path(folder), broker, skipped.__setitem__, _say, not options.offline
        )
        lines = [line for name in options.only or STAGES for line in STAGES[name](bench)]
    notes = [f"skipped: {name}: {reason}" for name, reason in skipped.items()]
    about += f"; {(time.monotonic() - begun) / 60:.1f} minutes"
    console = Console(width=None if sys.stdout.isatty() else 220)
    console.print(about, highlight=False)
    table.show(lines, notes, console)
    if options.markdown is not None:
        table.rewrite(options.markdown, table.markdown(lines, notes, about))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: a minute, and numbers that wobble")
    parser.add_argument("--only", action="append", choices=STAGES, metavar="STAGE", help=f"one of {', '.join(STAGES)}")
    parser.add_argument("--offline", action="store_true", help="skip what would have to be fetched or built first")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table between the markers of FILE too")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
