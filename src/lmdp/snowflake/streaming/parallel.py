"""Calls side by side, in threads that nothing has to wait for at the end of the program."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from lmdp.errors import SinkTakenError, UnreachableError

_GLANCE_S: Final = 0.25
_STOP_S: Final = 4.0  # how long the end waits for an answer


def in_parallel(calls: Sequence[Callable[[], object]], stop: threading.Event) -> None:
    """Make all calls at a time and wait for them; raise the gravest error.

    Raises UnreachableError when `stop` is set and some have not ended soon after.
    """
    errors: list[BaseException] = []

    def make(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)

    # Also a single one: a socket's time-out is longer than the end of a run may take.
    threads = [threading.Thread(target=make, args=(call,), name="snowflake", daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    waited = 0.0
    for thread in threads:
        while thread.is_alive():
            begun = time.monotonic()
            thread.join(_GLANCE_S)
            waited += time.monotonic() - begun if stop.is_set() else 0.0
            if waited > _STOP_S:
                raise UnreachableError("Snowflake had not answered yet. What it has is not written again.")
    if errors:
        raise min(errors, key=lambda error: not isinstance(error, SinkTakenError))
