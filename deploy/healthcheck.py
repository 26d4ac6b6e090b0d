"""Health check of a container: exit with 0 while the run answers on its socket, or the receiver on its port.

With `ready`, a run that is blocked fails too: Kafka or Snowflake is unreachable, say. A restart does not help then, so
that `ready` is no reason for one. Only the standard library is loaded, because this runs twice a minute; and the
warehouse is never opened, as `lmdp status` does without a run, because that would keep a run from starting.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
from pathlib import Path

_SECONDS = 5.0


class _Local(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("lmdp", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(str(self._path))


def fault(home: Path, listen: str, *, ready: bool) -> str:
    """Return why the process is not healthy; empty when it is. `listen` is the receiver's address."""
    try:
        if listen and not (home / "run.sock").exists():  # a receiver by itself
            host, _, port = listen.rpartition(":")
            # Where it listens on every address, it does on loopback.
            local = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - not bound here
            socket.create_connection((local, int(port)), _SECONDS).close()
            return ""
        with contextlib.closing(_Local(home / "run.sock")) as connection:
            connection.request("GET", "/status")
            answer = connection.getresponse()
            running = json.loads(answer.read())["running"] if answer.status == 200 else None
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        return f"no answer: {error}"
    if not running:
        return f"the run answers with status {answer.status}"
    return f"blocked: {running['trouble']}" if ready and running["trouble"] else ""


if __name__ == "__main__":
    found = fault(
        Path(os.environ.get("LMDP_HOME", ".lmdp")),
        os.environ.get("LMDP_RECEIVE_LISTEN", ""),
        ready=sys.argv[1:] == ["ready"],
    )
    sys.exit(found or 0)  # a text is printed on standard error, and is 1
