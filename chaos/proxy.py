"""A network of our own between two ends: it passes, is slow, cuts, falls silent, refuses, or talks nonsense."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["pass", "silent", "refuse", "garbage"]
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_GARBAGE = b"\x00\x01 neither TLS nor HTTP \xff\xfe\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Slow:
    """The delay of each piece of data: seconds before it is passed on, and the bytes a second of a direction."""

    latency_s: float = 0.0
    bytes_per_s: float = 0.0


@dataclass(slots=True)
class Proxy:
    """A listener on loopback that leads to `target`. Its state may be changed at any time.

    `silent` is a half-open network: connections are taken, what is sent is swallowed, nothing answers; whatever was or
    becomes connected meanwhile stays dead for ever, as behind a firewall that forgot. `harmed` counts connections that
    were cut, fell silent, or got garbage.
    """

    target: tuple[str, int]
    port: int = 0
    mode: Mode = "pass"
    slow: Slow = field(default_factory=Slow)
    connections: int = 0
    harmed: int = 0
    _listener: socket.socket | None = None
    _open: set[_Link] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def become(self, mode: Mode, slow: Slow | None = None) -> None:
        """Change what happens from now on."""
        self.slow = slow or Slow()
        self.mode = mode
        if mode == "refuse":
            self.shut()
        else:
            self.listen()
        if mode == "silent":
            for link in self._living():
                link.dead = True
                self.harmed += 1
        elif mode != "pass":
            self.cut()

    def cut(self) -> int:
        """Reset what is connected; gives how many connections that were."""
        living = self._living()
        for link in living:
            link.reset()
        self.harmed += len(living)
        return len(living)

    def listen(self) -> None:
        """Take connections, always on the same port."""
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
            self._listener.listen(64)
            self.port = self._listener.getsockname()[1]
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Take no more connections."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
            listener.close()

    def end(self) -> None:
        """Close everything."""
        self.shut()
        with self._lock:
            links = list(self._open)
        for link in links:
            link.reset()

    def _living(self) -> list[_Link]:
        with self._lock:
            return [link for link in self._open if not link.dead]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._link, args=(client,), daemon=True).start()

    def _link(self, client: socket.socket) -> None:
        if self.mode == "garbage":
            self.harmed += 1
            with contextlib.suppress(OSError), client:
                client.sendall(_GARBAGE)
                client.recv(65_536)
            return
        try:
            server = socket.create_connection(self.target, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        link = _Link(client, server, dead=self.mode == "silent")
        self.harmed += link.dead
        with self._lock:
            self._open.add(link)
        there = threading.Thread(target=self._pump, args=(link, client, server), daemon=True)
        there.start()
        self._pump(link, server, client)
        there.join()
        with self._lock:
            self._open.discard(link)
        link.close()

    def _pump(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        """Carry what comes from `source` to `sink`, until either end is closed."""
        with contextlib.suppress(OSError):
            while data := source.recv(4_096 if self.slow.bytes_per_s else 65_536):
                time.sleep(self.slow.latency_s + (len(data) / self.slow.bytes_per_s if self.slow.bytes_per_s else 0))
                if not link.dead:
                    sink.sendall(data)
        if not link.dead:
            link.hang_up()


@dataclass(slots=True, eq=False)
class _Link:
    """A client, the server that it believes to talk to, and whether nothing passes between them any more."""

    client: socket.socket
    server: socket.socket
    dead: bool = False

    def reset(self) -> None:
        """End it as a broken network does."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.hang_up()
        self.close()

    def hang_up(self) -> None:
        """Wake whoever waits for more."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both."""
        self.client.close()
        self.server.close()


@contextlib.contextmanager
def proxy_to(host: str, port: int, listen: int = 0) -> Iterator[Proxy]:
    """A proxy as long as the block lasts."""
    proxy = Proxy((host, port), listen)
    proxy.listen()
    try:
        yield proxy
    finally:
        proxy.end()
