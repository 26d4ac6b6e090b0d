"""A small Snowpipe Streaming for tests: the documented protocol over HTTP or HTTPS, and faults on request.

Rows of a named channel are committed some time after they are accepted, with the channel's offset token; until then a
channel that is opened again loses them, or refuses. What is documented is done as documented; where the service itself
was seen to differ (plain-text answers, `:pipe-info`), the double takes the form that the official SDK accepts.

https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-rest-api
"""

from __future__ import annotations

import gzip
import json
import random
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import zstandard
from cryptography.hazmat.primitives.asymmetric import rsa

from lmdp.snowflake.streaming.requests import MAX_PAYLOAD
from lmdp.testing.http_double import Handler, Server, running
from lmdp.testing.snowpipe_access import RefusedError, check_jwt, check_token, issue_token, pipe_info, route

REQUESTS_A_SECOND: Final = 10
STALE: Final = "STALE_CONTINUATION_TOKEN_SEQUENCER"
UNCOMMITTED: Final = "ERR_CHANNEL_HAS_UNCOMMITTED_DATA"


@dataclass(frozen=True, slots=True)
class Fault:
    """The fate of one call of the operation `on`: hostname, token, open, status, append or elastic.

    `status` and `code`: an error answer, nothing is done; `bare` sends the code as a JSON string, `plain` as text.
    `drop`: the connection is closed before anything is done. `lose`: the call is carried out and not answered.
    `garble`: carried out, and half the answer is sent; `hollow`: an object with nothing in it. `seconds`: the time
    before the answer. `channel`: of this one alone.
    """

    on: str
    status: int = 200
    code: str = ""
    bare: bool = False
    plain: bool = False
    drop: bool = False
    lose: bool = False
    garble: bool = False
    hollow: bool = False
    seconds: float = 0.0
    channel: str = ""


@dataclass(frozen=True, slots=True)
class RandomFaults:
    """Faults by chance: each of `faults` happens to a call of its operation with probability `chance`."""

    faults: tuple[Fault, ...] = ()
    chance: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived; the body is decompressed."""

    operation: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    answer: tuple[int, bytes]


@dataclass(slots=True)
class Channel:
    """A named channel: what is committed, and what is accepted and waits for its commit, with the time of that."""

    name: str
    place: tuple[str, ...]
    client: int = 0
    appended: int = 0
    token: str | None = None
    rows: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_token: str | None = None
    code: str = "SUCCESS"
    pending: deque[tuple[float, list[bytes], str | None]] = field(default_factory=deque)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=REQUESTS_A_SECOND))

    def status(self) -> dict[str, Any]:
        """Return the channel's status; `rows_error_count` is the name at the opening, `rows_errors` in bulk."""
        return {
            "database_name": self.place[0],
            "schema_name": self.place[1],
            "pipe_name": self.place[2],
            "channel_name": self.name,
            "channel_status_code": self.code,
            "last_committed_offset_token": self.token,
            "rows_inserted": self.rows,
            "rows_parsed": self.rows + self.errors,
            "rows_errors": self.errors,
            "rows_error_count": self.errors,
            "last_error_message": self.last_error or None,
            "last_error_offset_upper_bound": self.last_error_token,
            "last_error_timestamp": None,
            "snowflake_avg_processing_latency_ms": 1,
            "created_on_ms": 1_770_000_000_000,
        }


@dataclass(slots=True)
class SnowpipeDouble:
    """A running double.

    `script` holds the faults of the next calls, the first that fits a call's operation; then the random faults.
    `commit_s` is how long an accepted row waits for its commit; `refuses` decides whether Snowflake refuses a row.
    `key` is the public key that is registered (any is accepted without). `documented` answers as the documents say, in
    JSON, where the service answers in plain text. `clock_s` is how far its clock is ahead of ours. `accepted` rows of
    named channels may have been discarded; `rows` are committed.
    """

    url: str
    commit_s: float = 0.0
    key: rsa.RSAPublicKey | None = None
    documented: bool = False
    limited: bool = True
    token_s: float = 3_600.0
    clock_s: float = 0.0
    away: bool = False
    refuses: Callable[[bytes], bool] = lambda _: False
    random_faults: RandomFaults = field(default_factory=RandomFaults)
    script: list[Fault] = field(default_factory=list)
    accepted: int = 0
    rows: list[bytes] = field(default_factory=list)
    error_table: list[bytes] = field(default_factory=list)
    channels: dict[str, Channel] = field(default_factory=dict)
    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=1_000))
    happened: list[Fault] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    chance: random.Random = field(default_factory=random.Random)
    tokens: dict[str, float] = field(default_factory=dict)

    def now(self) -> float:
        """Return its clock's time, in Unix seconds."""
        return time.time() + self.clock_s

    def fault(self, operation: str, name: str = "") -> Fault:
        """Return the fate of a call, of the channel `name` if it has one."""
        fit = [fault for fault in self.script if fault.on == operation and fault.channel in ("", name)]
        found = fit[0] if fit else None
        if found is not None:
            self.script.remove(found)
        else:
            fit = [fault for fault in self.random_faults.faults if fault.on == operation]
            found = (
                self.chance.choice(fit)
                if fit and self.chance.random() < self.random_faults.chance
                else Fault(operation)
            )
        if found != Fault(operation):
            self.happened.append(found)
        return found

    def committed(self) -> list[bytes]:
        """Return the rows that a query would see now, each as it was sent."""
        with self.lock:
            self.commit()
            return list(self.rows)

    def commit(self) -> None:
        """Commit what has waited long enough."""
        due = time.monotonic() - self.commit_s
        for channel in self.channels.values():
            while channel.pending and channel.pending[0][0] <= due:
                _, rows, token = channel.pending.popleft()
                good = [row for row in rows if not self.refuses(row)]
                bad = [row for row in rows if self.refuses(row)] if len(good) < len(rows) else []
                self.rows += good
                self.error_table += bad
                channel.rows += len(good)
                channel.errors += len(bad)
                if bad:
                    channel.last_error, channel.last_error_token = "Failed to cast a value", token
                channel.token = token if token is not None else channel.token

    def expire(self, name: str = "") -> None:
        """Drop idle channels, as Snowflake does after 30 days; their rows stay."""
        with self.lock:
            self.commit()
            for found in [found for found in self.channels if not name or found == name]:
                del self.channels[found]

    # The operations, each given what its path, query and body have.

    def open_channel(self, place: tuple[str, ...], name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Open or create a channel; its sequencer fences whoever opened it before."""
        self.commit()
        channel = self.channels.setdefault(name.lower(), Channel(name.lower(), place))
        if channel.pending and body.get("fail_on_uncommitted_rows"):
            raise RefusedError(409, UNCOMMITTED)
        channel.pending.clear()
        channel.client, channel.appended, channel.code = channel.client + 1, 0, "SUCCESS"
        channel.token = body.get("offset_token") or channel.token
        return {"next_continuation_token": f"{channel.client}_0", "channel_status": channel.status()}

    def append(self, name: str, query: Mapping[str, str], rows: list[bytes]) -> dict[str, Any]:
        """Accept rows of a named channel; they are committed later."""
        self.commit()
        channel = self.channels.get(name.lower())
        if channel is None:
            raise RefusedError(404, "ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED")
        if channel.code != "SUCCESS":
            raise RefusedError(409, channel.code)
        if query.get("continuationToken") != f"{channel.client}_{channel.appended}":
            raise RefusedError(400, STALE)
        now = time.monotonic()
        if self.limited and len(channel.recent) == REQUESTS_A_SECOND and now - channel.recent[0] < 1.0:
            raise RefusedError(429, "ERR_TOO_MANY_REQUESTS")
        channel.recent.append(now)
        channel.appended += 1
        self.accepted += len(rows)
        channel.pending.append((now, rows, query.get("endOffsetToken")))
        return {"next_continuation_token": f"{channel.client}_{channel.appended}"}

    def statuses(self, place: tuple[str, ...], names: list[str]) -> dict[str, Any]:
        """Return the status of channels; one that is unknown is left out. Names are case-sensitive here.

        Every pipe has a channel ELASTIC, which nobody opens: the SDK asks for its status instead.
        """
        self.commit()
        self.channels.setdefault("ELASTIC", Channel("ELASTIC", place))
        return {"channel_statuses": {name: self.channels[name].status() for name in names if name in self.channels}}


@contextmanager
def snowpipe_double(*, tls: ssl.SSLContext | None = None, **given: Any) -> Iterator[SnowpipeDouble]:
    """Run a double on loopback as long as the block lasts; `given` are fields of `SnowpipeDouble`."""

    def make(url: str) -> SnowpipeDouble:
        double = SnowpipeDouble(url, **given)
        double.chance.seed(double.random_faults.seed)
        return double

    with running(make, _Handler, tls, _Server) as double:
        yield double


class _Server(Server):
    double: SnowpipeDouble

    def verify_request(self, *_: object) -> bool:
        """Close every connection at once while the service is away."""
        return not self.double.away


class _Handler(Handler):
    server: _Server

    def serve(self) -> None:
        double, url = self.server.double, urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        operation, names = route(self.command, url.path)
        if double.away:
            self.hang_up()
            return
        with double.lock:
            fault = double.fault(operation, names[-1] if names else "")
        time.sleep(fault.seconds)
        query = dict(parse_qsl(url.query))
        with double.lock:
            payload = b""
            if fault.drop:
                status, answer = 0, b""
            elif fault.status != 200:
                status, answer = fault.status, _error(fault)
            else:
                try:
                    payload = _payload(headers, body)
                    answer = _answer(double, operation, names, (query, headers, payload))
                    status, answer = 200, b"{}" if fault.hollow else answer
                except RefusedError as refused:
                    status, answer = refused.status, _error(Fault(operation, refused.status, str(refused)))
            double.requests.append(Request(operation, url.path, query, headers, payload, (status, answer)))
        if fault.drop or fault.lose:
            self.hang_up()
        else:
            wait = {"Retry_After": "0.2"} if status == 429 else {}
            self.begin(status, "application/json", len(answer), **wait)
            self.send_body(answer, half=fault.garble)

    do_GET = do_POST = do_PUT = do_DELETE = serve  # noqa: N815 - names that http.server looks up

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(timestamp or self.server.double.now(), usegmt=True)


def _error(fault: Fault) -> bytes:
    if fault.plain:
        return fault.code.encode()
    return json.dumps(fault.code if fault.bare else {"code": fault.code, "message": "Sent: {…}"}).encode()


def _payload(headers: Mapping[str, str], body: bytes) -> bytes:
    if len(body) > MAX_PAYLOAD:
        raise RefusedError(413, "ERR_PAYLOAD_TOO_LARGE")
    encoding = headers.get("content-encoding", "")
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return gzip.decompress(body) if encoding == "gzip" else body


def _answer(
    double: SnowpipeDouble, operation: str, names: list[str], request: tuple[dict[str, str], dict[str, str], bytes]
) -> bytes:
    query, headers, body = request
    if operation == "hostname":
        check_jwt(double, headers)
        host = urlsplit(double.url).hostname or ""
        return json.dumps({"hostname": host}).encode() if double.documented else host.encode()
    if operation == "token":
        return issue_token(double, headers, body)
    if operation == "telemetry":
        return b"{}"
    check_token(double, headers)
    if operation == "pipe-info":
        answer = pipe_info(double.url)
    elif operation == "open":
        answer = double.open_channel(tuple(names[:3]), names[3], json.loads(body or b"{}"))
    elif operation == "append":
        answer = double.append(names[3], query, _rows(headers, body))
    elif operation == "elastic":
        double.rows += _rows(headers, body)
        answer = {"message": "OK"} if double.documented else {"message": "OK", "next_continuation_token": ""}
    elif operation == "status":
        answer = double.statuses(tuple(names), json.loads(body)["channel_names"])
    elif operation == "drop":
        double.channels.pop(names[3].lower(), None)
        answer = {}
    else:
        raise RefusedError(404, "ERR_NOT_FOUND")
    return json.dumps(answer).encode()


def _rows(headers: Mapping[str, str], body: bytes) -> list[bytes]:
    """Return the lines of an NDJSON body, each an object; the SDK sends empty lines between them."""
    rows = [row for row in body.split(b"\n") if row]
    is_ndjson = headers.get("content-type") == "application/x-ndjson" and body.endswith(b"\n")
    if not is_ndjson or not all(row.startswith(b"{") and row.endswith(b"}") for row in rows):
        raise RefusedError(400, "ERR_MALFORMED_REQUEST")
    return rows
