"""A call that hangs."""

from __future__ import annotations

import threading

import pytest

from lmdp.cloud.aws_client import with_deadline
from lmdp.errors import DeadlineError


def test_what_the_call_gives_or_raises() -> None:
    """In time, the result or the error of the call is passed on."""
    assert with_deadline(10, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        with_deadline(10, lambda: 1 / 0)


def test_a_time_out_of_the_call_is_its_own() -> None:
    """A TimeoutError of the call itself is not replaced by ours."""

    def call() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        with_deadline(10, call)


@pytest.mark.parametrize("seconds", [0.2, 0.0, -1.0])
def test_a_call_that_hangs_is_abandoned(seconds: float) -> None:
    """Nothing waits for it, not even the end of the program: its thread is a daemon."""
    end = threading.Event()
    with pytest.raises(DeadlineError):
        with_deadline(seconds, end.wait)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "call")
    end.set()
