"""Bytes on a socket that no HTTP library would send: smuggling, wrong lengths, senders that are slow or never end."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import shutil
import socket
import ssl
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from lmdp.certificates import development_ca
from lmdp.errors import SettingsError, UnreachableError
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.receive.application import Application, ReceiveLimits
from lmdp.receive.metrics import Metrics
from lmdp.receive.senders import Senders
from lmdp.receive.server import Receiver, ReceiveSettings
from receive.receiving import BUNDLE, Receiving, receiving
from running import until

SIZE = str(len(BUNDLE)).encode()
HEAD = b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: " + SIZE + b"\r\n\r\n" + BUNDLE
LAST = HEAD + b"Connection: close\r\nContent-Length: " + SIZE + b"\r\n\r\n" + BUNDLE
CHUNK = b"%x\r\n%s\r\n" % (len(BUNDLE), BUNDLE)
LIMITS = ReceiveLimits(body=200_000, decompressed=2**20, head_seconds=1.0, body_seconds=1.5, connections=40)


@pytest.fixture(scope="module")
def receiver(broker: MemoryBroker) -> Iterator[Receiving]:
    """A receiver that is short of patience."""
    with receiving(broker.access, limits=LIMITS) as running:
        yield running


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


TE = b"Transfer-Encoding: chunked\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
WIRE: dict[str, tuple[bytes, list[int]]] = {
    "one request after the other": (WHOLE + WHOLE + LAST, [200, 200, 200]),
    "in chunks": (HEAD + TE + b"Connection: close\r\n\r\n" + CHUNK + b"0\r\n\r\n", [200]),
    "no length at all": (HEAD + b"Connection: close\r\n\r\n", [411]),
    "HTTP/1.0": (LAST.replace(b"HTTP/1.1", b"HTTP/1.0"), [200]),
    "both lengths": (HEAD + TE + b"Content-Length: 4\r\n\r\n" + CHUNK + b"0\r\n\r\n" + WHOLE, [400]),
    "two lengths": (HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n" + BUNDLE, [400]),
    "the same length twice": (HEAD + (b"Content-Length: " + SIZE + b"\r\n") * 2 + b"\r\n" + BUNDLE, [400]),
    "a list of lengths": (HEAD + b"Content-Length: 4, 4\r\n\r\nabcd", [400]),
    "a signed length": (HEAD + b"Content-Length: +4\r\n\r\nabcd", [400]),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\nabcd", [400]),
    "a hexadecimal length": (HEAD + b"Content-Length: 0x4\r\n\r\nabcd", [400]),
    "a huge length": (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", [400]),
    "a large length, no body": (HEAD + b"Content-Length: 999999999\r\n\r\n", [413]),
    "chunked is not the last coding": (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNK, [400]),
    "another transfer coding": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNK, [400]),
    "a chunk with a wrong size": (HEAD + TE + b"\r\n3\r\nabcdef\r\n0\r\n\r\n", [400]),
    "a chunk's size that is none": (HEAD + TE + b"\r\nzz\r\nabc\r\n", [400]),
    "a chunk's size that overflows": (HEAD + TE + b"\r\nffffffffffffffffff\r\n", [400]),
    "a blank before the colon": (HEAD.replace(b"Host:", b"Host :") + b"Content-Length: 4\r\n\r\nabcd", [400]),
    "a folded header": (HEAD + b"X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nabcd", [400]),
    "a bare line feed": (HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 4\n\nabcd", [400]),
    "a NUL in a header": (HEAD + b"X: a\0b\r\nContent-Length: 4\r\n\r\nabcd", [400]),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
    "two tokens": (HEAD + b"Authorization: a\r\n" * 2 + b"Connection: close\r\nContent-Length: 0\r\n\r\n", [400]),
    "a websocket": (UPGRADE, [405]),
    "a tunnel": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "a proxy's address, no path": (b"GET http://example.com HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "a port that is none": (b"GET http://x:99999/ HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
}  # fmt: skip


@pytest.mark.parametrize("case", WIRE)
def test_a_request_is_one_request(receiver: Receiving, case: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where two readers could see different requests in the bytes, there is none, and the connection ends."""
    request, expected = WIRE[case]
    answer = receiver.raw(request)
    assert statuses(answer) == expected, answer
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", b""),
        (b"POST /v1/metrics HT", b"T"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Content-Length: 999\r\n\r\n", b""),
        (HEAD + b"Content-Length: 999\r\n\r\n", b"{"),
        (HEAD + TE + b"\r\n", b"1\r\n{\r\n"),
        (b"POST /x HTTP/1.1\r\nHost: x\r\n" + TE + b"\r\n", b"1\r\n{\r\n"),
    ],
    ids=["silent", "a line", "headers", "no body", "a body", "chunks", "chunks after the answer"],
)
def test_who_is_slow_is_cut_off(receiver: Receiving, start: bytes, more: bytes) -> None:
    """A connection ends, whatever comes drop by drop; a request whose body began may be repeated."""
    began, answer = time.monotonic(), b""
    line = socket.create_connection(("127.0.0.1", receiver.port), timeout=0.1)
    with line, contextlib.suppress(ConnectionError):
        line.sendall(start)
        while time.monotonic() < began + 20:
            with contextlib.suppress(TimeoutError):
                part = line.recv(4096)
                answer += part
                if not part:
                    break
            line.sendall(more)
    assert time.monotonic() < began + 20
    if start.endswith(b"\r\n\r\n") and b"/x" not in start:
        assert statuses(answer) == [503]
        assert b"retry-after" in answer


def test_a_head_without_end_takes_no_memory(broker: MemoryBroker) -> None:
    """Endless headers end the connection long before its time is over."""
    with (
        receiving(broker.access, limits=ReceiveLimits(head_seconds=600)) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port), timeout=30) as line,
    ):
        line.sendall(HEAD)
        with pytest.raises(ConnectionError):
            line.sendall(b"X: y\r\n" * 5_000_000)


def test_connections_are_limited(receiver: Receiving) -> None:
    """Beyond the limit a connection is closed at once, and the ones before are served."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port), timeout=10))
        for _ in range(LIMITS.connections + 10):
            stack.enter_context(socket.create_connection(("127.0.0.1", receiver.port), timeout=10))
        first.sendall(LAST)
        assert statuses(first.recv(4096)) == [200]
    until(lambda: statuses(receiver.raw(LAST)) == [200])


class _Held:
    """A topic that acknowledges when it may."""

    trouble = ""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def write(self, _value: bytes, _headers: dict[str, str]) -> None:
        """Wait."""
        await self.may.wait()


def test_bodies_under_way_are_limited() -> None:
    """What Kafka has not acknowledged counts; beyond the limit a sender is asked to wait, and it is counted back."""

    async def scene() -> list[int]:
        topic = _Held()
        limits = ReceiveLimits(in_flight=3 * len(BUNDLE) + 1)
        application = Application(topic, Senders(None), Metrics(), frozenset({"/"}), limits)
        transport = httpx.ASGITransport(application)  # type: ignore[arg-type]  # its own types for ASGI's
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            waiting = [asyncio.create_task(client.post("/", content=BUNDLE)) for _ in range(3)]
            await asyncio.sleep(0.05)
            beyond = await client.post("/", content=BUNDLE)
            assert int(beyond.headers["retry-after"]) >= 1
            topic.may.set()
            return [
                beyond.status_code,
                *[(await one).status_code for one in waiting],
                (await client.post("/", content=BUNDLE)).status_code,
            ]

    assert asyncio.run(scene()) == [429, 200, 200, 200, 200]


def test_what_a_body_holds_is_not_kept() -> None:
    """Compressed bodies that wait for Kafka take the memory of what came, not of what is in them."""
    content = gzip.compress(b'{"resourceMetrics": []' + b" " * 3 * 2**20 + b"}")

    async def scene() -> int:
        topic = _Held()
        application = Application(topic, Senders(None), Metrics(), frozenset({"/"}), ReceiveLimits())
        transport = httpx.ASGITransport(application)  # type: ignore[arg-type]  # its own types for ASGI's
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            headers = {"content-encoding": "gzip"}
            tracemalloc.start()
            waiting = [asyncio.create_task(client.post("/", content=content, headers=headers)) for _ in range(20)]
            await asyncio.sleep(1)
            taken = tracemalloc.get_traced_memory()[0]
            topic.may.set()
            assert [(await one).status_code for one in waiting] == [200] * 20
            return taken

    try:
        assert asyncio.run(scene()) < 10 * 2**20
    finally:
        tracemalloc.stop()


def test_an_idle_connection_stays(receiver: Receiving) -> None:
    """A sender that comes once a minute keeps its connection; only what has begun has to end."""
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as line:
        for _ in range(2):
            line.sendall(WHOLE)
            assert statuses(line.recv(4096)) == [200]
            time.sleep(2.5 * LIMITS.head_seconds)
        line.sendall(WHOLE)
        assert statuses(line.recv(4096)) == [200]


def test_what_is_under_way_is_answered_at_the_end(broker: MemoryBroker) -> None:
    """A stop ends no request: each that was sent has its answer, and new connections are refused."""
    with receiving(broker.access) as receiver:
        sent: list[int] = []

        def send() -> None:
            with httpx.Client() as client:
                while True:
                    try:
                        sent.append(client.post(receiver.address, content=BUNDLE).status_code)
                    except httpx.TransportError:  # of an idle connection, too: nothing of it was read
                        return

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(sent) > 50)
    for thread in threads:
        thread.join(10)
    assert set(sent) == {200}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two CAs, each with a server's and a client's certificate."""
    folders = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    for folder in folders:
        development_ca.make(folder)
    return folders


def test_tls_takes_up_new_files(broker: MemoryBroker, certificates: tuple[Path, Path], tmp_path: Path) -> None:
    """Certificate, key and clients' CA are replaced without a restart; a broken file changes nothing."""
    first, second = certificates
    served = tmp_path / "served"
    shutil.copytree(first, served)
    given = {"cert": served / "server.pem", "key": served / "server.key", "client_ca": served / "ca.pem"}
    with receiving(broker.access, **given) as receiver:

        def answers(server: Path, client: Path | None) -> bool:
            trust = ssl.create_default_context(cafile=server / "ca.pem")
            if client is not None:
                trust.load_cert_chain(client / "client.pem", client / "client.key")
            try:
                return httpx.post(f"{receiver.address}/", content=BUNDLE, verify=trust).status_code == 200
            except httpx.TransportError:
                return False

        assert answers(first, first)
        assert not answers(first, None)
        assert not answers(first, second)
        [(_, headers)] = receiver.consumed(1)
        assert headers["lmdp-sender"]
        (served / "server.pem").write_text("broken")
        until(lambda: [line for line in receiver.log if "The previous certificate stays in use." in line])
        assert answers(first, first)
        for name in ("server.pem", "server.key", "ca.pem"):
            shutil.copy(second / name, served / name)
        until(lambda: answers(second, second))
        assert not answers(second, first)


def test_a_handshake_that_does_not_end_is_cut_off(broker: MemoryBroker, certificates: tuple[Path, Path]) -> None:
    """Whoever connects and is silent has no file of the receiver for longer than a head may take."""
    served = {"cert": certificates[0] / "server.pem", "key": certificates[0] / "server.key"}
    with (
        receiving(broker.access, limits=LIMITS, **served) as receiver,
        socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as silent,
    ):
        assert silent.recv(1) == b""


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_tls_files_that_are_none_are_refused(
    broker: MemoryBroker, certificates: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    """At the start a broken file ends the command."""
    shutil.copytree(certificates[0], tmp_path / "c")
    (tmp_path / "c" / name).write_text("broken")
    given = {"cert": "server.pem", "key": "server.key", "client_ca": "ca.pem"}
    with (
        pytest.raises(SettingsError, match="TLS cannot be served"),
        receiving(broker.access, **{option: tmp_path / "c" / file for option, file in given.items()}),
    ):
        pass


def test_a_port_that_is_taken_is_named(broker: MemoryBroker, receiver: Receiving) -> None:
    """Exit code 3, with the option."""
    with (
        pytest.raises(UnreachableError, match=r"cannot listen on 127.0.0.1:\d+.*--listen"),
        receiving(broker.access, port=receiver.port),
    ):
        pass


PADDED = b'{"resourceMetrics": [{}], "padding": "%s"}' % (b"x" * 60_000)
SENDERS = 150  # more than may wait for a Kafka that is unreachable


def test_an_hour_without_kafka_takes_no_memory() -> None:
    """Senders that do not pause: each answer is 503 and says when to repeat, and no body of them is kept."""
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(PADDED) + PADDED
    heads, sizes = Counter[bytes](), list[int]()

    async def sender(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while heads.total() < 3_000:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
            heads[head[9:12] + (b"" if b"\r\nretry-after: " in head else b" without Retry-After")] += 1
            if heads.total() in (1_000, 3_000):
                sizes.append(psutil.Process().memory_info().rss)
        writer.close()
        await writer.wait_closed()

    async def every(port: int) -> None:
        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(sender(port))

    with receiving(KafkaAccess("127.0.0.1:1")) as receiver:
        asyncio.run(every(receiver.port))
        assert len([line for line in receiver.log if "Requests are answered with 503" in line]) == 1
    assert set(heads) == {b"503"}
    assert sizes[1] - sizes[0] < 2_000 * len(PADDED) / 3


def test_trouble_is_reported_as_long_as_it_lasts() -> None:
    """Each report repeats it until Kafka acknowledges: an alarm that counts these lines lasts as long."""
    log = list[str]()
    receiver = Receiver(ReceiveSettings(KafkaAccess("127.0.0.1:1"), "t"), log.append)
    for trouble in ("", "Kafka is unreachable.", "Kafka is unreachable.", ""):
        receiver.writer.trouble = trouble
        receiver.report()
    assert log == ["Kafka is unreachable. Requests are answered with 503 until Kafka acknowledges again."] * 2
