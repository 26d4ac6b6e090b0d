"""The result of one `PutRecordBatch` call: which rows were accepted, which were refused, and whether to try again.

Firehose may accept some records and refuse others in one response with status 200:
https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from botocore.awsrequest import AWSResponse
from botocore.exceptions import HTTPClientError, SSLError

from lmdp.cloud.aws_client import FailedCall

# "The write might have completed or failed": only a refusal with a reason surely did not store the records.
_UNSURE_STATUS: Final = frozenset({500, 502, 504})
# Firehose's two codes for: the stream's limits are exceeded, slow down.
_SLOW_DOWN: Final = frozenset({"ServiceUnavailableException", "LimitExceededException"})


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a call: `accepted` + refused rows are all rows of its batch.

    `unsure`: refused rows may be stored all the same, since the response was lost. `delay`: seconds to wait before the
    next try. `code` is Firehose's or botocore's name of the fault, empty where there is none; it never holds data.
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


# The decoder raises other errors for text that is not UTF-8, and for endless nesting.
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_entries = msgspec.json.Decoder(_Entries)
_error = msgspec.json.Decoder(_Error)


def from_response(batch: Sequence[bytes], response: AWSResponse, attempt: int) -> CallResult:
    """Read the response to the `attempt`th try (from 1)."""
    if response.status_code == 200:
        return _from_entries(batch, response, attempt)
    code = _code(response)
    failure = FailedCall(attempt, code, response.status_code)
    return CallResult(
        accepted=0,
        refused=batch,
        code=code,
        throttled=failure.throttled() or code in _SLOW_DOWN,
        permanent=not failure.retryable(),
        unsure=response.status_code in _UNSURE_STATUS,
        delay=failure.delay(),
    )


def no_response(batch: Sequence[bytes], error: Exception, attempt: int) -> CallResult:
    """Return the result of a call without a response: the connection failed, or the time was over."""
    failure = FailedCall(attempt, error=error)
    return CallResult(
        accepted=0,
        refused=batch,
        code=type(error).__name__,
        permanent=not failure.retryable(),
        unsure=_may_be_sent(error),
        delay=failure.delay(),
    )


def not_sent(batch: Sequence[bytes]) -> CallResult:
    """Return the result of a call that was not made: no time was left, or another call had failed permanently."""
    return CallResult(accepted=0, refused=batch, code="OutOfTime", sent=False)


def _may_be_sent(error: Exception) -> bool:
    """Return whether the call may have been carried out; not where no connection was made."""
    if isinstance(error, SSLError):  # in the handshake, or later: only a bad certificate is surely the handshake's
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return isinstance(error, HTTPClientError | TimeoutError)


def _from_entries(batch: Sequence[bytes], response: AWSResponse, attempt: int) -> CallResult:
    try:
        entries = _entries.decode(response.content)
    except _NOT_JSON:
        return _unreadable(batch, attempt)
    failed = [n for n, entry in enumerate(entries.RequestResponses) if entry.ErrorCode]
    if len(entries.RequestResponses) != len(batch) or len(failed) != entries.FailedPutCount:
        return _unreadable(batch, attempt)
    if not failed:
        return CallResult(accepted=len(batch))
    codes = {_name(entries.RequestResponses[n].ErrorCode or "", response) for n in failed}
    code = min(codes)
    return CallResult(
        accepted=len(batch) - len(failed),
        refused=[batch[n] for n in failed],
        code=code,
        # A few refusals among many are normal; where most are refused, the stream is at its limit.
        throttled=bool(codes & _SLOW_DOWN) and 2 * len(failed) > len(batch),
        delay=FailedCall(attempt, code, response.status_code).delay(),
    )


def _unreadable(batch: Sequence[bytes], attempt: int) -> CallResult:
    """Return the result where a response with status 200 is truncated or inconsistent: nothing is known."""
    code = "UnreadableAnswer"
    return CallResult(accepted=0, refused=batch, code=code, unsure=True, delay=FailedCall(attempt, code, 200).delay())


def _code(response: AWSResponse) -> str:
    """Return the error's name from the header or `__type`; either may have a namespace before it and a URL after it.

    https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
    """
    name = response.headers.get("x-amzn-errortype", "")
    if not name:
        try:
            error = _error.decode(response.content)
        except _NOT_JSON:
            error = _Error()
        name = error.type or error.code
    return _name(name.split(":")[0].rsplit("#")[-1], response)


def _name(name: str, response: AWSResponse) -> str:
    """Return `name` if it is the name of an error: anything else in its place may be arbitrary text."""
    return name if name.isascii() and name.isalnum() and len(name) <= 80 else f"Http{response.status_code}"
