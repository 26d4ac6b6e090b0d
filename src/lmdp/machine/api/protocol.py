"""Protocol of the run's API and of its page: the socket's path, the request for a query, limits and status codes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Annotated, Final

import msgspec

from lmdp.errors import ApiError

WRONG_WAREHOUSE: Final = 421
"""Status of an answer: the run has another file open."""

ALREADY_REPLAYED: Final = 409
"""Status of an answer: what is replayed was replayed before, or is other by now."""

ARROW: Final = "application/vnd.apache.arrow.stream"
CSV: Final = "text/csv"
JSON: Final = "application/json"

MAX_ROWS: Final = 1_000_000
MAX_SECONDS: Final = 3_600
MAX_QUERY: Final = 1_000_000
"""Bytes of a query's request."""
LARGEST_REPLAY: Final = 128 * 2**20
"""Bytes of an object that is replayed in a run; Firehose buffers no more, and the run holds it in memory."""

_LONGEST_PATH = 100  # sun_path has 108 bytes on Linux, 104 on macOS


class Query(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """One SELECT, its limits, and the file that it is for (None: the one that the run has open)."""

    sql: str
    limit_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 10_000
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=MAX_SECONDS)] = 30.0
    warehouse: str | None = None

    @classmethod
    def parse(cls, body: bytes) -> Query:
        """Parse a request's body. Raises ApiError."""
        try:
            return msgspec.json.decode(body, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ApiError(
                400, f"a query is {{sql, limitRows, timeoutSeconds}}: {error}", 'POST {"sql": "select 1"}'
            ) from error


def socket_path(home: Path) -> Path:
    """Return the path of the socket of `home`: in that folder, or in the temporary one where the path is too long."""
    path = home.absolute() / "run.sock"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return path
    return Path(tempfile.gettempdir()) / f"lmdp-{os.getuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}.sock"
