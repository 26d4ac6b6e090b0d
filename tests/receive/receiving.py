"""A receiver that runs in a thread of the test, and what it put on its topic."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer

from lmdp.machine.kafka.access import KafkaAccess
from lmdp.receive.server import Receiver, ReceiveSettings

BUNDLE = json.dumps(
    {
        "resourceMetrics": [
            {
                "resource": {"attributes": [{"key": "hostId", "value": {"stringValue": "7"}}]},
                "scopeMetrics": [
                    {
                        "scope": {"name": "Cpu"},
                        "metrics": [
                            {
                                "name": "Idle",
                                "gauge": {"dataPoints": [{"timeUnixNano": "1700000000000000000", "asInt": "1"}]},
                            }
                        ],
                    }
                ],
            }
        ]
    }
).encode()


@dataclass(frozen=True, slots=True)
class Receiving:
    """A receiver that listens, its topic, and what it logged."""

    address: str
    settings: ReceiveSettings
    log: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port."""
        return int(self.address.rpartition(":")[2])

    def raw(self, request: bytes, *, seconds: float = 15) -> bytes:
        """Send bytes as they are, and return everything that comes back until the end or a silence."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            with contextlib.suppress(ConnectionError):
                line.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                while part := line.recv(65_536):
                    answer += part
            return answer

    def consumed(self, count: int) -> list[tuple[bytes, dict[str, bytes]]]:
        """Return `count` messages of the topic with their headers, and no more that come within a moment."""
        return consumed(self.settings.access, self.settings.topic, count)


def consumed(access: KafkaAccess, topic: str, count: int) -> list[tuple[bytes, dict[str, bytes]]]:
    """Return `count` messages of a topic, and whatever more comes within a moment."""
    reader = Consumer({**access.config(), "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    reader.subscribe([topic])
    found: list[tuple[bytes, dict[str, bytes]]] = []
    try:
        while message := reader.poll(20 if len(found) < count else 0.3):
            if message.error() is None:
                headers: Any = message.headers() or ()
                found.append((message.value() or b"", dict(headers)))
    finally:
        reader.close()
    return found


@contextlib.contextmanager
def receiving(access: KafkaAccess, **given: Any) -> Iterator[Receiving]:
    """Run a receiver on a free port, on a topic of its own where none is given."""
    wanted: Mapping[str, Any] = {"topic": f"receive.{uuid.uuid4().hex[:8]}", "port": 0} | given
    settings = ReceiveSettings(access, **wanted)
    stop, ready, log = threading.Event(), queue.Queue[str](), list[str]()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            Receiver(settings, log.append).serve(stop, ready.put)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)
            ready.put("")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        address = ready.get(timeout=40)
        if failed:
            raise failed[0]
        yield Receiving(address, dataclasses.replace(settings), log)
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive(), "the receiver does not end"
    if failed:
        raise failed[0]
