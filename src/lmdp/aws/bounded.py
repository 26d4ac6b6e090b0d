"""A call that may hang, waited for no longer than there is time.

A socket's time-out ends one wait of many, and a name is looked up without any: an answer that comes byte by byte, or a
name server that is silent, would outlast the invocation, which then ends without a word.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

_T = TypeVar("_T")


class Unanswered(TimeoutError):  # noqa: N818 - it names what became of a call
    """The time was over before the call was; whatever it does from now on, nobody hears of."""


def within(seconds: float, call: Callable[[], _T]) -> _T:
    """What `call` gives or raises; raises Unanswered after `seconds`.

    The call is made in a thread of its own, which nothing waits for: it ends with its sockets' time-outs.
    """
    answer: Future[_T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            answer.set_exception(error)

    threading.Thread(target=work, name="call", daemon=True).start()
    if not wait([answer], max(seconds, 0.0)).done:
        raise Unanswered(f"no answer in {seconds:.1f} s")
    return answer.result()
