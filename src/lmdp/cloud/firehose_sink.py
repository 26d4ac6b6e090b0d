"""Rows to a Firehose stream: in calls as large as allowed, several at a time, until every row is in.

Rows that a call refused go again, and nothing else does. What cannot be delivered raises, so that the pipe sends the
whole batch again: then what was accepted before is there twice, which is why this gives up only when its time is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias

from botocore.exceptions import BotoCoreError

from lmdp.cloud import firehose_response
from lmdp.cloud.aws_client import connect, post
from lmdp.cloud.batches import body, cut
from lmdp.cloud.deadline import within
from lmdp.cloud.firehose_response import Verdict
from lmdp.cloud.rate_limiter import Pace
from lmdp.errors import DeadlineError, DeliveryError

TARGET: Final = "Firehose_20150804.PutRecordBatch"
# The slowest answer that is waited for; most come within 100 ms.
READ_SECONDS: Final = 10.0
# A call that has less time than this is not begun.
LEAST_SECONDS: Final = 0.1

Put: TypeAlias = Callable[[Sequence[bytes], int, float], Verdict]
"""One call: a batch, the number of the try from 1, and the seconds that it may take."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of `rows` rows: accepted + refused = rows.

    `calls` were made, `throttled` of them told to slow down; `retried` counts rows sent again, `repeats` rows that are
    probably there twice; `seconds` is the time that it took.
    """

    rows: int
    accepted: int
    refused: int = 0
    calls: int = 0
    throttled: int = 0
    retried: int = 0
    repeats: int = 0
    seconds: float = 0.0


def _not_delivered(stream: str, delivered: Delivered, code: str, *, retryable: bool) -> DeliveryError:
    reason = f"refused until the time was over ({code})" if retryable else f"refused: {code}"
    text = (
        f"Firehose stream {stream}: {delivered.refused:,} of {delivered.rows:,} rows were {reason}. "
        f"The whole batch counts as not delivered and has to be sent again; {delivered.accepted:,} rows will then "
        f"be there twice, which METRICS hides. {_hint(code, retryable=retryable)}"
    )
    return DeliveryError(text, code, delivered, retryable=retryable)


def _hint(code: str, *, retryable: bool) -> str:
    if code in _HINTS or not retryable:
        return _HINTS.get(code, _LOOK)
    return _NO_WAY if code.endswith(("Error", "Answer")) else _BUSY


_BUSY: Final = "Look at ThrottledRecords and the stream's quota."
_NO_WAY: Final = "Look at the way to Firehose: name resolution, proxy, and port 443 (route, security group, endpoint)."
_LOOK: Final = "Look up the code in the API reference of PutRecordBatch, mend it, and the next try goes through."
_HINTS: Final[Mapping[str, str]] = {
    "ResourceNotFoundException": "The stream does not exist: check LMDP_DELIVERY_STREAM.",
    "AccessDeniedException": "The function's role has to allow firehose:PutRecordBatch on the stream.",
    "InvalidKMSResourceException": "The stream's KMS key is disabled or not allowed to the stream.",
    "ExpiredTokenException": "The credentials have ended: Lambda brings new ones by itself; elsewhere, sign in again.",
    "CredentialRetrievalError": "The credentials have ended and could not be renewed: look at what gives them.",
    "InvalidSignatureException": "The clock of this machine is wrong, or the secret key is.",
}


@dataclass(frozen=True, slots=True)
class Firehose:
    """A stream to deliver to. Its pace outlives a delivery; clock and sleep are in seconds."""

    stream: str
    put: Put
    concurrency: int = 8
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def open_firehose(stream: str, region: str, env: Mapping[str, str], concurrency: int) -> Firehose:
    """A stream in AWS, or where the environment's endpoint points. Nothing is sent yet. Raises LmdpError."""
    connection = connect("firehose", region, env, pool=concurrency)

    def put(batch: Sequence[bytes], attempt: int, seconds: float) -> Verdict:
        try:
            answer = post(connection, TARGET, body(stream, batch), seconds)
        except BotoCoreError as error:
            return firehose_response.of_silence(batch, error, attempt)
        return firehose_response.of_answer(batch, answer, attempt)

    return Firehose(stream, put, concurrency)


def deliver(firehose: Firehose, rows: Sequence[bytes], deadline: float) -> Delivered:
    """Deliver every row before `deadline` (of the stream's clock), or raise DeliveryError."""
    begun = firehose.clock()
    done = Delivered(len(rows), accepted=0, refused=len(rows))
    pending: Sequence[bytes] = rows
    attempt, code = 0, ""
    while pending:
        attempt += 1
        outcomes = _round(firehose, pending, attempt, deadline)
        pending = [row for outcome in outcomes for row in outcome.refused]
        done = replace(_add(done, outcomes, attempt), refused=len(pending), seconds=firehose.clock() - begun)
        if pending:
            refusals = (outcome for outcome in outcomes if outcome.refused)
            fault = max(refusals, key=lambda refusal: (refusal.permanent, refusal.sent))
            # What Firehose said last is worth more than that the next call was not begun.
            code = fault.code if fault.sent or not code else code
            left = deadline - firehose.clock()
            if fault.permanent or left < 2 * LEAST_SECONDS or not fault.sent:
                # What is in, and what may be, comes again with the batch.
                given_up = replace(done, repeats=done.repeats + done.accepted)
                raise _not_delivered(firehose.stream, given_up, code, retryable=not fault.permanent)
            # However long the back-off is by now, the time that is left is for trying.
            firehose.sleep(min(fault.delay, left / 2))
    return done


def _add(done: Delivered, outcomes: Sequence[Verdict], attempt: int) -> Delivered:
    again = sum(outcome.accepted + len(outcome.refused) for outcome in outcomes if outcome.sent and attempt > 1)
    return replace(
        done,
        accepted=done.accepted + sum(outcome.accepted for outcome in outcomes),
        calls=done.calls + sum(outcome.sent for outcome in outcomes),
        throttled=done.throttled + sum(outcome.throttled for outcome in outcomes),
        retried=done.retried + again,
        repeats=done.repeats + sum(len(outcome.refused) for outcome in outcomes if outcome.unsure),
    )


def _round(firehose: Firehose, rows: Sequence[bytes], attempt: int, deadline: float) -> list[Verdict]:
    """Send every row once, several batches at a time."""
    stop = threading.Event()
    once = partial(_once, firehose, attempt=attempt, deadline=deadline, stop=stop)
    batches = list(cut(rows))
    if len(batches) == 1 or firehose.concurrency == 1:
        return [once(batch) for batch in batches]
    with ThreadPoolExecutor(min(firehose.concurrency, len(batches))) as pool:
        return list(pool.map(once, batches))


def _once(
    firehose: Firehose, batch: Sequence[bytes], *, attempt: int, deadline: float, stop: threading.Event
) -> Verdict:
    now = firehose.clock()
    start = None if stop.is_set() else firehose.pace.turn(now, deadline - LEAST_SECONDS)
    if start is None:
        return firehose_response.not_sent(batch)
    if start > now:
        firehose.sleep(start - now)
    left = deadline - start
    try:
        # A socket that was told the same time ends by itself, and with a better word.
        verdict = within(left + LEAST_SECONDS, partial(firehose.put, batch, attempt, min(left, READ_SECONDS)))
    except DeadlineError as error:
        verdict = firehose_response.of_silence(batch, error, attempt)
    if verdict.throttled:
        firehose.pace.throttled(start)
    elif verdict.accepted:
        firehose.pace.clean()
    if verdict.permanent:
        stop.set()
    return verdict
