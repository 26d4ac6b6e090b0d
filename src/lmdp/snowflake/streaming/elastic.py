"""Elastic mode: rows to a pipe without a channel of one's own. 200 is durable; at least once, in no order.

For a function that has no state from one batch to the next. Retrying after an answer that was lost repeats rows, and
they are counted.
https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-rest-api
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import zstandard

from lmdp.errors import ChannelInvalidError, Delivery, DeliveryError, LmdpError, UnreachableError
from lmdp.snowflake.streaming.channel import LEVEL
from lmdp.snowflake.streaming.requests import Rows, cut
from lmdp.snowflake.streaming.session import Call, PipeName, Session
from lmdp.snowflake.streaming.token import Position


def post(session: Session, place: PipeName, lines: Sequence[bytes], seconds: float) -> Delivery:
    """Send rows, a JSON object each, within `seconds`.

    Raises DeliveryError, with the counts, when not all were accepted: `retryable` unless Snowflake refused for good.
    """
    begun = time.monotonic()
    ends, done, press = begun + seconds, Delivery(len(lines)), zstandard.ZstdCompressor(level=LEVEL)
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "zstd"}
    for append in cut([Rows(0, lines)], Position(0)):
        path = f"{place.path(data=True)}/channels/ELASTIC/rows"
        call = Call("POST", path, {}, press.compress(append.body), headers, ends=ends)
        try:
            session.call(call)
        except (LmdpError, ChannelInvalidError) as error:
            is_retryable = isinstance(error, UnreachableError | ChannelInvalidError)
            done.repeats += done.accepted  # all of them are sent again with the batch
            raise DeliveryError(
                f"Snowflake accepted {done.accepted:,} of {done.rows:,} rows: {error}",
                type(error).__name__, done, retryable=is_retryable,
            ) from error  # fmt: skip
        finally:
            done.calls += call.tries
            done.throttled += call.throttled
            done.retried += append.rows * max(call.tries - 1, 0)
            done.repeats += append.rows * call.doubts
            done.seconds = time.monotonic() - begun
        done.accepted += append.rows
    return done
