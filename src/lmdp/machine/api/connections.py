"""Connections to a Unix socket, limited in number and in time; each has a thread.

A client that sends nothing, or sends its request or reads its answer very slowly, costs one thread at most: its time
runs out, and while all slots are taken, the connection that has been silent for longest is closed.
"""

from __future__ import annotations

import contextlib
import math
import socket
import socketserver
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the server. Each connection is a thread of the process that also consumes."""

    connections: int = 64
    queries: int = 4
    """At once; others wait, so that ingestion keeps its share of the machine."""
    request_seconds: float = 10.0
    """For a request's head to arrive."""
    read_seconds: float = 300.0
    """For an answer to be read."""


LIMITS: Final = Limits()

_CLOSE_SECONDS: Final = 1.0
_FULL: Final = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n"
    b'{"error": "too many connections to this run; try again in a moment", "exitCode": 3}'
)


@dataclass(slots=True)
class Connection:
    """One connection: its deadline (monotonic seconds), and whether its whole request has arrived."""

    socket: socket.socket
    deadline: float
    received: bool = False

    def allow(self, seconds: float = math.inf) -> None:
        """Set the deadline of the next step, in seconds from now."""
        self.deadline = time.monotonic() + seconds

    def mark_received(self) -> None:
        """Note that the whole request has arrived. Until the answer is ready there is no deadline."""
        self.received = True
        self.allow()

    def close(self) -> None:
        """Shut the connection down: reads and writes on it end at once."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class ConnectionServer(socketserver.ThreadingUnixStreamServer):
    """Server whose `handler` answers requests, and finds its connection in `connections`."""

    daemon_threads = True
    request_queue_size = 128  # a client with a time-out is refused at once while the queue is full

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler], limits: Limits) -> None:
        super().__init__(path, handler)
        self.connections: dict[socket.socket, Connection] = {}
        self.limits = limits
        self._slots = threading.Semaphore(limits.connections)
        self._answering: set[threading.Thread] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Accept a connection, unless a request is being answered in each slot."""
        if not self._take_slot():
            with contextlib.suppress(OSError):
                request.send(_FULL, socket.MSG_DONTWAIT)
            self.shutdown_request(request)
            return
        self.connections[request] = Connection(request, time.monotonic() + self.limits.request_seconds)
        super().process_request(request, client_address)

    def _take_slot(self) -> bool:
        """Take a slot. Where none is free, close the connection that has waited longest without a request."""
        if self._slots.acquire(blocking=False):
            return True
        silent = [connection for connection in list(self.connections.values()) if not connection.received]
        if silent:
            min(silent, key=lambda connection: connection.deadline).close()
        return bool(silent) and self._slots.acquire(timeout=_CLOSE_SECONDS)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one client, noted so that the server's end can wait for it."""
        self._answering.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.pop(request, None)
            self._slots.release()
            self._answering.discard(threading.current_thread())

    def service_actions(self) -> None:
        """Close connections past their deadline; called with every connection, and ten times a second."""
        now = time.monotonic()
        for connection in list(self.connections.values()):
            if connection.deadline < now:
                connection.close()

    def wait(self, seconds: float) -> None:
        """Wait up to `seconds` for the answers in progress; close the connections without a request."""
        for connection in list(self.connections.values()):
            if not connection.received:
                connection.close()
        deadline = time.monotonic() + seconds
        for thread in list(self._answering):
            thread.join(max(0.0, deadline - time.monotonic()))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: the client left before its answer."""
