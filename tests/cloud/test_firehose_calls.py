"""Calls of PutRecordBatch are as large as allowed, and never larger."""

from __future__ import annotations

import json
from base64 import b64decode

import pytest

from lmdp.cloud.firehose_sink import MAX_CALL_BYTES, MAX_RECORD_BYTES, request_body, split

MIB = 2**20


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([], []),
        ([1] * 500, [500]),
        ([1] * 501, [500, 1]),
        ([MIB - 30_000] * 4, [4]),
        ([1_000_000] * 5, [4, 1]),  # five are 5,000,000 bytes, and 4 MiB are 4,194,304
        ([MAX_RECORD_BYTES] * 4 + [MAX_CALL_BYTES - 4 * MAX_RECORD_BYTES], [5]),
        ([MAX_RECORD_BYTES] * 4 + [MAX_CALL_BYTES - 4 * MAX_RECORD_BYTES + 1], [4, 1]),
    ],
)
def test_split_at_both_limits(sizes: list[int], batches: list[int]) -> None:
    """A call has 500 records and 4 MiB before base64 at most, and as much as fits."""
    rows = [b"x" * size for size in sizes]
    done = list(split(rows))
    assert [len(batch) for batch in done] == batches
    assert [row for batch in done for row in batch] == rows


@pytest.mark.parametrize("size", [0, MAX_RECORD_BYTES + 1])
def test_a_row_that_no_call_can_carry(size: int) -> None:
    """Such a row is refused before anything of its batch is sent."""
    with pytest.raises(ValueError, match="1 to 1,024,000 bytes"):
        list(split([b"x" * size]))


def test_body() -> None:
    """The body is the JSON that the API takes, whatever bytes a row has."""
    rows = [b'{"a":1}', '{"ä":"\\u0000"}'.encode(), bytes(range(256))]
    request = json.loads(request_body('a"b', rows))
    assert request["DeliveryStreamName"] == 'a"b'
    assert [b64decode(record["Data"]) for record in request["Records"]] == rows
