"""Rows cut into calls of `PutRecordBatch`, and a call's body.

Firehose counts a record's size, and a call's, before base64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from pybase64 import b64encode

# https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html
MAX_RECORDS: Final = 500
MAX_CALL_BYTES: Final = 4 * 2**20
# https://docs.aws.amazon.com/firehose/latest/dev/limits.html
MAX_RECORD_BYTES: Final = 1_000 * 2**10


def cut(rows: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Batches that are each as large as one call may be, rows in their order; none is empty.

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


def body(stream: str, batch: Sequence[bytes]) -> bytes:
    """The JSON of one call, of one row at least, written without a JSON encoder: base64 needs no escaping."""
    records = list(map(b64encode, batch))
    # Head and end are joined with the rest, so that megabytes are copied once.
    records[0] = b'{"DeliveryStreamName":' + msgspec.json.encode(stream) + b',"Records":[{"Data":"' + records[0]
    records[-1] += b'"}]}'
    return b'"},{"Data":"'.join(records)
