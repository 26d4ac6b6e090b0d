"""Step 2 of the path, transform: in this process, or in worker processes, which return columns or JSON lines.

Results come back in the order in which fetches were submitted, whoever made them, so that a batch's offsets adjoin.
What is under way is nowhere but here: when it is lost, with a worker or with the run, its offsets were not committed,
and its messages are read again.

A process pool of the standard library would be broken by the first worker that dies, and waits for one that hangs.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import IO, Protocol, cast

import msgspec
import pyarrow as pa

from lmdp.core.flatten import Row
from lmdp.core.pipeline import Message, Transformed, TransformSettings
from lmdp.core.specification import Spec
from lmdp.machine.batch import TransformedTable
from lmdp.machine.offsets import Fetch
from lmdp.machine.settings import Notify
from lmdp.machine.transform_worker import Answer, receive, send, transform_for_sink
from lmdp.support.program import child_environment, module_command

_SMALL = 150  # messages: fewer are transformed here at once, so that a small load has no detour
_UNDER_WAY = 2  # fetches a worker: one at work, and one that waits
_UNDER_WAY_BYTES = 32 * 2**20
_TIMEOUT_S = 60.0  # a fetch takes a worker a tenth of a second
_LOOK_S = 0.1
_END_S = 1.0  # for an error to be written
_ATTEMPTS = 2  # by workers; then this process does it, as it would without them
_COMMAND = tuple(module_command("lmdp.machine.transform_worker"))
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Answer)


class Transformer(Protocol):
    """Transforms fetches, and returns them in their order."""

    def submit(self, fetch: Fetch) -> None:
        """Take a fetch; waits while too much is under way."""

    def results(self, *, finish: bool = False) -> Iterator[tuple[Fetch, Transformed]]:
        """Yield what is done, in the order of submission; `finish` waits for all that was submitted."""

    def is_idle(self) -> bool:
        """Return whether nothing is under way."""

    def discard(self) -> None:
        """Forget what is under way: it will be read again."""

    def close(self) -> None:
        """End the workers."""


def transformer(
    settings: TransformSettings, workers: int, stop: threading.Event, notify: Notify, row_spec: Spec | None = None
) -> Transformer:
    """Return what transforms with so many processes; up to 1, it is this one alone. With `row_spec`, rows are JSON."""
    if workers > 1:
        return Workers(settings, workers, stop, notify, row_spec=row_spec)
    return InProcess(partial(transform_for_sink, settings=settings, row_spec=row_spec))


class InProcess:
    """Transforms at once, in the caller's thread."""

    def __init__(self, transform: Callable[[Sequence[Message]], Transformed]) -> None:
        self._transform = transform
        self._done: deque[tuple[Fetch, Transformed]] = deque()

    def submit(self, fetch: Fetch) -> None:
        """Transform a fetch."""
        self._done.append((fetch, self._transform(fetch.messages)))

    def results(self, *, finish: bool = False) -> Iterator[tuple[Fetch, Transformed]]:  # noqa: ARG002 - all is done
        """Yield what was submitted."""
        while self._done:
            yield self._done.popleft()

    def is_idle(self) -> bool:
        """Return whether all was yielded."""
        return not self._done

    def discard(self) -> None:
        """Forget what was not yielded."""
        self._done.clear()

    def close(self) -> None:
        """Do nothing: there are no workers."""


class Workers:
    """Transforms in processes, which start with the first fetch that is large enough to be worth it.

    A worker that dies or hangs is replaced, and its fetch is done again. What two workers could not do, or what takes
    too much memory, is done here.
    """

    def __init__(
        self,
        settings: TransformSettings,
        processes: int,
        stop: threading.Event,
        notify: Notify,
        *,
        timeout_s: float = _TIMEOUT_S,
        row_spec: Spec | None = None,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self._command = command
        self._transform = partial(transform_for_sink, settings=settings, row_spec=row_spec)
        self._settings = pickle.dumps((settings, row_spec))
        self._has_lines = row_spec is not None
        self._timeout_s = timeout_s
        self._most = processes * _UNDER_WAY
        self._stop = stop
        self._notify = notify
        self._under_way: deque[_UnderWay] = deque()
        self._bytes = 0
        self._threads = ThreadPoolExecutor(processes, "transform")  # each has a worker process, and waits for it
        self._all: list[_Worker] = []
        self._idle: list[_Worker] = []  # list.append and list.pop are atomic
        self._closed = False
        self._unstarted = ""

    def submit(self, fetch: Fetch) -> None:
        """Hand a fetch to a worker, or transform it here where it is small and nothing is before it."""
        size = sum(len(message.value or b"") for message in fetch.messages)
        if self._under_way or len(fetch.messages) >= _SMALL:
            while self._is_full(size) and not self._under_way[0].done.done() and not self._stop.is_set():
                wait([self._under_way[0].done], _LOOK_S)
            done = self._submitted(fetch.messages)
        else:
            done = Future()
            done.set_result(self._transform(fetch.messages))
        self._under_way.append(_UnderWay(fetch, size, done))
        self._bytes += size

    def results(self, *, finish: bool = False) -> Iterator[tuple[Fetch, Transformed]]:
        """Yield what is done, in the order of submission; `finish` waits for all that was submitted."""
        while self._under_way and (finish or self._under_way[0].done.done()):
            first = self._under_way.popleft()
            self._bytes -= first.size
            done = first.done.result()
            yield first.fetch, self._transform(first.fetch.messages) if done is None else done

    def is_idle(self) -> bool:
        """Return whether all was yielded."""
        return not self._under_way

    def discard(self) -> None:
        """Forget what is under way: it will be read again."""
        for one in self._under_way:
            one.done.cancel()
        self._under_way.clear()
        self._bytes = 0

    def close(self) -> None:
        """End the workers, also those at work."""
        self.discard()
        self._closed = True
        for worker in list(self._all):
            worker.kill()
        self._threads.shutdown()
        for worker in self._all:  # one may have been starting
            worker.close()

    def pids(self) -> list[int]:
        """Return the workers' process ids."""
        return [worker.pid for worker in self._all]

    def _is_full(self, size: int) -> bool:
        under_way = len(self._under_way)
        return under_way >= self._most or (under_way > 0 and self._bytes + size > _UNDER_WAY_BYTES)

    def _submitted(self, messages: Sequence[Message]) -> Future[Transformed | None]:
        try:
            return self._threads.submit(self._convert, messages)
        except RuntimeError as error:  # the system has no more threads
            self._note_unstarted(str(error))
            here: Future[Transformed | None] = Future()
            here.set_result(None)
            return here

    def _convert(self, messages: Sequence[Message]) -> Transformed | None:
        """Have a worker transform messages; None where that is better done here."""
        encoded = _encode(messages)
        for _ in range(_ATTEMPTS):
            if self._closed:
                break
            try:
                worker = self._idle.pop() if self._idle else self._start()
            except OSError as error:
                self._note_unstarted(error.strerror or str(error))
                break
            try:
                done = worker.transform(encoded)
            except (OSError, EOFError):
                self._all.remove(worker)
                end = worker.close()
                if not self._closed:
                    self._notify(f"a worker process ended or hung ({end}): another takes its messages")
            else:
                self._idle.append(worker)
                return done
        return None

    def _start(self) -> _Worker:
        worker = _Worker(self._command, self._settings, self._timeout_s, has_lines=self._has_lines)
        self._all.append(worker)
        self._unstarted = ""
        return worker

    def _note_unstarted(self, why: str) -> None:
        if why != self._unstarted:
            self._notify(f"a worker process cannot be started ({why}): this process transforms instead")
        self._unstarted = why


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A fetch, the bytes of its messages, and what becomes of it; None: it is to be transformed here."""

    fetch: Fetch
    size: int
    done: Future[Transformed | None]


class _Worker:
    """A worker process, and the socket to it. Raises OSError where it cannot be started."""

    def __init__(self, command: Sequence[str], settings: bytes, timeout_s: float, *, has_lines: bool) -> None:
        self._has_lines = has_lines
        self._link, theirs = socket.socketpair()
        with contextlib.ExitStack() as on_failure, theirs:
            on_failure.callback(self._link.close)
            self._process = subprocess.Popen(  # noqa: S603 - this program
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,  # a traceback fits in
                env=child_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the run, which ends it
            )
            on_failure.pop_all()
        self.pid = self._process.pid
        self._link.settimeout(timeout_s)
        self._greeting: tuple[bytes, ...] = (settings,)

    def transform(self, messages: bytes) -> Transformed | None:
        """Return what encoded messages make; None where that takes too much. Raises OSError or EOFError."""
        send(self._link, *self._greeting, messages)
        self._greeting = ()
        head = receive(self._link)
        if not head:
            return None
        answer = _decoder.decode(head)
        if self._has_lines:
            text = bytes(receive(self._link))
            lines = cast("list[Row]", text.split(b"\n") if text else [])
            return Transformed(lines, answer.rejects, answer.totals(), answer.size, list(answer.ends))
        with pa.ipc.open_stream(pa.py_buffer(receive(self._link))) as stream:
            return TransformedTable([], answer.rejects, answer.totals(), answer.size, columns=stream.read_all())

    def kill(self) -> int:
        """End the process, which ends a wait for it; returns its exit code."""
        self._process.kill()
        code: int = self._process.wait()
        return code

    def close(self) -> str:
        """End the process, and the socket to it, which nobody may be waiting at; returns how it ended."""
        self._link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self.kill()
        with cast("IO[bytes]", self._process.stderr) as stderr:
            lines = stderr.read().decode(errors="replace").split("\n")
        kind = next((line.partition(":")[0] for line in reversed(lines) if line.strip()), "")  # behind it are values
        return f"exit code {code}, {kind}" if kind else f"exit code {code}"
