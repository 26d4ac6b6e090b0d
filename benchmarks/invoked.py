"""A process that handles events, to see its memory and CPU: `python -m benchmarks.invoked lmdp|plain|idle EVENTS`."""

from __future__ import annotations

import json
import sys
import time
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
    """Handle so many events, made on the way; print rows, CPU seconds, peak. Its environment leads to Firehose."""
    name, count = sys.argv[1], int(sys.argv[2])
    handle = MAKERS[name]()
    handled, cpu = 0, 0.0
    for messages in workloads.endless(functions.MESSAGES, count):
        event = functions.event(messages)
        begun = time.process_time()
        handled += handle(event)
        cpu += time.process_time() - begun
    sys.stdout.write(json.dumps({"handled": handled, "cpu": cpu, "peakMiB": peak_mib()}))


if __name__ == "__main__":
    main()
