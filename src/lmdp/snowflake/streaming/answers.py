"""Answers of Snowpipe Streaming's REST API, and what each error asks for: one table.

The documents describe JSON; the service also sends plain text, and errors as bare JSON strings. All three are read.
https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-error-handling
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{3,80}")
_WORDS: Final = 200  # characters of an answer without a code that are worth showing

STALE: Final = "STALE_CONTINUATION_TOKEN_SEQUENCER"
UNCOMMITTED: Final = "ERR_CHANNEL_HAS_UNCOMMITTED_DATA"
IN_PROGRESS: Final = "ERR_OPEN_CHANNEL_IN_PROGRESS"
FAILED_OVER: Final = "ERR_PIPE_FAILED_OVER"


class Decision(Enum):
    """The action for an error."""

    RETRY = auto()  # the same request again, after a moment
    WAIT = auto()  # the same request again; what it waits for can take half a minute
    RENEW = auto()  # sign in again, at the host that is right now, then the same request
    REOPEN = auto()  # the channel has to be opened again, and continues from its committed token
    STOP = auto()  # no retry can help before somebody changes something


DECISIONS: Final[tuple[tuple[int, str, Decision], ...]] = (
    # status (0: any), code ("": any), decision; the first line that fits decides
    (0, STALE, Decision.REOPEN),
    (0, UNCOMMITTED, Decision.WAIT),
    (0, IN_PROGRESS, Decision.WAIT),
    (0, FAILED_OVER, Decision.RENEW),
    (0, "STALE_PIPE_CACHE", Decision.REOPEN),
    (0, "ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED", Decision.REOPEN),
    (0, "ERR_CHANNEL_MUST_BE_REOPENED", Decision.REOPEN),
    (0, "ERR_CHANNEL_MUST_BE_REOPENED_DUE_TO_ROW_SEQ_GAP", Decision.REOPEN),
    (0, "ERR_CHANNEL_HAS_INVALID_ROW_SEQUENCER", Decision.REOPEN),
    (0, "ERR_CHANNEL_HAS_INVALID_CLIENT_SEQUENCER", Decision.REOPEN),
    (0, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED", Decision.STOP),
    (0, "ERR_TABLE_DOES_NOT_EXIST_NOT_AUTHORIZED", Decision.STOP),
    (401, "", Decision.RENEW),
    (403, "", Decision.RENEW),
    (404, "", Decision.STOP),
    (408, "", Decision.RETRY),
    (409, "", Decision.REOPEN),
    (410, "", Decision.RENEW),
    (429, "", Decision.RETRY),
    (500, "", Decision.RETRY),
    (502, "", Decision.RETRY),
    (503, "", Decision.RETRY),
    (504, "", Decision.RETRY),
)

OPEN_CODES: Final = frozenset({"SUCCESS", "ACTIVE", ""})
"""Codes in a channel's status under which it takes rows."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer: its status, and its code where it has one. `text` is for people, and has no row in it."""

    status: int
    code: str
    text: str

    def decision(self) -> Decision:
        """Return what to do about it; what is not known is not tried again."""
        for status, code, decision in DECISIONS:
            if status in (0, self.status) and code in ("", self.code):
                return decision
        return Decision.RETRY if self.status >= 500 else Decision.STOP

    def __str__(self) -> str:
        """Return it for a message."""
        return f"HTTP {self.status} {self.code or self.text}".rstrip()


def refusal(status: int, body: bytes) -> Refusal:
    """Read an error answer: JSON with a code, a bare JSON string, or plain text.

    A JSON answer's message may repeat what was sent, and is left out.
    """
    text = body.decode(errors="replace").strip()
    found = _json(text)
    if isinstance(found, dict):
        code = str(found.get("code") or "")
        return Refusal(status, code if _CODE.fullmatch(code) else "", "")
    words = found if isinstance(found, str) else text
    match = _CODE.search(words)
    return Refusal(status, match[0] if match else "", "" if words.startswith(("{", "[")) else words[:_WORDS])


def text_of(body: bytes, field: str) -> str:
    """Return an answer that is one text: plain, a JSON string, or the field of a JSON object; "" for anything else."""
    text = body.decode(errors="replace").strip()
    found = _json(text)
    if isinstance(found, dict):
        return str(found.get(field) or "")
    return found if isinstance(found, str) else text


def object_of(body: bytes) -> dict[str, Any]:
    """Return an answer that is a JSON object; raises ValueError for any other."""
    found = json.loads(body)
    if not isinstance(found, dict):
        raise TypeError("the answer is no JSON object")
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
