"""Rejects to the error bucket, before anything is delivered: a reject is data too.

What cannot be written raises, and the pipe redelivers the batch: the same objects are then written again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from lmdp.cloud.aws_client import FailedCall, with_deadline
from lmdp.core.rejects import Reject
from lmdp.errors import RejectsNotWrittenError
from lmdp.support.reject_files import RejectFile, reject_files

WriteRejects: TypeAlias = Callable[[Sequence[Reject], int, float], int]
"""Writes rejects, given the time in ms and the seconds that are left; returns the number of objects."""

_CONNECT_SECONDS: Final = 3
_READ_SECONDS: Final = 10
# A try that has less time than this is not made.
_LEAST_SECONDS: Final = 0.1


def reject_bucket(bucket: str, prefix: str, kms_key: str | None, client: Callable[[], Any]) -> WriteRejects:
    """Return a writer of rejects. `client` makes the S3 client, which takes long: only when there are rejects."""
    made: list[Any] = []

    def put(file: RejectFile) -> None:
        if not made:
            made.append(client())
        made[0].put_object(**put_object(bucket, prefix, kms_key, file))

    def write(rejects: Sequence[Reject], now_ms: int, seconds: float) -> int:
        ends = time.monotonic() + seconds
        files = list(reject_files(rejects, now_ms))
        for file in files:
            try:
                _until(ends, partial(put, file))
            except (BotoCoreError, ClientError, TimeoutError) as error:
                raise RejectsNotWrittenError(
                    f"s3://{bucket}/{prefix}: {len(rejects):,} rejects could not be written ({error_code(error)}). "
                    "Nothing of their batch was delivered; it is sent again. Check that the bucket and its key "
                    "exist and are reachable, and that the role allows s3:PutObject, kms:GenerateDataKey and "
                    "kms:Decrypt."
                ) from None
        return len(files)

    return write


def _until(ends: float, put: Callable[[], None]) -> None:
    """Try until it succeeds; raises the last error when the time is over, or when no retry can help."""
    attempt = 0
    while True:
        attempt += 1
        try:
            return with_deadline(ends - time.monotonic(), put)
        except (BotoCoreError, ClientError, TimeoutError) as error:
            failure = _failed_call(error, attempt)
            left = ends - time.monotonic()
            if left < 2 * _LEAST_SECONDS or not failure.retryable():
                raise
            time.sleep(min(failure.delay(), left / 2))


def _failed_call(error: Exception, attempt: int) -> FailedCall:
    if not isinstance(error, ClientError):
        return FailedCall(attempt, error=error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return FailedCall(attempt, error_code(error), status, error)


def put_object(bucket: str, prefix: str, kms_key: str | None, file: RejectFile) -> dict[str, Any]:
    """Return the parameters of the call that writes `file`. Without `kms_key`, the bucket's default key is used.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    key = {"SSEKMSKeyId": kms_key} if kms_key else {}
    return {
        "Bucket": bucket,
        "Key": prefix + file.name,
        "Body": file.content,
        "ContentType": "application/gzip",
        "ServerSideEncryption": "aws:kms",
        "BucketKeyEnabled": True,
        **key,
    }


def s3_client(region: str, attempts: int = 4) -> Any:
    """Return boto3's S3 client, without boto3's own layer. `attempts`: how often it tries a call by itself."""
    from botocore.config import Config  # noqa: PLC0415 - most invocations have no rejects
    from botocore.session import Session  # noqa: PLC0415 - as above

    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
    )
    return Session().create_client("s3", region_name=region, config=config)


def error_code(error: Exception) -> str:
    """Return AWS's code of an error, or the kind of one without an answer."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else type(error).__name__
