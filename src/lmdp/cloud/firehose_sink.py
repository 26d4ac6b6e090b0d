"""Rows to a Firehose stream: in calls as large as allowed, several at a time, until every row is accepted.

Only rows that a call refused are sent again. What cannot be delivered raises, so that the pipe redelivers the whole
batch: rows that were accepted before are then stored twice, so a delivery gives up only when its time is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

import msgspec
from botocore.exceptions import BotoCoreError
from pybase64 import b64encode

from lmdp.cloud.aws_client import connect, post, with_deadline
from lmdp.cloud.firehose_response import CallResult, from_response, no_response, not_sent
from lmdp.cloud.rate_limiter import RateLimiter
from lmdp.errors import DeadlineError, Delivery, DeliveryError

# https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html
TARGET: Final = "Firehose_20150804.PutRecordBatch"
MAX_RECORDS: Final = 500
MAX_CALL_BYTES: Final = 4 * 2**20
# Before base64, as the limit of a call: https://docs.aws.amazon.com/firehose/latest/dev/limits.html
MAX_RECORD_BYTES: Final = 1_000 * 2**10
# The longest wait for a response; most come within 100 ms.
READ_SECONDS: Final = 10.0
# A call that has less time than this is not made.
LEAST_SECONDS: Final = 0.1

Put: TypeAlias = Callable[[Sequence[bytes], int, float], CallResult]
"""Makes one call: a batch, the number of the try from 1, and the seconds that it may take."""


@dataclass(frozen=True, slots=True)
class Firehose:
    """A stream to deliver to. Its rate limiter outlives a delivery; clock and sleep are in seconds."""

    stream: str
    put: Put
    concurrency: int = 8
    limiter: RateLimiter = field(default_factory=RateLimiter)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def open_firehose(stream: str, region: str, env: Mapping[str, str], concurrency: int) -> Firehose:
    """Return a stream in AWS, or at the environment's endpoint. Nothing is sent yet. Raises LmdpError."""
    connection = connect("firehose", region, env, pool=concurrency)

    def put(batch: Sequence[bytes], attempt: int, seconds: float) -> CallResult:
        try:
            response = post(connection, TARGET, request_body(stream, batch), seconds)
        except BotoCoreError as error:
            return no_response(batch, error, attempt)
        return from_response(batch, response, attempt)

    return Firehose(stream, put, concurrency)


def deliver(firehose: Firehose, rows: Sequence[bytes], deadline: float) -> Delivery:
    """Deliver every row before `deadline` (of the stream's clock), or raise DeliveryError."""
    start = firehose.clock()
    done = Delivery(len(rows))
    pending: Sequence[bytes] = rows
    attempt, code = 0, ""
    while pending:
        attempt += 1
        results = _send(firehose, pending, attempt, deadline)
        pending = [row for result in results for row in result.refused]
        done = replace(_add(done, results, attempt), seconds=firehose.clock() - start)
        if pending:
            refusals = (result for result in results if result.refused)
            fault = max(refusals, key=lambda refusal: (refusal.permanent, refusal.sent))
            # Firehose's last code is worth more than that the next call was not made.
            code = fault.code if fault.sent or not code else code
            left = deadline - firehose.clock()
            if fault.permanent or left < 2 * LEAST_SECONDS or not fault.sent:
                # All rows that are, or may be, stored are sent again with the batch.
                given_up = replace(done, repeats=done.repeats + done.accepted)
                raise _not_delivered(firehose.stream, given_up, code, retryable=not fault.permanent)
            # However long the back-off is by now, the time that is left is for trying.
            firehose.sleep(min(fault.delay, left / 2))
    return done


def _add(done: Delivery, results: Sequence[CallResult], attempt: int) -> Delivery:
    again = sum(result.accepted + len(result.refused) for result in results if result.sent and attempt > 1)
    return replace(
        done,
        accepted=done.accepted + sum(result.accepted for result in results),
        calls=done.calls + sum(result.sent for result in results),
        throttled=done.throttled + sum(result.throttled for result in results),
        retried=done.retried + again,
        repeats=done.repeats + sum(len(result.refused) for result in results if result.unsure),
    )


def _send(firehose: Firehose, rows: Sequence[bytes], attempt: int, deadline: float) -> list[CallResult]:
    """Send every row once, several batches at a time."""
    stop = threading.Event()
    call = partial(_call, firehose, attempt=attempt, deadline=deadline, stop=stop)
    batches = list(split(rows))
    if len(batches) == 1 or firehose.concurrency == 1:
        return [call(batch) for batch in batches]
    with ThreadPoolExecutor(min(firehose.concurrency, len(batches))) as pool:
        return list(pool.map(call, batches))


def _call(
    firehose: Firehose, batch: Sequence[bytes], *, attempt: int, deadline: float, stop: threading.Event
) -> CallResult:
    now = firehose.clock()
    start = None if stop.is_set() else firehose.limiter.acquire(now, deadline - LEAST_SECONDS)
    if start is None:
        return not_sent(batch)
    if start > now:
        firehose.sleep(start - now)
    left = deadline - start
    try:
        # The socket has the same time-out: it ends by itself first, with a clearer error.
        result = with_deadline(left + LEAST_SECONDS, partial(firehose.put, batch, attempt, min(left, READ_SECONDS)))
    except DeadlineError as error:
        result = no_response(batch, error, attempt)
    if result.throttled:
        firehose.limiter.throttled(start)
    elif result.accepted:
        firehose.limiter.succeeded()
    if result.permanent:
        stop.set()
    return result


def split(rows: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield batches that are each as large as one call may be, rows in their order; none is empty.

    Raises ValueError for a row that no call can carry.
    """
    batch: list[bytes] = []
    size = 0
    for row in rows:
        if not 0 < len(row) <= MAX_RECORD_BYTES:
            raise ValueError(f"a record has 1 to {MAX_RECORD_BYTES:,} bytes; this row has {len(row):,}")
        if len(batch) == MAX_RECORDS or size + len(row) > MAX_CALL_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row)
    if batch:
        yield batch


def request_body(stream: str, batch: Sequence[bytes]) -> bytes:
    """Return the JSON of one call, of at least one row, written without a JSON encoder: base64 needs no escaping."""
    records = list(map(b64encode, batch))
    # Head and end are joined with the rest, so that megabytes are copied once.
    records[0] = b'{"DeliveryStreamName":' + msgspec.json.encode(stream) + b',"Records":[{"Data":"' + records[0]
    records[-1] += b'"}]}'
    return b'"},{"Data":"'.join(records)


def _not_delivered(stream: str, delivered: Delivery, code: str, *, retryable: bool) -> DeliveryError:
    reason = f"refused until the time was over ({code})" if retryable else f"refused: {code}"
    text = (
        f"Firehose stream {stream}: {delivered.refused:,} of {delivered.rows:,} rows were {reason}. "
        f"The whole batch counts as not delivered and has to be sent again; {delivered.accepted:,} rows will then "
        f"be stored twice, which METRICS hides. {_hint(code, retryable=retryable)}"
    )
    return DeliveryError(text, code, delivered, retryable=retryable)


def _hint(code: str, *, retryable: bool) -> str:
    if code in _HINTS or not retryable:
        return _HINTS.get(code, _LOOK_UP)
    return _NETWORK if code.endswith(("Error", "Answer")) else _BUSY


_BUSY: Final = "Check ThrottledRecords and the stream's quota."
_NETWORK: Final = (
    "Check the network path to Firehose: name resolution, proxy, and port 443 (route, security group, endpoint)."
)
_LOOK_UP: Final = "Look up the code in the API reference of PutRecordBatch and fix the cause; the next try succeeds."
_HINTS: Final[Mapping[str, str]] = {
    "ResourceNotFoundException": "The stream does not exist: check LMDP_DELIVERY_STREAM.",
    "AccessDeniedException": "The function's role has to allow firehose:PutRecordBatch on the stream.",
    "InvalidKMSResourceException": "The stream's KMS key is disabled or not allowed to the stream.",
    "ExpiredTokenException": "The credentials expired. Lambda renews them automatically; elsewhere, sign in again.",
    "CredentialRetrievalError": "The credentials expired and could not be renewed: check their source.",
    "InvalidSignatureException": "The clock of this machine is wrong, or the secret key is.",
}
