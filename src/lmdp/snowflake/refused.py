"""Rows that Snowflake accepted from the direct writer and then refused: a table of its own has them, by ERROR_LOGGING.

https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-error-logging
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lmdp.snowflake.verify import Installation, refused_table
from lmdp.support.atomic_files import write_whole
from lmdp.support.failed_records import FailedRecord, read, unpacked
from lmdp.support.reject_files import SUFFIX

_MOST: Final = 100_000  # rows of a call; one has a megabyte at most, and some hundred bytes mostly


def refused_rows(scope: Installation) -> Iterator[dict[str, Any]]:
    """Yield the oldest of these rows as failed records, which `lmdp replay` reads. Raises LmdpError."""
    found = scope.ask(
        "SELECT TIMESTAMP AS AT, ERROR_CODE AS CODE, ERROR_METADATA:error_message::STRING AS REASON,"  # noqa: S608 - checked names
        " ERROR_METADATA:details:error_data_content_type::STRING AS KIND,"
        f' ERROR_DATA:"$1"::STRING AS PAYLOAD FROM {refused_table(scope)} ORDER BY TIMESTAMP LIMIT {_MOST}'
    )
    for row in found:
        payload = str(row["payload"])
        raw = payload if row["kind"] == "binary-base64" else base64.b64encode(payload.encode()).decode()
        at = int(row["at"].timestamp() * 1000) if isinstance(row["at"], datetime) else 0
        yield {
            "errorCode": f"Snowflake.{row['code']}", "errorMessage": row["reason"], "attemptsMade": 1,
            "arrivalTimestamp": at, "attemptEndingTimestamp": at, "rawData": raw,
        }  # fmt: skip


def fetch_refused(scope: Installation, folder: Path) -> int:
    """Write the rows that `folder` does not have yet to a file in it; return their number. Raises LmdpError."""
    known = {
        piece.raw
        for path in folder.rglob(f"*{SUFFIX}")
        for piece in read(unpacked(path.read_bytes()))
        if isinstance(piece, FailedRecord)
    }
    new = [record for record in refused_rows(scope) if base64.b64decode(record["rawData"]) not in known]
    if new:
        content = b"".join(json.dumps(record).encode() + b"\n" for record in new)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(
            folder / f"refused-{hashlib.sha256(content).hexdigest()[:16]}{SUFFIX}", gzip.compress(content, mtime=0)
        )
    return len(new)
