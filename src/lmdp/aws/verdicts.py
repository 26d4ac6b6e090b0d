"""What one call of `PutRecordBatch` came to: which rows are in, which are not, and whether to try again.

Firehose may take some records and refuse others in one answer that says 200:
https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from botocore.awsrequest import AWSResponse
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    SSLError,
)
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

# Nothing of a request was sent yet.
_NOT_SENT: Final = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)
# "The write might have completed or failed": only what Firehose refuses with reason is surely not in.
_UNSURE_STATUS: Final = frozenset({500, 502, 504})
# Both words of Firehose for: the stream's limits are exceeded, slow down.
_SLOW_DOWN: Final = frozenset({"ServiceUnavailableException", "LimitExceededException"})
_BACKOFF_EXPONENT: Final = 30
# Seconds. Beside the pace, which slows every call while one is throttled, a longer wait only wastes the invocation.
_LONGEST_WAIT: Final = 2

# The conditions and the back-off of boto3's standard retries; the loop is not boto3's, since it has to carry the
# refused rows of a call that succeeded, and to end before the function does.
_detector = ThrottlingErrorDetector(RetryEventAdapter())
_conditions = OrRetryChecker([TransientRetryableChecker(), ThrottledRetryableChecker(), ThrottlingStatusCodeChecker()])
_backoff = ExponentialBackoff(max_backoff=_LONGEST_WAIT, throttling_detector=_detector)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a call came to. Accepted and refused rows are all that were given.

    `unsure`: refused rows may be in all the same, since the answer was lost. `delay`: seconds to wait before the next
    try. `code` is Firehose's or botocore's name of the fault, empty where there is none; it never holds data.
    """

    accepted: int
    refused: Sequence[bytes] = ()
    code: str = ""
    throttled: bool = False
    permanent: bool = False
    unsure: bool = False
    sent: bool = True
    delay: float = 0.0


class _Entry(msgspec.Struct):
    ErrorCode: str | None = None


class _Entries(msgspec.Struct):
    FailedPutCount: int
    RequestResponses: list[_Entry]


class _Error(msgspec.Struct):
    type: str = msgspec.field(name="__type", default="")
    code: str = ""


_entries = msgspec.json.Decoder(_Entries)
_error = msgspec.json.Decoder(_Error)


def of_answer(batch: Sequence[bytes], answer: AWSResponse, attempt: int) -> Verdict:
    """Read an answer to the `attempt`th try (from 1)."""
    if answer.status_code == 200:
        return _of_entries(batch, answer, attempt)
    code = _code(answer)
    context = _context(attempt, code, answer)
    return Verdict(
        accepted=0,
        refused=batch,
        code=code,
        throttled=_detector.is_throttling_error_from_context(context) or code in _SLOW_DOWN,
        permanent=not _conditions.is_retryable(context),
        unsure=answer.status_code in _UNSURE_STATUS,
        delay=_backoff.delay_amount(context),
    )


def of_silence(batch: Sequence[bytes], error: Exception, attempt: int) -> Verdict:
    """No answer came: the connection failed, or the time was over."""
    context = _context(attempt, error=error)
    return Verdict(
        accepted=0,
        refused=batch,
        code=type(error).__name__,
        permanent=not _conditions.is_retryable(context),
        unsure=not isinstance(error, _NOT_SENT),
        delay=_backoff.delay_amount(context),
    )


def _of_entries(batch: Sequence[bytes], answer: AWSResponse, attempt: int) -> Verdict:
    try:
        entries = _entries.decode(answer.content)
    except msgspec.DecodeError:
        return _unreadable(batch, answer, attempt)
    if entries.FailedPutCount == 0 and len(entries.RequestResponses) == len(batch):
        failed = []
    else:
        failed = [n for n, entry in enumerate(entries.RequestResponses) if entry.ErrorCode]
        if len(entries.RequestResponses) != len(batch) or len(failed) != entries.FailedPutCount:
            return _unreadable(batch, answer, attempt)
    if not failed:
        return Verdict(accepted=len(batch))
    codes = {entries.RequestResponses[n].ErrorCode or "" for n in failed}
    code = min(codes)
    return Verdict(
        accepted=len(batch) - len(failed),
        refused=[batch[n] for n in failed],
        code=code,
        # A few refusals among many are weather; where most are refused, the stream is at its limit.
        throttled=bool(codes & _SLOW_DOWN) and 2 * len(failed) > len(batch),
        delay=_backoff.delay_amount(_context(attempt, code, answer)),
    )


def _unreadable(batch: Sequence[bytes], answer: AWSResponse, attempt: int) -> Verdict:
    """A 200 that was cut off, or does not add up: nothing is known."""
    code = "UnreadableAnswer"
    delay = _backoff.delay_amount(_context(attempt, code, answer))
    return Verdict(accepted=0, refused=batch, code=code, unsure=True, delay=delay)


def _code(answer: AWSResponse) -> str:
    """The error's name, out of the header or `__type`, either of which may have a namespace before and a URL behind.

    https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
    """
    name = answer.headers.get("x-amzn-errortype", "")
    if not name:
        try:
            error = _error.decode(answer.content)
        except msgspec.DecodeError:
            error = _Error()
        name = error.type or error.code
    name = name.split(":")[0].rsplit("#")[-1]
    return name if name.isascii() and name.isalnum() and len(name) <= 80 else f"Http{answer.status_code}"


def _context(
    attempt: int, code: str = "", answer: AWSResponse | None = None, error: Exception | None = None
) -> RetryContext:
    return RetryContext(
        attempt_number=min(attempt, _BACKOFF_EXPONENT),
        parsed_response={"Error": {"Code": code}},
        http_response=answer,
        caught_exception=error,
    )


def not_sent(batch: Sequence[bytes]) -> Verdict:
    """The time was over before the call, or another call had shown that it is of no use."""
    return Verdict(accepted=0, refused=batch, code="OutOfTime", sent=False)
