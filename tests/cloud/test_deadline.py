"""A call that hangs."""

from __future__ import annotations

import threading
import time

import pytest

from lmdp.cloud.deadline import within
from lmdp.errors import DeadlineError


def test_what_the_call_gives_or_raises() -> None:
    """In time, it is as if the call were made here."""
    assert within(10, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(10, lambda: 1 / 0)


def test_a_time_out_of_the_call_is_its_own() -> None:
    """A call that says itself that its time was over is not one that was not waited for."""

    def call() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        within(10, call)


@pytest.mark.parametrize("seconds", [0.2, 0.0, -1.0])
def test_a_call_that_hangs_is_left(seconds: float) -> None:
    """Nothing waits for it, not even the end of the program: its thread is a daemon."""
    end, begun = threading.Event(), time.monotonic()
    with pytest.raises(DeadlineError):
        within(seconds, end.wait)
    assert time.monotonic() - begun < 10
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "call")
    end.set()
