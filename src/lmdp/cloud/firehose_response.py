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
from botocore.exceptions import HTTPClientError, SSLError

from lmdp.cloud.retries import Failure

# "The write might have completed or failed": only what Firehose refuses with reason is surely not in.
_UNSURE_STATUS: Final = frozenset({500, 502, 504})
# Both words of Firehose for: the stream's limits are exceeded, slow down.
_SLOW_DOWN: Final = frozenset({"ServiceUnavailableException", "LimitExceededException"})


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


# Text that is no UTF-8, and nesting without end, are faults of their own to the decoder.
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_entries = msgspec.json.Decoder(_Entries)
_error = msgspec.json.Decoder(_Error)


def of_answer(batch: Sequence[bytes], answer: AWSResponse, attempt: int) -> Verdict:
    """Read an answer to the `attempt`th try (from 1)."""
    if answer.status_code == 200:
        return _of_entries(batch, answer, attempt)
    code = _code(answer)
    failure = Failure(attempt, code, answer.status_code)
    return Verdict(
        accepted=0,
        refused=batch,
        code=code,
        throttled=failure.throttled() or code in _SLOW_DOWN,
        permanent=not failure.passing(),
        unsure=answer.status_code in _UNSURE_STATUS,
        delay=failure.delay(),
    )


def of_silence(batch: Sequence[bytes], error: Exception, attempt: int) -> Verdict:
    """No answer came: the connection failed, or the time was over."""
    failure = Failure(attempt, error=error)
    return Verdict(
        accepted=0,
        refused=batch,
        code=type(error).__name__,
        permanent=not failure.passing(),
        unsure=_may_be_sent(error),
        delay=failure.delay(),
    )


def _may_be_sent(error: Exception) -> bool:
    """Whether the call may have been carried out; not where no connection came about."""
    if isinstance(error, SSLError):  # in the handshake, or later: only a bad certificate is surely the handshake's
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return isinstance(error, HTTPClientError | TimeoutError)


def _of_entries(batch: Sequence[bytes], answer: AWSResponse, attempt: int) -> Verdict:
    try:
        entries = _entries.decode(answer.content)
    except _NOT_JSON:
        return _unreadable(batch, attempt)
    failed = [n for n, entry in enumerate(entries.RequestResponses) if entry.ErrorCode]
    if len(entries.RequestResponses) != len(batch) or len(failed) != entries.FailedPutCount:
        return _unreadable(batch, attempt)
    if not failed:
        return Verdict(accepted=len(batch))
    codes = {_name(entries.RequestResponses[n].ErrorCode or "", answer) for n in failed}
    code = min(codes)
    return Verdict(
        accepted=len(batch) - len(failed),
        refused=[batch[n] for n in failed],
        code=code,
        # A few refusals among many are weather; where most are refused, the stream is at its limit.
        throttled=bool(codes & _SLOW_DOWN) and 2 * len(failed) > len(batch),
        delay=Failure(attempt, code, answer.status_code).delay(),
    )


def _unreadable(batch: Sequence[bytes], attempt: int) -> Verdict:
    """A 200 that was cut off, or does not add up: nothing is known."""
    code = "UnreadableAnswer"
    return Verdict(accepted=0, refused=batch, code=code, unsure=True, delay=Failure(attempt, code, 200).delay())


def _code(answer: AWSResponse) -> str:
    """The error's name, out of the header or `__type`, either of which may have a namespace before and a URL behind.

    https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
    """
    name = answer.headers.get("x-amzn-errortype", "")
    if not name:
        try:
            error = _error.decode(answer.content)
        except _NOT_JSON:
            error = _Error()
        name = error.type or error.code
    return _name(name.split(":")[0].rsplit("#")[-1], answer)


def _name(name: str, answer: AWSResponse) -> str:
    """A fault's name as it is, if it is one: what else comes in its place may be anybody's text."""
    return name if name.isascii() and name.isalnum() and len(name) <= 80 else f"Http{answer.status_code}"


def not_sent(batch: Sequence[bytes]) -> Verdict:
    """The time was over before the call, or another call had shown that it is of no use."""
    return Verdict(accepted=0, refused=batch, code="OutOfTime", sent=False)
