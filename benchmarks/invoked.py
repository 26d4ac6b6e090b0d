"""A process that handles events, to see its memory: `python -m benchmarks.invoked lmdp|plain|idle EVENTS`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Final

from benchmarks import functions, workloads
from benchmarks.measure import peak_mib

MAKERS: Final[dict[str, Callable[[], Callable[[list[dict[str, Any]]], int]]]] = {
    "lmdp": functions.ours,
    "plain": functions.theirs,
    "idle": lambda: len,
}


def main() -> None:
    """Handle so many events, made on the way, and print the peak in MiB. Its environment leads to Firehose."""
    name, count = sys.argv[1], int(sys.argv[2])
    handle = MAKERS[name]()
    handled = sum(handle(functions.event(messages)) for messages in workloads.endless(functions.MESSAGES, count))
    sys.stdout.write(json.dumps({"handled": handled, "peakMiB": peak_mib()}))


if __name__ == "__main__":
    main()
