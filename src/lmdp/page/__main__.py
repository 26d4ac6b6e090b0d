"""Entry point of the page's process (`python -m lmdp.page`): it ends when its standard input closes."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from lmdp.page.process import PORT

_NEAR = 20  # ports that are tried first, so that a restart tends to get the same one
_END_S = 3.0


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
    from lmdp.page.server import server  # noqa: PLC0415 - a second's work, which a taken port spares

    serving = server(given.home, listener.getsockname()[1])
    threading.Thread(target=_end_with_parent, args=[serving], name="parent", daemon=True).start()
    serving.run([listener])
    return 0


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


def _end_with_parent(serving: object) -> None:
    """Stop the server when standard input closes, which happens when the parent ends."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    serving.should_exit = True  # type: ignore[attr-defined]
    threading.Timer(_END_S, os._exit, [0]).start()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
