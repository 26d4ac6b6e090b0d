"""Whether to try a call again, and when: the conditions and the back-off of boto3's standard retries.

The loop is not boto3's: it has to carry the refused rows of a call that succeeded, and to end before the function does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from botocore.awsrequest import AWSResponse
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

_BACKOFF_EXPONENT: Final = 30
# Seconds. Beside the pace, which slows every call while one is throttled, a longer wait only wastes the invocation.
_LONGEST_WAIT: Final = 2

_detector = ThrottlingErrorDetector(RetryEventAdapter())
_conditions = OrRetryChecker([TransientRetryableChecker(), ThrottledRetryableChecker(), ThrottlingStatusCodeChecker()])
_backoff = ExponentialBackoff(max_backoff=_LONGEST_WAIT, throttling_detector=_detector)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed: the number of the try from 1, and the answer's code and status, or what came instead."""

    attempt: int
    code: str = ""
    status: int | None = None
    error: Exception | None = None

    def throttled(self) -> bool:
        """Whether it was told to slow down."""
        return bool(_detector.is_throttling_error_from_context(self._context()))

    def passing(self) -> bool:
        """Whether trying again may mend it."""
        return isinstance(self.error, TimeoutError) or bool(_conditions.is_retryable(self._context()))

    def delay(self) -> float:
        """Seconds to wait before the next try."""
        return float(_backoff.delay_amount(self._context()))

    def _context(self) -> RetryContext:
        return RetryContext(
            attempt_number=min(self.attempt, _BACKOFF_EXPONENT),
            parsed_response={"Error": {"Code": self.code}},
            http_response=None if self.status is None else AWSResponse("", self.status, {}, None),
            caught_exception=self.error,
        )
