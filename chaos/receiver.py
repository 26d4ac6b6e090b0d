"""The receiver and its Kafka are killed while senders repeat what was not acknowledged."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx

from chaos.books import books, numbers
from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
from running import bundle, lmdp, options, rows, started, until

if TYPE_CHECKING:
    from pathlib import Path

    from lmdp.machine.kafka.access import KafkaAccess

_SENDERS = 4
_UP_S = 60


class _Sending:
    """Senders that repeat each bundle until it is acknowledged, as an exporter does."""

    def __init__(self, url: str) -> None:
        self.tries, self.statuses = Counter[int](), Counter[int]()
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=[first]) for first in range(_SENDERS)]
        for thread in self._threads:
            thread.start()

    def _send(self, number: int) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._stop.is_set():
                while not self._is_acknowledged(client, number):
                    time.sleep(0.1)
                number += _SENDERS

    def _is_acknowledged(self, client: httpx.Client, number: int) -> bool:
        self.tries[number] += 1
        try:
            status = client.post(self._url, content=bundle(number)).status_code
        except httpx.TransportError:
            status = 0
        self.statuses[status] += 1
        return status == 200

    def more(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = self.statuses[200] + count
        until(lambda: self.statuses[200] >= wanted, _UP_S)

    def end(self) -> None:
        """Send no more; what was begun is acknowledged first."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _receiver(access: KafkaAccess, port: int, folder: Path, parts: ExitStack) -> subprocess.Popen[bytes]:
    listen = ("--listen", f"127.0.0.1:{port}", "--metrics-port", "0")
    return parts.enter_context(started("receive", *listen, *options(access), "--topic", "t", folder=folder))


def killed_receiver(site: Site) -> Outcome:
    """SIGKILL of the receiver and of its Kafka, in turn, with requests under way; both come back."""
    kills, folder = site.by_size(2, 8), site.folder()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with KafkaBroker(embedded(folder / "kafka")) as broker, ExitStack() as parts:
        broker.create_topic("t")
        receiver = _receiver(broker.access, port, folder, parts)
        sending = _Sending(f"http://127.0.0.1:{port}/v1/metrics")
        parts.callback(sending.end)
        sending.more(200)
        for kill in range(kills):
            if kill % 2:
                assert broker.pid is not None
                os.kill(broker.pid, signal.SIGKILL)
                until(lambda seen=sending.statuses[503]: sending.statuses[503] > seen, _UP_S)  # type: ignore[misc]
                broker.stop()
                broker.start()
            else:
                receiver.kill()
                receiver.wait()
                receiver = _receiver(broker.access, port, folder, parts)
            sending.more(200)
        sending.end()
        receiver.send_signal(signal.SIGTERM)
        code = receiver.wait(15)
        words = ("run", *options(broker.access), "--topic", "t", "--org-id", "acme", "--until-idle", "--json")
        report = json.loads(lmdp(*words, folder=folder, seconds=300).stdout)
    there = functools.partial(rows, folder / ".lmdp")
    found = books(there)
    (seen,) = there("select count(*) as n, count(distinct INSTANCE) as d from METRICS")
    repeated = sum(times - 1 for times in sending.tries.values())
    return Outcome(
        times=kills,
        messages=found.messages,
        expected_rows=len(sending.tries),
        found_rows=len(numbers(there) & set(sending.tries)),
        repeats=seen["n"] - seen["d"],
        rejects=report["rejectedMessages"],
        measured=f"{repeated} repeated by senders, {found.repeats} repeats in ROW_EVENTS",
        broken=broken(
            {
                "more repeats than the senders made": found.repeats <= repeated,
                "rows that nobody sent": numbers(there) <= set(sending.tries),
                "an answer that is no 200 and no 503": set(sending.statuses) <= {0, 200, 503},
                "the receiver did not end with 0": code == 0,
                "a traceback was printed": "Traceback" not in (folder / "stderr").read_text(),
            }
        ),
    )


SCENARIOS = (
    Scenario(
        "receiver and broker killed",
        "What `lmdp receive` acknowledged is there, and twice only where its sender repeated it.",
        killed_receiver,
    ),
)
