"""The server of the receiver: connections with limits, and an end that answers first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvicorn
from prometheus_client import generate_latest, start_http_server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lmdp.errors import SettingsError, UnreachableError
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.receive.application import Application, ReceiveLimits
from lmdp.receive.metrics import Metrics
from lmdp.receive.senders import Senders
from lmdp.receive.tls import ServerTls, common_name
from lmdp.receive.topic import TopicWriter
from lmdp.support.settings_reader import is_loopback

MAX_HEAD: Final = 65_536
"""Bytes of a request's head; it may be longer by what one read brings."""

STOP_SECONDS: Final = 8.0
# Of a body whose request was refused already. Senders that write it whole before they read would miss the refusal.
_MOST_UNREAD: Final = 20 * 2**20
_TIDY_S: Final = 1.0
_REPORT_S: Final = 60.0
_MOST_REASONS: Final = 5

Notify = Callable[[str], None]
State = Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ReceiveSettings:
    """The settings of a receiver. `port` 0 is any free one, `metrics_port` 0 is none."""

    access: KafkaAccess
    topic: str
    host: str = "127.0.0.1"
    port: int = 4318
    paths: frozenset[str] = frozenset({"/v1/metrics", "/"})
    tokens: Path | None = None
    query_token: bool = False
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    behind_proxy: bool = False
    metrics_port: int = 0
    limits: ReceiveLimits = field(default_factory=ReceiveLimits)

    def faults(self) -> list[str]:
        """Everything that is wrong with these settings, each with what to do."""
        faults = []
        if bool(self.cert) != bool(self.key):
            faults.append("--tls-cert and --tls-key go together: give both")
        if self.client_ca and not self.cert:
            faults.append("--client-ca needs --tls-cert and --tls-key: client certificates are a part of TLS")
        if self.query_token and not self.tokens:
            faults.append("--query-token needs --tokens FILE")
        if not is_loopback(self.host):
            if not self.tokens and not self.client_ca:
                faults.append(
                    f"--listen {self.host} is reached from other machines, and anybody could send: give --tokens FILE "
                    "or --client-ca FILE, or listen on 127.0.0.1"
                )
            if not self.cert and not self.behind_proxy:
                faults.append(
                    f"--listen {self.host} without TLS shows tokens and data to the network: give --tls-cert and "
                    "--tls-key, or --behind-proxy where a proxy before this ends TLS"
                )
        return faults + [f"--paths: {path!r} does not begin with /" for path in self.paths if not path.startswith("/")]


class Connection(HttpToolsProtocol):
    """One connection, limited in its number, its head, and the time that a request takes to arrive."""

    def __init__(self, *words: Any, limits: ReceiveLimits, **named: Any) -> None:
        super().__init__(*words, **named)
        self._limits = limits

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept it, unless there are too many."""
        super().connection_made(transport)
        self._beyond = 0
        self._since = self.loop.time()
        self._is_new = True
        self._in_body = False
        self._certificate = common_name(transport.get_extra_info("peercert"))
        self._timer = self.loop.call_later(self._limits.head_seconds, self._check)
        if len(self.connections) > self._limits.connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching it."""
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a head without an end, and a body that nobody reads any more, are cut off."""
        if not self._beyond:
            self._since = self.loop.time()
        self._beyond += len(data)
        super().data_received(data)
        if self._in_body and not self.cycle.response_complete:
            self._beyond = 0
        elif self._beyond > (_MOST_UNREAD if self._in_body else MAX_HEAD):
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Begin a request, with the name in the client's certificate."""
        self.scope["state"]["certificate"] = self._certificate
        super().on_headers_complete()  # raises where the address cannot be parsed: then there is no request
        self._is_new, self._in_body, self._beyond = False, True, 0

    def on_message_complete(self) -> None:
        """End a request."""
        self._in_body, self._beyond = False, 0
        super().on_message_complete()

    def _check(self) -> None:
        """Close it where a head, or the rest of a body that was answered, takes too long. An idle one may wait."""
        if self.transport.is_closing():
            return
        is_waited_for = self._is_new or self._beyond or (self._in_body and self.cycle.response_complete)
        if is_waited_for and self.loop.time() - self._since >= self._limits.head_seconds:
            self.transport.abort()
            return
        self._timer = self.loop.call_later(self._limits.head_seconds, self._check)


class Receiver:
    """A receiver by its settings. While `serve` runs it, another thread may ask for its `state`.

    Raises SettingsError for what is wrong with the settings, their files, or the tokens.
    """

    def __init__(self, settings: ReceiveSettings, notify: Notify) -> None:
        if faults := settings.faults():
            raise SettingsError.of(faults)
        self._settings, self._notify = settings, notify
        self._metrics, self._senders = Metrics(), Senders(settings.tokens, from_query=settings.query_token)
        self.writer = TopicWriter(settings.access, settings.topic, notify)
        self.application = Application(self.writer, self._senders, self._metrics, settings.paths, settings.limits)
        self._certificates = None
        if settings.cert is not None and settings.key is not None:
            self._certificates = ServerTls(settings.cert, settings.key, settings.client_ca)
            self._metrics.watch_certificate(partial(getattr, self._certificates, "ends"))
        self.handshake_seconds = settings.limits.head_seconds
        self._address = ""
        self._next = 0.0
        self._report = time.monotonic() + _REPORT_S

    def serve(self, stop: threading.Event, ready: Notify) -> None:
        """Serve until `stop`; `ready` is called with the address once it listens.

        Raises UnreachableError where the address cannot be had, SettingsError where the topic does not exist.
        """
        certificates = self._certificates
        config = uvicorn.Config(
            self.application,
            http=partial(Connection, limits=self._settings.limits),  # type: ignore[arg-type]  # called as a class is
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",  # one line for each broken request is the sender's to decide
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(STOP_SECONDS),
            ssl_context_factory=(lambda *_: certificates.context) if certificates else None,
        )
        with _listener(self._settings) as listener, _exposed(self._settings.metrics_port, self._metrics):
            self._address = _address(listener, certificates is not None)
            _Server(config, stop, self, lambda: ready(self._address)).run([listener])

    def state(self) -> dict[str, Any]:
        """Return its state: address, counts since its start, what is wrong, and its metrics in Prometheus' format."""
        return {
            "address": self._address,
            "topic": self._settings.topic,
            **self._metrics.counts(),
            "trouble": self.writer.trouble or self._senders.fault,
            "metrics": generate_latest(self._metrics.registry).decode(),
        }

    def look(self, connections: int) -> None:
        """Take up files that changed, and report what was refused, each in its own interval."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _TIDY_S
        self._metrics.connections.set(connections)
        self._metrics.kafka_up.set(0 if self.writer.trouble else 1)
        self.writer.refresh()
        for text in (self._senders.refresh(), self._certificates.refresh() if self._certificates else ""):
            if text:
                self._notify(text)
        if now >= self._report:
            self.report()

    def report(self) -> None:
        """Report what was refused since the last time, in a line each for senders and strangers, and trouble."""
        self._report = time.monotonic() + _REPORT_S
        self.writer.report()
        for what, refusals in (
            ("refused requests:", self.application.refusals),
            ("refused requests without credentials:", self.application.strangers),
        ):
            if refusals:
                most = refusals.most_common(_MOST_REASONS)
                named = "; ".join(f"{n:,} of {status}: {text}" for (status, text), n in most)
                more = f"; and {len(refusals) - _MOST_REASONS} more reasons" if len(refusals) > _MOST_REASONS else ""
                self._notify(f"{what} {named}{more}")
                refusals.clear()


@contextlib.contextmanager
def receiving(settings: ReceiveSettings, notify: Notify, stop: threading.Event) -> Iterator[State]:
    """Serve in a thread until `stop`, which is also set at the end of the block, and when the receiver fails.

    Yields the receiver's `state` once it listens. Raises what the receiver raised.
    """
    receiver, listens = Receiver(settings, notify), threading.Event()

    def ready(address: str) -> None:
        notify(f"the receiver listens on {address}")
        listens.set()

    def ended(_: Future[None]) -> None:
        stop.set()
        listens.set()

    with ThreadPoolExecutor(1, "receiver") as pool:
        work = pool.submit(receiver.serve, stop, ready)
        work.add_done_callback(ended)
        try:
            listens.wait()
            if work.done():
                work.result()
            yield receiver.state
        finally:
            stop.set()
    work.result()


class _Server(uvicorn.Server):
    """Uvicorn's server, ended by an event instead of signals."""

    def __init__(
        self, config: uvicorn.Config, stop: threading.Event, receiver: Receiver, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._stop, self._receiver, self._ready = stop, receiver, ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the command."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen once the topic was looked for.

        As uvicorn's own does, but a handshake has a limit of time: until its end there is no connection to limit.
        """
        self._receiver.writer.start()
        config, state = self.config, self.lifespan.state
        protocol = partial(
            config.http_protocol_class, config=config, server_state=self.server_state, app_state=state  # type: ignore[call-arg]
        )  # fmt: skip
        self.servers = [
            await asyncio.get_running_loop().create_server(
                protocol, sock=one, ssl=config.ssl, backlog=config.backlog,
                ssl_handshake_timeout=self._receiver.handshake_seconds if config.ssl else None,
            )
            for one in sockets or ()
        ]  # fmt: skip
        self.started = True
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end."""
        self._receiver.look(len(self.server_state.connections))
        self.should_exit = self.should_exit or self._stop.is_set()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, and end."""
        await super().shutdown(sockets)
        self._receiver.report()
        self._receiver.writer.close()


@contextlib.contextmanager
def _listener(settings: ReceiveSettings) -> Iterator[socket.socket]:
    host, port = settings.host, settings.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        with contextlib.closing(listener):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            yield listener
    except socket.gaierror as error:
        raise SettingsError(f"--listen {host}: {error.strerror}") from error
    except OSError as error:
        raise UnreachableError(f"cannot listen on {host}:{port}: {error.strerror}. Name another: --listen") from error


@contextlib.contextmanager
def _exposed(port: int, metrics: Metrics) -> Iterator[None]:
    """Serve the metrics on loopback during the block."""
    if not port:
        yield
        return
    try:
        server, thread = start_http_server(port, "127.0.0.1", metrics.registry)
    except OSError as error:
        raise UnreachableError(
            f"cannot listen on 127.0.0.1:{port} for metrics: {error.strerror}. Name another: --metrics-port (0: none)"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _address(listener: socket.socket, tls: bool) -> str:  # noqa: FBT001 - private
    host, port = listener.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
