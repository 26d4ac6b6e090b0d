"""A call that may hang, waited for no longer than there is time.

A socket's time-out ends one wait of many, and a name is looked up without any: an answer that comes byte by byte, or a
name server that is silent, would outlast the invocation, which then ends without a word.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from lmdp.errors import DeadlineError

_T = TypeVar("_T")
_Work: TypeAlias = Callable[[], Any]
_Caller: TypeAlias = "SimpleQueue[tuple[_Work, Future[Any]]]"

# Callers without a call. One starts in tens of µs, but its memory begins anew: half a millisecond for a call's body.
_idle: deque[_Caller] = deque()
if hasattr(os, "register_at_fork"):  # threads do not come along
    os.register_at_fork(after_in_child=_idle.clear)


def within(seconds: float, call: Callable[[], _T]) -> _T:
    """What `call` gives or raises; raises DeadlineError after `seconds`.

    The call is made in another thread, which nothing waits for: it ends with its sockets' time-outs.
    """
    answer: Future[_T] = Future()
    _caller().put((call, answer))
    if not wait([answer], max(seconds, 0.0)).done:
        raise DeadlineError(f"no answer in {seconds:.1f} s")
    return answer.result()


def _caller() -> _Caller:
    """One that has nothing to do."""
    try:
        return _idle.pop()
    except IndexError:
        calls: _Caller = SimpleQueue()
        Thread(target=_make, args=(calls,), name="call", daemon=True).start()
        return calls


def _make(calls: _Caller) -> None:
    while True:
        call, answer = calls.get()
        try:
            result, error = call(), None
        except BaseException as raised:  # noqa: BLE001 - raised again where it is waited for
            result, error = None, raised
        _idle.append(calls)  # before the answer, so that whoever gets it finds this one
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)
        del call, answer, result, error  # they may be large, and the next call far away
