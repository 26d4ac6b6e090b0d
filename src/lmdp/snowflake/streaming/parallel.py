"""Calls side by side, in threads that nothing has to wait for at the end of the program."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from lmdp.errors import SinkTakenError, UnreachableError
from lmdp.snowflake.streaming.session import CONNECTIONS

_GLANCE_S: Final = 0.25
_STOP_S: Final = 4.0  # how long the end waits for an answer


def in_parallel(calls: Sequence[Callable[[], object]], stop: threading.Event) -> None:
    """Make all calls, `CONNECTIONS` at a time, and wait for them; raise the gravest error.

    Raises UnreachableError when `stop` is set and some have not ended soon after; those that have not begun never do.
    """
    errors: list[BaseException] = []
    left, has_ended = list(reversed(calls)), threading.Event()

    def make() -> None:
        while not has_ended.is_set():
            try:
                call = left.pop()  # atomic
            except IndexError:
                return
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                errors.append(error)

    # Also a single one: a socket's time-out is longer than the end of a run may take.
    threads = _started(make, min(len(calls), CONNECTIONS))
    if not threads:
        make()
    waited = 0.0
    for thread in threads:
        while thread.is_alive():
            begun = time.monotonic()
            thread.join(_GLANCE_S)
            waited += time.monotonic() - begun if stop.is_set() else 0.0
            if waited > _STOP_S:
                has_ended.set()
                raise UnreachableError("The run ends before an answer came. What is there is not written twice.")
    if errors:
        raise min(errors, key=lambda error: not isinstance(error, SinkTakenError))


def _started(work: Callable[[], None], most: int) -> list[threading.Thread]:
    """Start threads; fewer, or none, where the system has no more of them."""
    started: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):
        for _ in range(most):
            thread = threading.Thread(target=work, name="snowflake", daemon=True)
            thread.start()
            started.append(thread)
    return started
