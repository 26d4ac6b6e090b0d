"""The server of a double: HTTP or HTTPS on loopback, a thread for each connection, and answers that break off."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

_Double = TypeVar("_Double")


class Server(ThreadingHTTPServer):
    """A server with its double, for the handlers."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    double: Any

    def handle_error(self, *_: object) -> None:
        """Do nothing: a caller that gave up is no error."""


class Handler(BaseHTTPRequestHandler):
    """A handler of one connection's requests, for a class that answers them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

    def begin(self, status: int, kind: str, size: int, **headers: str) -> None:
        """Send the head of an answer whose body has a content type and a size."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(size), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send_body(self, body: bytes, *, half: bool) -> None:
        """Send the body, or half of it and then hang up."""
        self.wfile.write(body[: len(body) // 2] if half else body)
        if half:
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Do nothing: a test's output is its own."""


@contextmanager
def running(
    make: Callable[[str], _Double], handler: type[Handler], tls: ssl.SSLContext | None, server: type[Server] = Server
) -> Iterator[_Double]:
    """Serve, as long as the block lasts, the double that `make` makes of the URL."""
    serving = server(("127.0.0.1", 0), handler)
    if tls is not None:  # each connection shakes hands in its own thread, so that a silent one holds up no other
        serving.socket = tls.wrap_socket(serving.socket, server_side=True, do_handshake_on_connect=False)
    double = serving.double = make(f"http{'s' if tls else ''}://127.0.0.1:{serving.server_port}")
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        serving.shutdown()
        serving.server_close()
        thread.join()
