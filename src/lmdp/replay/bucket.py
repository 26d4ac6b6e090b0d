"""Rejects and failed records in S3: every object below a prefix, which is taken for a folder."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lmdp.cloud.reject_sink import error_code, reject_bucket, s3_client
from lmdp.core.rejects import Reject
from lmdp.errors import SettingsError, UnreachableError, UnreadableObjectError, translating
from lmdp.replay.sinks import profile_region
from lmdp.replay.stores import Stored, is_replayed
from lmdp.snowflake.streaming.parallel import in_parallel
from lmdp.support.failed_records import LARGEST, REPLAYED
from lmdp.support.reject_files import RejectPlace

_URL: Final = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>.*))?", re.DOTALL)
_WRITE_SECONDS: Final = 60.0  # for the rejects of one batch, which is tried again after that
# Another version is there by now, or one is being written.
_CHANGED: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "NoSuchKey", "404"})


@dataclass(frozen=True, slots=True)
class Bucket:
    """The objects of `bucket` below `prefix`, which is empty or ends with a slash. `client` is botocore's, for S3."""

    client: Any
    bucket: str
    prefix: str

    @property
    def where(self) -> str:
        """The prefix as a URL."""
        return f"s3://{self.bucket}/{self.prefix}"

    def names(self) -> list[str]:
        """Objects that were not replayed yet."""
        return [name for name in self._below(self.prefix) if not is_replayed(name)]

    def replayed(self) -> list[str]:
        """Objects that were."""
        return self._below(f"{self.prefix}{REPLAYED}/")

    def read(self, name: str) -> Stored:
        """Read an object."""
        with self._translated(name):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            except self.client.exceptions.NoSuchKey:
                raise UnreadableObjectError("it was removed in the meantime") from None
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] > LARGEST:
                    raise UnreadableObjectError(f"it has more than {LARGEST // 2**20} MiB")
                return Stored(body.read(), (answer["ETag"], _encryption(answer)))

    def archive(self, name: str, stored: Stored, to: str, left: bytes | None) -> bool:
        """Copy it, then write what is left in its place, or delete it; each only if it still is what was read.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
        """
        assert isinstance(stored.version, tuple)
        etag, encryption = stored.version
        place = {"Bucket": self.bucket, "Key": self.prefix + name}
        other = {"Bucket": self.bucket, "Key": self.prefix + to, **encryption}
        with self._translated(name):
            try:
                self.client.copy_object(**other, CopySource=place, CopySourceIfMatch=etag)
                if left is None:
                    self.client.delete_object(**place, IfMatch=etag)
                else:
                    self.client.put_object(**place, **encryption, Body=left, IfMatch=etag)
            except ClientError as error:
                if error_code(error) not in _CHANGED:
                    raise
                self.client.put_object(**other, Body=stored.content)
                return False
        return True

    def _below(self, prefix: str) -> list[str]:
        with self._translated(""):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            entries = (entry for page in pages for entry in page.get("Contents", []))
            return [entry["Key"].removeprefix(self.prefix) for entry in entries if entry["Size"]]

    def _translated(self, name: str) -> AbstractContextManager[None]:
        def unreachable(error: Exception) -> UnreachableError:
            what = error_code(error)
            return UnreachableError(
                f"{self.where}{name} could not be read or moved ({what}). All that was replayed before it is complete. "
                "It needs s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there, and the key's "
                "kms:Decrypt and kms:GenerateDataKey. Then run the same command again: it resumes here."
            )

        return translating({BotoCoreError: unreachable, ClientError: unreachable})


def open_bucket(url: str, region: str | None) -> Bucket:
    """The objects below `s3://bucket/prefix`; `region` is the profile's where it is None. Nothing is asked yet.

    Raises SettingsError when that is no such URL.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise SettingsError(f"{url} is not s3://bucket/prefix.")
    prefix = (match["prefix"] or "").rstrip("/")
    if REPLAYED in prefix.split("/"):
        raise SettingsError(f"{url} holds what was replayed before. To send some of it again, copy it elsewhere first.")

    return Bucket(s3_client(region or profile_region() or "us-east-1"), match["bucket"], f"{prefix}/" if prefix else "")


def reject_place(url: str, region: str | None) -> RejectPlace:
    """Return `s3://bucket/prefix` as the place of a run's rejects, under the bucket's own key. Raises SettingsError."""
    place = open_bucket(url, region)
    write = reject_bucket(place.bucket, place.prefix, None, lambda: place.client)

    def write_or_end(rejects: Sequence[Reject], now_ms: int, stop: Event) -> None:
        in_parallel([partial(write, rejects, now_ms, _WRITE_SECONDS)], stop)

    return RejectPlace(place.where, write_or_end)


def _encryption(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the object's encryption, for its copy."""
    names = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled")
    return {name: answer[name] for name in names if answer.get(name)}
