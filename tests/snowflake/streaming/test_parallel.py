"""Calls side by side."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from lmdp.errors import ChannelTakenError, LmdpError, UnreachableError
from lmdp.snowflake.streaming.parallel import in_parallel
from lmdp.snowflake.streaming.session import CONNECTIONS
from running import no_more_threads


def test_calls_share_a_bounded_number_of_threads() -> None:
    """Two thousand partitions take no more threads, and so connections, than a few; every call is made once."""
    done, threads = list[int](), set[threading.Thread]()

    def call(number: int) -> None:
        threads.add(threading.current_thread())
        done.append(number)

    in_parallel([partial(call, number) for number in range(2_000)], threading.Event())
    assert sorted(done) == list(range(2_000))
    assert len(threads) <= CONNECTIONS


def test_calls_are_made_without_threads_where_there_are_none() -> None:
    """A limit on threads ends no run."""
    done: list[int] = []
    with no_more_threads():
        in_parallel([partial(done.append, number) for number in range(3)], threading.Event())
    assert done == [0, 1, 2]


def test_the_gravest_error_is_raised_once_all_calls_have_ended() -> None:
    """An error ends no other call."""
    done: list[str] = []

    def fail(error: LmdpError) -> None:
        raise error

    calls = [partial(fail, LmdpError("one")), partial(fail, ChannelTakenError("two")), partial(done.append, "three")]
    with pytest.raises(ChannelTakenError, match="two"):
        in_parallel(calls, threading.Event())
    assert done == ["three"]


def test_the_end_waits_for_no_answer_that_does_not_come() -> None:
    """Once the end is wanted, a silent connection is left after some seconds, and what has not begun never does."""
    answer, stop, made = threading.Event(), threading.Event(), list[int]()
    stop.set()
    begun = time.monotonic()
    silent = [lambda: answer.wait(60)] * CONNECTIONS
    with pytest.raises(UnreachableError, match="ends before an answer came"):
        in_parallel([*silent, lambda: made.append(1)], stop)
    assert time.monotonic() - begun < 8
    answer.set()
    assert made == []
