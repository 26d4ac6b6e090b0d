"""otlp2records, a Rust crate, in a program of its own: messages of a file to rows as JSON, in its own columns.

A row a datapoint; a message with a failed poll ("NaN") it refuses, so its rows are a little fewer than ours, and its
cost is a row of its own. Its process's start is in its cost.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks import scratch


def program(say: Callable[[str], None], *, install: bool) -> Path:
    """The program, built if need be. Raises PeerMissingError."""
    return scratch.cargo_program("native", say, install=install)


def rows_of(program: Path) -> Callable[[Path], int]:
    """Return a function that reads a file of messages, writes the rows next to it, and returns their number."""

    def work(file: Path) -> int:
        rows = file.with_suffix(".rows")
        with rows.open("wb") as out:
            subprocess.run([str(program), str(file)], stdout=out, check=True)
        return rows.read_bytes().count(b"\n")

    return work
