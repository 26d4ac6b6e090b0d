"""Named channels of a pipe: opened, appended to, and asked how far they are committed.

A channel's rows and its offset token are committed together. Opening one again fences whoever opened it before, and
returns the committed token. Rows that were accepted and not committed make that fail, unless they may be discarded.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import zstandard

from lmdp.errors import ChannelBusyError, ChannelInvalidError, UnreachableError
from lmdp.snowflake.streaming.answers import IN_PROGRESS, OPEN_CODES, UNCOMMITTED, object_of
from lmdp.snowflake.streaming.requests import Append
from lmdp.snowflake.streaming.session import Call, PipeName, Session
from lmdp.snowflake.streaming.token import OffsetToken, Position, parse

# https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-limitations
MAX_CHANNELS: Final = 2_000
"""Named channels of a pipe."""

REQUESTS_A_SECOND: Final = 10
"""Requests to a channel."""

BYTES_A_SECOND: Final = 20_000_000
"""Bytes to a channel, before compression."""

_Read = TypeVar("_Read")

LEVEL: Final = 1  # of zstd: 3 takes a quarter more time and gains 3 % (measured)


@dataclass(frozen=True, slots=True)
class Status:
    """A channel's status: its committed token, the rows that it took and refused in its life, and the last error."""

    token: OffsetToken | None
    code: str
    inserted: int
    refused: int
    error: str

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Status:
        """Read a status: the count of refused rows has one name at the opening, and another in bulk."""
        refused = answer.get("rows_errors")
        return cls(
            parse(answer.get("last_committed_offset_token")),
            str(answer.get("channel_status_code") or ""),
            int(answer.get("rows_inserted") or 0),
            int((answer.get("rows_error_count") if refused is None else refused) or 0),
            str(answer.get("last_error_message") or ""),
        )


class InFlight(NamedTuple):
    """Rows that are accepted and not committed yet: from `first` to `end`, how many bytes, and since when.

    A broker that lost its newest messages gives their offsets to others, with a higher `epoch`: it is compared first.
    """

    first: Position
    end: Position
    epoch: int
    size: int
    since: float

    def is_committed(self, token: OffsetToken | None) -> bool:
        """Return whether a committed token is behind them."""
        return token is not None and (self.epoch, self.end) <= (token.epoch, token.position)


@dataclass(slots=True)
class Channel:
    """An open channel: where it is, and what it has accepted and not committed yet."""

    name: str
    continuation: str
    position: Position
    status: Status
    epoch: int
    in_flight: deque[InFlight] = field(default_factory=deque)
    free_at: float = 0.0
    is_in_doubt: bool = False
    """An append may have been accepted without an answer."""

    def note(self, status: Status) -> str:
        """Take a newer status; return its code where the channel takes no more rows, else ""."""
        self.status = status
        while self.in_flight and self.in_flight[0].is_committed(status.token):
            self.in_flight.popleft()
        return "" if status.code in OPEN_CODES else status.code


class Channels:
    """The channels of one pipe, as one writer sees them. Different channels may be used by threads at a time."""

    def __init__(self, session: Session, place: PipeName, writer: str) -> None:
        self._session = session
        self._place = place
        self._writer = writer
        self._compressors = threading.local()

    def open(self, name: str, *, discard: bool) -> Channel:
        """Open a channel. Raises ChannelBusyError for rows that are not committed yet, unless they are to be discarded.

        Discarded rows are not in Snowflake, and the committed token is before them.
        """
        body = json.dumps({"fail_on_uncommitted_rows": not discard}).encode()
        path = f"{self._place.path()}/channels/{quote(name, safe='')}"
        call = Call("PUT", path, {}, body, {"Content-Type": "application/json"}, wait_seconds=0.0)
        try:
            return self._read(call, partial(_opened, name))
        except UnreachableError as error:
            if any(code in str(error) for code in (UNCOMMITTED, IN_PROGRESS)):
                raise ChannelBusyError(str(error)) from error
            raise

    def append(self, channel: Channel, append: Append) -> None:
        """Append rows, not faster than the channel's limits allow.

        Raises ChannelInvalidError when it has to be opened again, UnreachableError and LmdpError as a session does.
        """
        self._wait_for_rate(channel, len(append.body))
        end = OffsetToken(append.end, channel.epoch, self._writer)
        query = {
            "startOffsetToken": str(append.first.offset),
            "endOffsetToken": str(end),
            "continuationToken": channel.continuation,
        }
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "zstd"}
        path = f"{self._place.path(data=True)}/channels/{quote(channel.name, safe='')}/rows"
        call = Call("POST", path, query, self._compressed(append.body), headers, is_in_doubt=channel.is_in_doubt)
        try:
            channel.continuation = self._read(call, _continuation)
        finally:
            channel.is_in_doubt = call.is_in_doubt
        channel.is_in_doubt = False
        channel.position = append.end
        channel.in_flight.append(InFlight(append.first, append.end, channel.epoch, len(append.body), time.monotonic()))

    def statuses(self, names: Sequence[str]) -> dict[str, Status]:
        """Return the status of these channels; one that Snowflake does not know is left out."""
        body = json.dumps({"channel_names": list(names)}).encode()
        call = Call("POST", f"{self._place.path()}:bulk-channel-status", {}, body, {"Content-Type": "application/json"})
        return self._read(call, _statuses)

    def _read(self, call: Call, read: Callable[[dict[str, Any]], _Read]) -> _Read:
        """Send a request, and `read` the object that answers it; anything else may come after it was carried out."""
        answer = self._session.call(call)
        try:
            return read(object_of(answer))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            call.doubt()
            raise ChannelInvalidError(f"an answer that is not Snowflake's: {error!r}", is_in_doubt=True) from error

    def _compressed(self, body: bytes) -> bytes:
        if not hasattr(self._compressors, "zstd"):
            self._compressors.zstd = zstandard.ZstdCompressor(level=LEVEL)
        done: bytes = self._compressors.zstd.compress(body)
        return done

    def _wait_for_rate(self, channel: Channel, size: int) -> None:
        now = time.monotonic()
        if channel.free_at > now:
            self._session.stop.wait(channel.free_at - now)
            now = channel.free_at
        channel.free_at = now + max(1 / REQUESTS_A_SECOND, size / BYTES_A_SECOND)


def _opened(name: str, answer: dict[str, Any]) -> Channel:
    status = Status.of(answer.get("channel_status") or {})
    token = status.token or OffsetToken(Position(0))
    return Channel(name, _continuation(answer), token.position, status, token.epoch)


def _continuation(answer: dict[str, Any]) -> str:
    return str(answer["next_continuation_token"])


def _statuses(answer: dict[str, Any]) -> dict[str, Status]:
    return {name: Status.of(status) for name, status in (answer.get("channel_statuses") or {}).items()}
