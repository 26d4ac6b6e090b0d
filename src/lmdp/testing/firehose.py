"""A small Firehose for tests and benchmarks: the real protocol and limits over HTTP, and faults on request.

It keeps every record that it accepted, also of calls whose answer was lost. It is not in the function's package. To run
it beside a benchmark: `python -m lmdp.testing.firehose`, which prints its URL; `GET /` gives its counts.
"""

from __future__ import annotations

import json
import random
import ssl
import sys
import threading
import time
from base64 import b64decode
from binascii import Error as NoBase64
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from lmdp.cloud.firehose_sink import MAX_CALL_BYTES, MAX_RECORD_BYTES, MAX_RECORDS, TARGET
from lmdp.testing.http_double import Handler, running


@dataclass(frozen=True, slots=True)
class Fault:
    """The fate of one call.

    `status` and `code`: an error answer, nothing is accepted. `entries`: these are refused with `entry_code`. `drop`:
    the connection is closed before anything is accepted. `lose`: the call is carried out and its answer is not sent.
    `garble`: carried out, and half the answer is sent. `instead`: carried out, and these bytes are its answer. `drip`:
    carried out, and the answer comes byte by byte, so many seconds apart. `seconds`: the time before the answer.
    """

    status: int = 200
    code: str = ""
    entries: frozenset[int] = frozenset()
    entry_code: str = "ServiceUnavailableException"
    drop: bool = False
    lose: bool = False
    garble: bool = False
    instead: bytes = b""
    drip: float = 0.0
    seconds: float = 0.0


FINE: Final = Fault()
THROTTLED: Final = Fault(400, "ThrottlingException")
UNAVAILABLE: Final = Fault(503, "ServiceUnavailableException")
INTERNAL: Final = Fault(500, "InternalFailure")
NO_STREAM: Final = Fault(400, "ResourceNotFoundException")
DENIED: Final = Fault(400, "AccessDeniedException")


@dataclass(frozen=True, slots=True)
class RandomFaults:
    """Faults by chance, each a probability: of an entry, or of a call. Throttling comes in bursts of calls."""

    entry_failures: float = 0.0
    throttle_bursts: float = 0.0
    burst_calls: int = 5
    drops: float = 0.0
    losses: float = 0.0
    seed: int = 0


@dataclass(slots=True)
class FirehoseDouble:
    """A running double. `script` holds the faults of the next calls, in order; after it the random faults decide."""

    url: str
    stream: str = "metrics"
    random_faults: RandomFaults = field(default_factory=RandomFaults)
    script: deque[Fault] = field(default_factory=deque)
    accepted: list[bytes] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    requests: deque[tuple[dict[str, str], bytes]] = field(default_factory=lambda: deque(maxlen=100))
    lock: threading.Lock = field(default_factory=threading.Lock)
    chance: random.Random = field(default_factory=random.Random)
    burst: int = 0
    keep: bool = True

    def fault(self, entries: int) -> Fault:
        """The fate of the next call."""
        if self.script:
            return self.script.popleft()
        random_faults, chance = self.random_faults, self.chance.random
        if self.burst == 0 and chance() < random_faults.throttle_bursts:
            self.burst = random_faults.burst_calls
        if self.burst:
            self.burst -= 1
            return THROTTLED
        refused = random_faults.entry_failures and {
            n for n in range(entries) if chance() < random_faults.entry_failures
        }
        return Fault(
            entries=frozenset(refused or ()),
            drop=chance() < random_faults.drops,
            lose=chance() < random_faults.losses,
        )


@contextmanager
def firehose_double(
    stream: str = "metrics",
    random_faults: RandomFaults | None = None,
    *,
    keep: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Iterator[FirehoseDouble]:
    """Run a double on loopback as long as the block lasts; one that does not `keep` counts alone."""
    random_faults = random_faults or RandomFaults()
    chance = random.Random(random_faults.seed)  # noqa: S311 - chance, no secret
    with running(
        lambda url: FirehoseDouble(url, stream, random_faults, chance=chance, keep=keep), _Handler, tls
    ) as double:
        yield double


class _ApiError(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def read_records(stream: str, headers: dict[str, str], body: bytes) -> list[bytes]:
    """The records of a request, checked as Firehose checks them. Raises for the answer that it gets."""
    if headers.get("x-amz-target") != TARGET or headers.get("content-type") != "application/x-amz-json-1.1":
        raise _ApiError("UnknownOperationException", "")
    if not headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
        raise _ApiError("MissingAuthenticationTokenException", "")
    try:
        request = json.loads(body)
        name, records = request["DeliveryStreamName"], request["Records"]
        data = [b64decode(record["Data"], validate=True) for record in records]
    except (ValueError, KeyError, TypeError, NoBase64) as error:
        raise _ApiError("SerializationException", "") from error
    if not 1 <= len(data) <= MAX_RECORDS:
        raise _ApiError("InvalidArgumentException", f"{len(data)} records")
    if any(len(record) > MAX_RECORD_BYTES for record in data):
        raise _ApiError("InvalidArgumentException", "a record is too large")
    if sum(map(len, data)) > MAX_CALL_BYTES:
        raise _ApiError("InvalidArgumentException", "the records are too large together")
    if name != stream:
        raise _ApiError("ResourceNotFoundException", f"no stream {name}")
    return data


class _Handler(Handler):
    def serve(self) -> None:
        double: FirehoseDouble = self.server.double
        if self.command == "GET":
            self._answer(200, {"calls": len(double.calls), "records": sum(double.calls)})
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            data = read_records(double.stream, headers, body)
        except _ApiError as refused:
            self._answer(400, {"__type": refused.code, "message": str(refused)})
            return
        with double.lock:
            fault = double.fault(len(data))
            if double.keep:
                double.requests.append((headers, body))
            if not fault.drop and fault.status == 200:
                taken = [record for n, record in enumerate(data) if n not in fault.entries]
                double.calls.append(len(taken))
                if double.keep:
                    double.accepted.extend(taken)
        self._fate(fault, len(data))

    do_GET = do_POST = serve  # noqa: N815 - names that http.server looks up

    def _fate(self, fault: Fault, entries: int) -> None:
        time.sleep(fault.seconds)
        if fault.drop or fault.lose:
            self.hang_up()
        elif fault.instead:
            self._send(200, fault.instead)
        elif fault.status != 200:
            # As AWS does: the message of a refusal may repeat what was sent.
            self._answer(fault.status, {"__type": f"com.amazonaws.firehose#{fault.code}", "message": "sent: {…}"})
        else:
            responses = [
                {"ErrorCode": fault.entry_code, "ErrorMessage": "Slow down."}
                if n in fault.entries
                else {"RecordId": f"{n:0220d}"}
                for n in range(entries)
            ]
            failed = len(fault.entries & set(range(entries)))
            answer = {"FailedPutCount": failed, "Encrypted": False, "RequestResponses": responses}
            self._send(200, json.dumps(answer).encode(), half=fault.garble, drip=fault.drip)

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, json.dumps(answer).encode())

    def _send(self, status: int, body: bytes, *, half: bool = False, drip: float = 0.0) -> None:
        self.begin(status, "application/x-amz-json-1.1", len(body))
        for n in range(len(body) if drip else 0):
            self.wfile.write(body[n : n + 1])
            self.wfile.flush()
            time.sleep(drip)
        if not drip:
            self.send_body(body, half=half)


if __name__ == "__main__":
    with firehose_double(keep=False) as served:
        sys.stdout.write(served.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()  # until the one who started it closes the pipe
