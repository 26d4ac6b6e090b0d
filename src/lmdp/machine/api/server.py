"""Server of the run's API: its routes on a Unix socket next to the warehouse, for this user alone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from lmdp.errors import UnreachableError
from lmdp.machine.api.http import LIMITS, ServerLimits, server
from lmdp.machine.api.protocol import socket_path
from lmdp.machine.api.routes import NO_ENDS, Context, Ends, Replay, application
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.program import at_home, program

_STOP_S: Final = 2
_BACKLOG: Final = 1024  # a client with a time-out is refused at once while the queue is full


@contextlib.contextmanager
def serving(
    home: Path,
    warehouse: Warehouse | None,
    status: Callable[[], dict[str, Any]],
    snapshot: Callable[[], dict[str, Any]] = dict,
    replay: Replay | None = None,
    limits: ServerLimits = LIMITS,
    ends: Ends = NO_ENDS,
) -> Iterator[Path]:
    """Serve the API in the background until the end of the block; yield the socket's path.

    A run without a warehouse answers queries with where its rows are.
    A socket that a killed run left behind is replaced. Raises UnreachableError when a run still answers there.
    """
    path = socket_path(home)
    listener = _listening(path, home)
    context = Context(warehouse, status, snapshot, asyncio.Semaphore(limits.queries), replay, ends)
    serving = server(
        application(context),
        limits,
        backlog=_BACKLOG,
        lifespan="off",
        log_config=None,  # it prints nothing on the run's terminal; queries can hold names
        log_level="critical",
        loop="asyncio",
        timeout_graceful_shutdown=_STOP_S,
        ws="none",
    )
    thread = threading.Thread(target=serving.run, args=[[listener]], name="api", daemon=True)
    thread.start()
    try:
        yield path
    finally:
        context.ending.set()
        serving.should_exit = True
        if warehouse is not None:
            warehouse.end_queries()
        thread.join(_STOP_S + 1)
        path.unlink(missing_ok=True)


def _listening(path: Path, home: Path) -> socket.socket:
    """Return a socket that listens at `path`, of mode 0600 from its first moment."""
    if _answers(path):
        raise UnreachableError(
            f"another run answers on {path}, so this one did not start. Stop that one first "
            f"(`{program()} status{at_home(home)}` shows it), or give this one another folder with --home."
        )
    before = os.umask(0o177)
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UnreachableError(
            f"cannot listen on {path}: {error.strerror or error}. Is the folder writable?"
        ) from error
    finally:
        os.umask(before)
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno == errno.EAGAIN  # a program listens there, and its queue is full
    return True
