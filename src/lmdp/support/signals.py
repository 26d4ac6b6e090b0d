"""Ctrl-C and SIGTERM as an event: the first ends things in order, the second ends the process as ever."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event, *, interrupt: bool = False) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM set `stop`; a second one ends the process as ever.

    `interrupt` also breaks a read that waits for input, which looks at no event.
    """
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def first(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()
        if interrupt:
            raise KeyboardInterrupt

    for each in before:
        signal.signal(each, first)
    try:
        yield
    except KeyboardInterrupt:
        if not (interrupt and stop.is_set()):
            raise
    finally:
        restore()
