"""Process of the page (`python -m lmdp.page`): guard, JSON API and user interface in one application on loopback.

It ends when its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from lmdp.page.process import LISTENING, PORT
from lmdp.page.security import RequestGuard, tokens

if TYPE_CHECKING:
    import uvicorn

_NEAR = 20  # ports that are tried first, so that a restart tends to get the same one
_END_S = 3.0
_RECONNECT_S = 30.0  # a tab that slept for less keeps its state
_ICON = Path(__file__).with_name("icon.svg")


def main() -> int:
    """Listen, print the address on standard output, and serve."""
    parser = argparse.ArgumentParser(prog="python -m lmdp.page")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    try:
        listener = _listener(given.port)
    except OSError as error:
        print(f"cannot listen on 127.0.0.1: {error.strerror}")
        return 3
    serving = _server(given.home, listener.getsockname()[1])
    threading.Thread(target=_end_with_parent, args=[serving], name="parent", daemon=True).start()
    serving.run([listener])
    return 0


def _server(home: Path, port: int) -> uvicorn.Server:
    """Return the server for `port`, ready to run. It prints its address when it listens."""
    # A second's work, which a taken port spares.
    from fastapi import FastAPI  # noqa: PLC0415 - as above
    from nicegui import ui  # noqa: PLC0415 - as above

    from lmdp.machine.api.http import HANDLERS, ServerLimits, server  # noqa: PLC0415 - as above
    from lmdp.page.alerts import Alerts  # noqa: PLC0415 - as above
    from lmdp.page.api import Api, StaticGzip, routes  # noqa: PLC0415 - as above
    from lmdp.page.board import BoardFile  # noqa: PLC0415 - as above
    from lmdp.page.devices import Catalogue  # noqa: PLC0415 - as above
    from lmdp.page.layout import Page  # noqa: PLC0415 - as above
    from lmdp.page.run_client import RunClient  # noqa: PLC0415 - as above

    run = RunClient(home)
    catalogue = Catalogue(run)
    api = Api(run, catalogue, BoardFile(home / "board.toml"), Alerts(run, catalogue))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with run:
            working = [asyncio.create_task(run.poll()), asyncio.create_task(api.alerts.watch())]
            print(f"{LISTENING}http://127.0.0.1:{port}", flush=True)
            yield
            for task in working:
                task.cancel()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, exception_handlers=dict(HANDLERS))
    app.router.routes.extend(routes(api))
    Page(api).register()
    ui.run_with(
        app,
        title="lmdp",
        favicon=_ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=_RECONNECT_S,
        gzip_middleware_factory=StaticGzip,
        show_welcome_message=False,
    )
    guard = RequestGuard(app, port, tokens(home), home)
    limits = ServerLimits(connections=200)
    return server(guard, limits, log_level="warning", ws_max_size=2_000_000, timeout_graceful_shutdown=1)


def _listener(port: int | None) -> socket.socket:
    """Return a socket that listens on the port, or on the next free one."""
    first = PORT if port is None else port
    for candidate in [*range(first, min(first + _NEAR, 65_536)), 0]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not after a TIME_WAIT
        try:
            listener.bind(("127.0.0.1", candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return listener
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _end_with_parent(serving: uvicorn.Server) -> None:
    """Stop the server when standard input closes, which happens when the parent ends."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    serving.should_exit = True
    threading.Timer(_END_S, os._exit, [0]).start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
