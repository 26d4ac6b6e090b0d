"""Calls of AWS: one signed request of a JSON 1.1 API, a call with a deadline, and when to try a call again.

boto3's client validates, encodes and decodes every record by the service's model, which costs more than everything else
in the function, and importing it costs most of a cold start. This uses botocore's parts below the model: credentials,
endpoint rules, signing, HTTP, and the conditions and back-off of its standard retries. The retry loops are ours: they
carry the refused rows of a call that succeeded, and end before the function does.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, TypeAlias, TypeVar

from botocore import __version__ as botocore_version
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import (
    ContainerProvider,
    CredentialResolver,
    Credentials,
    EnvProvider,
    ReadOnlyCredentials,
)
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError, CredentialRetrievalError
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader
from botocore.retries.standard import (
    ExponentialBackoff,
    OrRetryChecker,
    RetryContext,
    RetryEventAdapter,
    ThrottledRetryableChecker,
    ThrottlingErrorDetector,
    ThrottlingStatusCodeChecker,
    TransientRetryableChecker,
)
from botocore.utils import get_environ_proxies

from lmdp.errors import DeadlineError, LmdpError, translating

# urllib3 sends a request within its connect time-out: 20 s are eight concurrent calls of 0.7 MB at 2.5 Mbit/s. An
# endpoint that does not answer is noticed after a second SYN, 3 s.
_SEND_SECONDS: Final = 20.0
_TWO_SYNS: Final = [(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)] if hasattr(socket, "TCP_SYNCNT") else []
# Head and body are two writes; without this the second waits for the first one's acknowledgement, up to 40 ms.
_NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_AGENT: Final = f"lmdp botocore/{botocore_version}"


_BACKOFF_EXPONENT: Final = 30
# Seconds. The rate limiter slows every call while one is throttled; a longer wait here only wastes the invocation.
_LONGEST_WAIT: Final = 2

_throttling = ThrottlingErrorDetector(RetryEventAdapter())
_retryable = OrRetryChecker([TransientRetryableChecker(), ThrottledRetryableChecker(), ThrottlingStatusCodeChecker()])
_backoff = ExponentialBackoff(max_backoff=_LONGEST_WAIT, throttling_detector=_throttling)

_T = TypeVar("_T")
_Call: TypeAlias = Callable[[], Any]
_Calls: TypeAlias = "SimpleQueue[tuple[_Call, Future[Any]]]"

# Threads without a call. One starts in tens of µs, but with fresh memory: half a millisecond for a call's body.
_idle: deque[_Calls] = deque()
if hasattr(os, "register_at_fork"):  # a fork has none of the threads
    os.register_at_fork(after_in_child=_idle.clear)


@dataclass(frozen=True, slots=True)
class Connection:
    """Endpoint and credentials for calls of one service, and the pool of HTTP connections that they share."""

    url: str
    region: str
    service: str
    credentials: Credentials
    http: URLLib3Session


def connect(
    service: str, region: str, env: Mapping[str, str], *, pool: int, credentials: Credentials | None = None
) -> Connection:
    """Find the endpoint and the credentials as boto3 does; nothing is sent yet. `pool`: connections to keep.

    Raises LmdpError when there are no credentials, or no such endpoint.
    """
    with translating({BotoCoreError: lambda error: LmdpError(f"{service} in {region} cannot be called: {error}")}):
        url = endpoint(service, region, env)
        return Connection(
            url=url,
            region=region,
            service=service,
            credentials=credentials or find_credentials(),
            http=URLLib3Session(
                verify=env.get("AWS_CA_BUNDLE") or True,
                proxies=get_environ_proxies(url),
                timeout=(_SEND_SECONDS, 10.0),
                max_pool_connections=pool,
                socket_options=[_NO_DELAY, *_TWO_SYNS],
            ),
        )


def endpoint(service: str, region: str, env: Mapping[str, str]) -> str:
    """Return the service's URL by its own rules, or the one that the environment names.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    ignored = _on(env, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    given = env.get(f"AWS_ENDPOINT_URL_{service.upper()}") or env.get("AWS_ENDPOINT_URL")
    loader = create_loader()
    rules = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions"))
    where: dict[str, Any] = {
        "Region": region,
        "UseFIPS": _on(env, "AWS_USE_FIPS_ENDPOINT"),
        "UseDualStack": _on(env, "AWS_USE_DUALSTACK_ENDPOINT"),
    }
    if given and not ignored:
        where["Endpoint"] = given
    return str(rules.resolve_endpoint(**where).url)


def _on(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() == "true"


def find_credentials() -> Credentials:
    """Return Lambda's credentials, elsewhere boto3's (profiles, single sign-on). They renew themselves."""
    found = CredentialResolver([EnvProvider(), ContainerProvider()]).load_credentials()
    if found is None:
        from botocore.session import Session  # noqa: PLC0415 - a third of a cold start, and not needed in Lambda

        found = Session().get_credentials()
    if found is None:
        raise LmdpError("There are no AWS credentials. Sign in (aws sso login) or set AWS_PROFILE, then try again.")
    return found


def post(connection: Connection, target: str, body: bytes, read_seconds: float) -> AWSResponse:
    """Sign and send one request, and read the whole response.

    Raises a BotoCoreError when there is no response, or nothing to sign with.
    """
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1", "User-Agent": _AGENT}
    request = AWSRequest("POST", connection.url, headers, body)
    # Renewed if necessary, and read at one moment: a key and a token of two generations do not fit.
    credentials = _frozen(connection.credentials)
    SigV4Auth(credentials, connection.service, connection.region).add_auth(request)
    request.context["read_timeout"] = read_seconds
    return connection.http.send(request.prepare())


def _frozen(credentials: Credentials) -> ReadOnlyCredentials:
    try:
        return credentials.get_frozen_credentials()
    except RuntimeError as error:  # expired, and their source has no newer ones
        raise CredentialRetrievalError(provider=credentials.method, error_msg="they have expired") from error


def with_deadline(seconds: float, call: Callable[[], _T]) -> _T:
    """Return what `call` returns, or raise what it raises; raise DeadlineError after `seconds`.

    A socket's time-out ends one wait of many, and a name is looked up without any: an answer that comes byte by byte,
    or a silent name server, would outlast the invocation. So the call is made in another thread, which nothing waits
    for: it ends with its sockets' time-outs.
    """
    answer: Future[_T] = Future()
    _thread().put((call, answer))
    if not wait([answer], max(seconds, 0.0)).done:
        raise DeadlineError(f"no answer in {seconds:.1f} s")
    return answer.result()


def _thread() -> _Calls:
    """Return the queue of a thread that is idle."""
    try:
        return _idle.pop()
    except IndexError:
        calls: _Calls = SimpleQueue()
        Thread(target=_make, args=(calls,), name="call", daemon=True).start()
        return calls


def _make(calls: _Calls) -> None:
    while True:
        call, answer = calls.get()
        try:
            result, error = call(), None
        except BaseException as raised:  # noqa: BLE001 - raised again where it is waited for
            result, error = None, raised
        _idle.append(calls)  # before the answer, so that its receiver finds this thread idle
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)
        del call, answer, result, error  # they may be large, and the next call far away


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A failed call: the number of the try from 1, and the response's code and status, or the error instead of one."""

    attempt: int
    code: str = ""
    status: int | None = None
    error: Exception | None = None

    def throttled(self) -> bool:
        """Return whether AWS asked to slow down."""
        return bool(_throttling.is_throttling_error_from_context(self._context()))

    def retryable(self) -> bool:
        """Return whether another try may succeed."""
        return isinstance(self.error, TimeoutError) or bool(_retryable.is_retryable(self._context()))

    def delay(self) -> float:
        """Return the seconds to wait before the next try."""
        return float(_backoff.delay_amount(self._context()))

    def _context(self) -> RetryContext:
        return RetryContext(
            attempt_number=min(self.attempt, _BACKOFF_EXPONENT),
            parsed_response={"Error": {"Code": self.code}},
            http_response=None if self.status is None else AWSResponse("", self.status, {}, None),
            caught_exception=self.error,
        )
