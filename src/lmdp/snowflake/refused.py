"""Rows that Snowflake accepted from the direct writer and then refused: a table of its own has them, by ERROR_LOGGING.

https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-error-logging
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lmdp.snowflake.connection import each
from lmdp.snowflake.verify import Installation, writer_errors
from lmdp.support.atomic_files import write_whole
from lmdp.support.failed_records import FailedRecord, failed, read, unpacked
from lmdp.support.reject_files import SUFFIX

_FILE_BYTES: Final = 32 * 2**20
"""Bytes of a file, before compression; memory holds one file's rows."""


def refused_rows(scope: Installation) -> Iterator[dict[str, Any]]:
    """Yield these rows as failed records, which `lmdp replay` reads. Raises LmdpError.

    One statement reads them all: pages would repeat or skip rows while the writer adds some, since the column
    TIMESTAMP has many rows of the same time, and no other column orders them.
    """
    found = each(
        scope.connection,
        "SELECT TIMESTAMP AS AT, ERROR_CODE AS CODE, ERROR_METADATA:error_message::STRING AS REASON,"  # noqa: S608 - checked names
        " ERROR_METADATA:details:error_data_content_type::STRING AS KIND,"
        f' ERROR_DATA:"$1"::STRING AS PAYLOAD FROM {writer_errors(scope)}',
    )
    for row in found:
        payload = str(row["payload"])
        raw = payload if row["kind"] == "binary-base64" else base64.b64encode(payload.encode()).decode()
        at = int(row["at"].timestamp() * 1000) if isinstance(row["at"], datetime) else 0
        yield {
            "errorCode": f"Snowflake.{row['code']}", "errorMessage": row["reason"], "attemptsMade": 1,
            "arrivalTimestamp": at, "attemptEndingTimestamp": at, "rawData": raw,
        }  # fmt: skip


def fetch_refused(scope: Installation, folder: Path, file_bytes: int = _FILE_BYTES) -> int:
    """Write the rows that `folder` does not have yet to files in it; return their number. Raises LmdpError."""
    known = {
        piece.copy_of
        for path in folder.rglob(f"*{SUFFIX}")
        for piece in read(unpacked(path.read_bytes()))
        if isinstance(piece, FailedRecord)
    }
    found = ((record, failed(record)) for record in refused_rows(scope))
    new = (record for record, row in found if row is None or row.copy_of not in known)
    lines: list[bytes] = []
    count = size = 0
    for record in new:
        lines.append(json.dumps(record).encode() + b"\n")
        count, size = count + 1, size + len(lines[-1])
        if size >= file_bytes:
            _write(folder, lines)
            lines, size = [], 0
    if lines:
        _write(folder, lines)
    return count


def _write(folder: Path, lines: Iterable[bytes]) -> None:
    content = b"".join(lines)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"refused-{hashlib.sha256(content).hexdigest()[:16]}{SUFFIX}", gzip.compress(content, mtime=0))
