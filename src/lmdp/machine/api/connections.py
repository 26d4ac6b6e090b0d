"""Connections to a Unix socket, bounded in number and in time, a thread each.

Who connects and says nothing, sends a request by drops, or reads its answer so, costs a thread and nothing more: its
time runs out, and while all places are taken, the one that has been silent for longest makes room.
"""

from __future__ import annotations

import contextlib
import math
import socket
import socketserver
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

MOST: Final = 64
"""Connections at once; each is a thread of the process that also consumes."""

ASK_SECONDS: Final = 10.0
"""For a request's head to arrive."""

_LEAVE_SECONDS: Final = 1.0
_FULL: Final = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n"
    b'{"error": "too many are asking this run at once; ask again in a moment", "exitCode": 3}'
)


@dataclass(slots=True)
class Line:
    """One connection: until when it may do what it does (monotonic seconds), and whether its request is all there."""

    socket: socket.socket
    ends: float = field(default_factory=lambda: time.monotonic() + ASK_SECONDS)
    asked: bool = False

    def may(self, seconds: float = math.inf) -> None:
        """Give it this long for what comes next."""
        self.ends = time.monotonic() + seconds

    def arrived(self) -> None:
        """Note that the request is all there: now the answer is waited for, however long it takes."""
        self.asked = True
        self.may()

    def cut(self) -> None:
        """End it; whoever reads or writes there learns of it at once."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class LineServer(socketserver.ThreadingUnixStreamServer):
    """Serves requests that `handler` answers; it finds its connection in `lines`."""

    daemon_threads = True
    request_queue_size = 128  # a client with a time-out is refused at once while the queue is full

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(path, handler)
        self.lines: dict[socket.socket, Line] = {}
        self._places = threading.Semaphore(MOST)
        self._answering: set[threading.Thread] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, unless all places are taken by those who are being answered."""
        if not self._has_place():
            with contextlib.suppress(OSError):
                request.send(_FULL, socket.MSG_DONTWAIT)
            self.shutdown_request(request)
            return
        self.lines[request] = Line(request)
        super().process_request(request, client_address)

    def _has_place(self) -> bool:
        """Take a place; where there is none, the one that has not asked for longest leaves its own."""
        if self._places.acquire(blocking=False):
            return True
        silent = [line for line in list(self.lines.values()) if not line.asked]
        if silent:
            min(silent, key=lambda line: line.ends).cut()
        return bool(silent) and self._places.acquire(timeout=_LEAVE_SECONDS)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one client, so that the end can wait for it."""
        self._answering.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.lines.pop(request, None)
            self._places.release()
            self._answering.discard(threading.current_thread())

    def service_actions(self) -> None:
        """Cut those whose time is over; called with every connection, and ten times a second."""
        now = time.monotonic()
        for line in list(self.lines.values()):
            if line.ends < now:
                line.cut()

    def wait(self, seconds: float) -> None:
        """Wait for the answers under way, `seconds` at most; who has not asked yet is not waited for."""
        for line in list(self.lines.values()):
            if not line.asked:
                line.cut()
        ends = time.monotonic() + seconds
        for thread in list(self._answering):
            thread.join(max(0.0, ends - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: who asked went away before the answer."""
