"""Session with Snowpipe Streaming: signed in with a key pair, at the account's ingest host, each request repeated.

A JWT made of the key is exchanged for a token that only this service takes; both are renewed in time. The key is read
again for each JWT, so that one that was replaced is taken up.
https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-rest-api
"""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lmdp.certificates.pem import public_half
from lmdp.errors import ChannelInvalidError, LmdpError, SettingsError, UnreachableError
from lmdp.snowflake.streaming.answers import Decision, Refusal, refusal, text_of
from lmdp.sql.settings import address

# https://docs.snowflake.com/en/developer-guide/sql-api/authenticating (an hour at most)
_JWT_S: Final = 59 * 60
_EARLY_S: Final = 120.0  # before its end a token is renewed
_TOKEN_S: Final = 50 * 60  # for one that does not say when it ends
_SKEW_S: Final = 30.0  # a smaller difference of the clocks is nobody's fault
_SEND_S: Final = 20.0  # urllib3 sends a request within its connect time-out: 4 MB at 1.6 Mbit/s
_READ_S: Final = 30.0
_RETRY_S: Final = 30.0
_WAIT_S: Final = 60.0  # others saw a channel's rows uncommitted for half a minute after a crash
_LEAST_S: Final = 0.1
CONNECTIONS: Final = 32
"""Connections that are kept, for as many calls at a time."""
_FIRST_S: Final = 0.1
_LONGEST_S: Final = 5.0
_CHANCE: Final = random.Random()  # noqa: S311 - no secret. Our own: a host's seeded sequence is not ours to use
_OPTIONS: Final = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)] + (
    [(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)] if hasattr(socket, "TCP_SYNCNT") else []
)


@dataclass(frozen=True, slots=True)
class Account:
    """The account's address, the user that signs in, and a reader of its private key (PKCS#8, DER)."""

    url: str
    user: str
    key: Callable[[], bytes] = field(repr=False)

    @property
    def base(self) -> str:
        """Scheme, host and port."""
        parts = address(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def name(self) -> str:
        """The account as a JWT names it: the first part of its host, in upper case.

        https://docs.snowflake.com/en/user-guide/admin-account-identifier
        """
        return (urlsplit(self.base).hostname or "").partition(".")[0].upper()


@dataclass(frozen=True, slots=True)
class PipeName:
    """The pipe that rows go through: a table's default one is its name with `-STREAMING`."""

    database: str
    schema: str
    pipe: str

    def path(self, *, data: bool = False) -> str:
        """Return the beginning of the pipe's paths."""
        parts = (quote(part, safe="") for part in (self.database, self.schema, self.pipe))
        return "/v2/streaming{}/databases/{}/schemas/{}/pipes/{}".format("/data" if data else "", *parts)

    def __str__(self) -> str:
        """Return it as SQL would name it."""
        return f"{self.database}.{self.schema}.{self.pipe}"


@dataclass(slots=True)
class Call:
    """One request on its way, with all its repeats.

    It is repeated for a while, and within `wait_seconds` where another's doing is waited for, or until `ends`
    (`time.monotonic`). It was sent `tries` times, `throttled` of them in vain; `doubts`: how often it may have been
    carried out unanswered.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_seconds: float = _WAIT_S
    ends: float | None = None
    is_in_doubt: bool = False
    tries: int = 0
    throttled: int = 0
    doubts: int = 0

    def doubt(self) -> None:
        """Note that it may have been carried out."""
        self.is_in_doubt = True
        self.doubts += 1


class Session:
    """Requests of one account. Thread-safe. Once `stop` is set nothing is repeated."""

    def __init__(self, account: Account, stop: threading.Event | None = None, retry_s: float = _RETRY_S) -> None:
        self.account = account
        self._retry_s = retry_s
        self.stop = stop or threading.Event()
        self._pool = _pool(account.base)
        self._lock = threading.Lock()
        self._host = ""
        self._token = ""
        self._renew_at = 0.0
        self._ahead = 0.0  # how far Snowflake's clock is ahead of ours
        self._generation = 0

    def call(self, call: Call) -> bytes:
        """Send a request until it is answered, and return the answer.

        Raises ChannelInvalidError when its channel has to be opened again, UnreachableError when no answer came in
        time, and LmdpError when Snowflake refuses for good.
        """
        identity, attempt, renewed, begun = str(uuid.uuid4()), 0, 0, time.monotonic()
        while True:
            answer, failure, decision = self._try(call, {"requestId": identity, "retryCount": str(attempt)})
            if answer is not None and decision is None:
                return answer.data
            if decision is Decision.RENEW:
                renewed += 1
                decision = _renewed(failure, renewed)
            if decision is Decision.REOPEN:
                raise ChannelInvalidError(str(failure), is_in_doubt=call.is_in_doubt)
            if decision is Decision.STOP:
                raise LmdpError(f"Snowflake refused {_named(call)}: {failure}.\n{_ADVICE}")
            limit = call.wait_seconds if decision is Decision.WAIT else self._retry_s
            limit = limit if call.ends is None else call.ends - begun
            pause = _retry_after(answer) or min(_FIRST_S * 2 ** min(attempt, 10), _LONGEST_S) * _CHANCE.uniform(0.5, 1)
            if time.monotonic() + pause - begun > limit or self.stop.wait(pause):
                raise UnreachableError(f"Snowflake at {self.account.base} does not take {_named(call)}: {failure}.")
            attempt += 1

    def _try(
        self, call: Call, identity: Mapping[str, str]
    ) -> tuple[urllib3.BaseHTTPResponse | None, Refusal | str, Decision | None]:
        """Send a request once; return the answer, what is wrong with it, and what to do, None for a success."""
        generation = self._generation
        try:
            host, token = self._signed_in(call.ends)
        except _RefusedKeyError as error:
            return None, f"it does not know the key of {self.account.user} ({error})", Decision.RENEW
        except (urllib3.exceptions.HTTPError, UnreachableError) as error:
            return None, _reason(error), Decision.RETRY
        url = f"{host}{call.path}?{urlencode({**call.query, **identity}, quote_via=quote)}"
        headers = {"Authorization": f"Bearer {token}", "X-Snowflake-Authorization-Token-Type": "OAUTH", **call.headers}
        try:
            call.tries += 1
            answer = self._send(call.method, url, headers, call.body, call.ends)
        except urllib3.exceptions.HTTPError as error:
            call.doubt()
            return None, _reason(error), Decision.RETRY
        if answer.status < 300:
            return answer, "", None
        failure = refusal(answer.status, answer.data)
        decision = failure.decision()
        call.throttled += answer.status == 429
        if answer.status >= 500:
            call.doubt()
        if decision is Decision.RENEW:
            self._forget(generation)
        return answer, failure, decision

    def sign_in(self) -> tuple[str, float]:
        """Sign in, unless it is done; return the ingest host, and the token's seconds. Raises LmdpError."""
        try:
            host, token = self._signed_in()
        except urllib3.exceptions.HTTPError as error:
            raise UnreachableError(f"{self.account.user} cannot sign in at {self.account.base}: {error}") from error
        return host, _expiry(token, time.time() + self._ahead)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _signed_in(self, ends: float | None = None) -> tuple[str, str]:
        """Return the ingest host and a token for it; both are fetched where there are none, or theirs is over."""
        with self._lock:
            if not self._token or time.monotonic() >= self._renew_at:
                self._sign_in(ends)
            return self._host, self._token

    def _sign_in(self, ends: float | None) -> None:
        base = self.account.base
        jwt = self._jwt()
        headers = {"Authorization": f"Bearer {jwt}", "X-Snowflake-Authorization-Token-Type": "KEYPAIR_JWT"}
        host = text_of(self._fetch("GET", f"{base}/v2/streaming/hostname", headers, b"", ends), "hostname")
        form = urlencode({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "scope": host}).encode()
        form_headers = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        token = text_of(self._fetch("POST", f"{base}/oauth/token", form_headers, form, ends), "token")
        if not host or not token:
            raise UnreachableError(f"{base} answered neither with a host nor with a token: it is not Snowflake's API.")
        parts = urlsplit(base)
        port = "" if ":" in host or parts.port is None else f":{parts.port}"
        self._host, self._token = f"{parts.scheme}://{host}{port}", token
        left = _expiry(token, time.time() + self._ahead)
        self._renew_at = time.monotonic() + max(left - _EARLY_S, left / 2)

    def _fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes, ends: float | None) -> bytes:
        answer = self._send(method, url, headers, body, ends)
        if answer.status < 300:
            return answer.data
        failure = refusal(answer.status, answer.data)
        if answer.status == 401:
            self._follow_clock(answer)
            raise _RefusedKeyError(str(failure))
        raise urllib3.exceptions.HTTPError(str(failure))

    def _follow_clock(self, answer: urllib3.BaseHTTPResponse) -> None:
        """Take Snowflake's time for the next JWT where ours is wrong: one that is not valid yet is refused."""
        with_date = answer.headers.get("Date", "")
        try:
            ahead = parsedate_to_datetime(with_date).timestamp() - time.time()
        except (TypeError, ValueError):
            return
        self._ahead = ahead if abs(ahead) > _SKEW_S else 0.0

    def _jwt(self) -> str:
        """Return a JWT for the key pair.

        https://docs.snowflake.com/en/developer-guide/sql-api/authenticating
        """
        key = serialization.load_der_private_key(self.account.key(), None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SettingsError(f"the key of {self.account.user} is not an RSA key, which Snowflake requires")
        _, fingerprint = public_half(key)
        subject = f"{self.account.name}.{self.account.user.upper()}"
        now = int(time.time() + self._ahead)
        claims = {"iss": f"{subject}.{fingerprint}", "sub": subject, "iat": now, "exp": now + _JWT_S}
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return b".".join((signed, _encoded(signature))).decode()

    def _forget(self, generation: int) -> None:
        """Sign in again before the next request, unless another thread has made that sure."""
        with self._lock:
            if generation == self._generation:
                self._generation += 1
                self._token = ""

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, ends: float | None = None
    ) -> urllib3.BaseHTTPResponse:
        left = max(ends - time.monotonic(), _LEAST_S) if ends is not None else _READ_S
        timeout = urllib3.Timeout(connect=min(_SEND_S, left), read=min(_READ_S, left))
        return self._pool.request(method, url, headers=dict(headers), body=body or None, timeout=timeout)


class _RefusedKeyError(urllib3.exceptions.HTTPError):
    """Snowflake does not take the JWT."""


_ADVICE: Final = (
    "Nothing was lost: Kafka has what is not in Snowflake. Check the settings (SNOWFLAKE_ACCOUNT_URL, the writer's "
    "user, key and role, database, schema and pipe), then run the command again."
)


def _renewed(failure: Refusal | str, renewed: int) -> Decision:
    """Return what to do once the session has been renewed: a pipe that failed over has other channels, too."""
    if isinstance(failure, Refusal) and failure.status == 410:
        return Decision.REOPEN
    return Decision.RETRY if renewed <= 3 else Decision.STOP


def _named(call: Call) -> str:
    return f"{call.method} {call.path.rpartition('/v2/streaming')[2]}"


def _retry_after(answer: urllib3.BaseHTTPResponse | None) -> float:
    try:
        return min(float(answer.headers.get("Retry-After", "0")), _LONGEST_S) if answer is not None else 0.0
    except ValueError:
        return 0.0


def _reason(error: Exception) -> str:
    """Return why there is no answer, without the pool's own words around it."""
    inner = getattr(error, "reason", None) or error
    return str(inner).rpartition(">: ")[2] or type(inner).__name__


def _expiry(token: str, now: float) -> float:
    """Return the seconds until a JWT ends; a guess where it does not say."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return max(float(claims["exp"]) - now, 0.0)
    except (IndexError, KeyError, TypeError, ValueError):
        return _TOKEN_S


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def _pool(base: str) -> urllib3.PoolManager:
    """Return the connections: the system's CAs or `SSL_CERT_FILE`, and the proxy that the environment names."""
    parts = urlsplit(base)
    given: dict[str, Any] = {
        "maxsize": CONNECTIONS,
        "retries": False,
        "ssl_context": ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE") or None),
    }
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        found = urllib3.util.parse_url(proxy if "://" in proxy else f"http://{proxy}")
        headers = urllib3.util.make_headers(proxy_basic_auth=unquote(found.auth)) if found.auth else None
        return urllib3.ProxyManager(found.url, proxy_headers=headers, **given)
    return urllib3.PoolManager(
        **given, socket_options=[*urllib3.connection.HTTPConnection.default_socket_options, *_OPTIONS]
    )
