"""Rejects in the error bucket."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from botocore.session import Session
from botocore.validate import ParamValidator
from chaos.proxy import Mode, Proxy, proxy_to

from cloud.names import BUCKET, REGION, SECRET
from lmdp import Reject
from lmdp.cloud.reject_sink import put_object, reject_bucket, s3_client
from lmdp.core.rejects import envelope
from lmdp.errors import RejectsNotWrittenError
from lmdp.support.reject_files import reject_files

NOW = 1_795_000_000_000
REJECTS = [
    Reject("Decode.Malformed", "why", b"row content", "t", partition, 5, 1_770_000_000_000, None)
    for partition in (0, 1)
]
KEYS = [f"rejects/year=2026/month=02/day=02/t-{partition}-5-5.03fb27bfbfa97a50.ndjson.gz" for partition in (0, 1)]


def test_written_and_written_again(bucket: Any) -> None:
    """Each partition has its object, encrypted with KMS; a second try overwrites it."""
    write = reject_bucket(BUCKET, "rejects/", None, partial(s3_client, REGION))
    assert [write(REJECTS, NOW, 30), write(REJECTS, NOW, 30)] == [2, 2]
    assert [entry["Key"] for entry in bucket.list_objects_v2(Bucket=BUCKET)["Contents"]] == KEYS
    found = bucket.get_object(Bucket=BUCKET, Key=KEYS[0])
    assert json.loads(gzip.decompress(found["Body"].read())) == envelope(REJECTS[0], NOW)
    assert found["ServerSideEncryption"] == "aws:kms"


def test_nothing_to_write_asks_for_no_client() -> None:
    """Most invocations have no rejects, and do not pay for a client."""

    def client() -> None:
        raise AssertionError

    assert reject_bucket(BUCKET, "rejects/", None, client)([], NOW, 30) == 0


@pytest.mark.parametrize("key", [None, "arn:aws:kms:eu-west-1:123456789012:key/0"])
def test_the_request_is_what_the_model_takes(key: str | None) -> None:
    """Botocore's model finds nothing wrong with the parameters; a key of one's own is named."""
    operation = Session().get_service_model("s3").operation_model("PutObject")
    for file in reject_files(REJECTS, NOW):
        params = put_object(BUCKET, "rejects/", key, file)
        assert not ParamValidator().validate(params, operation.input_shape).has_errors()
        assert params.get("SSEKMSKeyId") == key


@pytest.mark.usefixtures("bucket")
def test_what_cannot_be_written_raises() -> None:
    """A bucket that is not there stops the batch, in words without data or secrets."""
    write = reject_bucket("lmdp-no-such-bucket", "rejects/", None, partial(s3_client, REGION))
    with pytest.raises(RejectsNotWrittenError, match=r"2 rejects could not be written \(NoSuchBucket\)") as caught:
        write(REJECTS, NOW, 30)
    assert "row content" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.fixture
def network(bucket: Any, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What lies between the function and S3."""
    host, port = s3_url.split("//")[1].split(":")
    with proxy_to(host, int(port)) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{between.port}")
        yield between


@pytest.mark.parametrize("mode", ["silent", "garbage", "refuse"])
def test_an_s3_that_is_away_ends_in_time(mode: Mode, network: Proxy) -> None:
    """It is tried as long as there is time and not longer, and then it is told what became of the batch."""
    write = reject_bucket(BUCKET, "rejects/", None, partial(s3_client, REGION, attempts=1))
    assert write(REJECTS, NOW, 60) == 2
    network.become(mode)
    begun = time.monotonic()
    with pytest.raises(RejectsNotWrittenError, match="Nothing of their batch was delivered; it is sent again"):
        write(REJECTS, NOW, 1.0)
    assert time.monotonic() - begun < 8


def test_an_s3_that_comes_back_gets_them(network: Proxy, bucket: Any) -> None:
    """What was refused for a while is written as soon as it can be."""
    write = reject_bucket(BUCKET, "rejects/", None, partial(s3_client, REGION, attempts=1))
    network.become("refuse")
    back = threading.Timer(1.0, network.become, ["pass"])
    back.start()
    assert write(REJECTS, NOW, 60) == 2
    back.join()
    assert [entry["Key"] for entry in bucket.list_objects_v2(Bucket=BUCKET)["Contents"]] == KEYS


def test_what_trying_does_not_mend_is_told_at_once(network: Proxy) -> None:
    """A bucket that is not there is asked once."""
    write = reject_bucket("lmdp-no-such-bucket", "rejects/", None, partial(s3_client, REGION, attempts=1))
    with pytest.raises(RejectsNotWrittenError, match="NoSuchBucket"):
        write(REJECTS, NOW, 60)
    assert network.connections == 1
