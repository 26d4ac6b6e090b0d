"""Rejects to the error bucket, before anything is delivered: a reject is data too.

What cannot be written raises, and the pipe sends the batch again: the same objects are then written again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from lmdp.errors import Unreachable
from lmdp.reject_files import RejectFile, reject_files
from lmdp.rejects import Reject

WriteRejects: TypeAlias = Callable[[Sequence[Reject], int], int]
"""Takes rejects and the time in ms, and says how many objects were written."""

# A page of one object may take this long; boto3 repeats a call itself.
_SECONDS: Final = 10


class RejectsNotWritten(Unreachable):
    """The error bucket did not take an object."""


def reject_bucket(bucket: str, prefix: str, kms_key: str | None, client: Callable[[], Any]) -> WriteRejects:
    """A place for rejects. `client` makes the S3 client, which takes long: only when there is something to write."""
    made: list[Any] = []

    def write(rejects: Sequence[Reject], now_ms: int) -> int:
        if not rejects:
            return 0
        if not made:
            made.append(client())
        files = list(reject_files(rejects, now_ms))
        for file in files:
            try:
                made[0].put_object(**put_object(bucket, prefix, kms_key, file))
            except (BotoCoreError, ClientError) as error:
                raise RejectsNotWritten(
                    f"s3://{bucket}/{prefix}: {len(rejects):,} rejects could not be written ({_name(error)}). "
                    "Nothing of their batch was delivered; it is sent again. Check that the bucket and its key are "
                    "there, and that the function's role allows s3:PutObject, kms:GenerateDataKey and kms:Decrypt."
                ) from None
        return len(files)

    return write


def put_object(bucket: str, prefix: str, kms_key: str | None, file: RejectFile) -> dict[str, Any]:
    """The parameters of the call that writes `file`. Without a key of its own, the bucket's default key is taken.

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


def s3_client(region: str) -> Any:
    """boto3's S3 client, without boto3's own layer."""
    from botocore.config import Config  # noqa: PLC0415 - most invocations have no rejects
    from botocore.session import Session  # noqa: PLC0415 - as above

    config = Config(
        retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=_SECONDS, read_timeout=_SECONDS
    )
    return Session().create_client("s3", region_name=region, config=config)


def _name(error: BotoCoreError | ClientError) -> str:
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else type(error).__name__
