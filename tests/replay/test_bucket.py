"""Rejects and failed records in S3."""

from __future__ import annotations

import gzip
import json
import socket
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cloud.names import BUCKET, REGION
from lmdp import TransformSettings, transform
from lmdp.cloud.reject_sink import put_object
from lmdp.errors import SettingsError, UnreachableError
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay.bucket import Bucket, open_bucket, reject_place
from lmdp.support.reject_files import reject_files
from replay.failures import NOW, firehose_record, message, replayed, row_json, run, values
from running import bundle

URL = f"s3://{BUCKET}/rejects/"
INSTANCES = 'SELECT "instance" FROM ROW_EVENTS ORDER BY 1'


def put(client: Any, prefix: str, *messages: Any, now_ms: int = NOW) -> None:
    """Write rejects as the function does."""
    for file in reject_files(transform(messages, TransformSettings()).rejects, now_ms):
        client.put_object(**put_object(BUCKET, prefix, None, file))


def keys(client: Any) -> list[str]:
    """All that is in the bucket."""
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_a_prefix(bucket: Any, warehouse: Warehouse) -> None:
    """Each object is replayed once and moved below the prefix, encrypted as it was; what fails again stays."""
    put(bucket, "rejects/", message(bundle(1), 5), message(b"no bundle", 6))
    put(bucket, "rejects/", message(bundle(2), 5, partition=1))
    day = "year=2026/month=02/day=02"
    for expected in (2, 0):
        report = replayed(open_bucket(URL, REGION), warehouse, run())
        assert report.counts.rows == expected
        assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
        found = keys(bucket)
        assert found[0] == f"rejects/replayed/{day}/" + found[0].rpartition("/")[2]
        assert [name.split(".ndjson")[0][:-17] for name in found[2:]] == [f"rejects/{day}/lm.metrics.otlp-0-5-6"]
    left = bucket.get_object(Bucket=BUCKET, Key=found[2])
    assert [json.loads(line)["errorCode"] for line in gzip.decompress(left["Body"].read()).splitlines()] == [
        "Decode.Malformed"
    ]
    moved = bucket.get_object(Bucket=BUCKET, Key=found[0])
    assert left["ServerSideEncryption"] == moved["ServerSideEncryption"] == "aws:kms"


def test_nothing_beside_the_prefix_is_touched(bucket: Any, warehouse: Warehouse) -> None:
    """A prefix is a folder: a longer name that begins alike is another one."""
    put(bucket, "rejects-old/", message(bundle(1), 5))
    put(bucket, "other/rejects/", message(bundle(2), 5))
    before = keys(bucket)
    for url in (URL, URL.rstrip("/")):
        assert replayed(open_bucket(url, REGION), warehouse, run()).objects == 0
    assert keys(bucket) == before


def test_what_was_replayed_under_a_longer_prefix(bucket: Any, warehouse: Warehouse) -> None:
    """The whole bucket as a source leaves alone what was replayed from a part of it; a name with dots is a name."""
    put(bucket, "rejects/", message(bundle(1), 5))
    bucket.put_object(Bucket=BUCKET, Key="a/../b", Body=json.dumps(firehose_record(json.dumps(row_json(2)).encode())))
    bucket.put_object(Bucket=BUCKET, Key="folder/", Body=b"")
    replayed(open_bucket(URL, REGION), warehouse, run())
    report = replayed(open_bucket(f"s3://{BUCKET}", REGION), warehouse, run())
    assert (report.objects, report.replayed, values(warehouse, INSTANCES)) == (1, 1, ["i-1", "i-2"])


@pytest.mark.parametrize("after", ["read", "copy"])
def test_an_object_that_was_written_again_meanwhile_is_left(bucket: Any, warehouse: Warehouse, after: str) -> None:
    """A retried batch overwrites its object: the new one is neither deleted nor replaced; it has nothing new."""
    put(bucket, "rejects/", message(bundle(1), 5), message(bundle(2), 6))
    (key,) = keys(bucket)
    opened = open_bucket(URL, REGION)

    class Client:
        """An S3 client beside which another one writes."""

        def __getattr__(self, name: str) -> Any:
            return getattr(opened.client, name)

        def get_object(self, **parameters: Any) -> Any:
            answer = opened.client.get_object(**parameters)
            if after == "read":
                put(bucket, "rejects/", message(bundle(1), 5), message(bundle(2), 6), now_ms=NOW + 1)
            return answer

        def copy_object(self, **parameters: Any) -> None:
            opened.client.copy_object(**parameters)
            if after == "copy":
                put(bucket, "rejects/", message(bundle(1), 5), message(bundle(2), 6), now_ms=NOW + 1)

    report = replayed(Bucket(Client(), opened.bucket, opened.prefix), warehouse, run())
    assert list(report.skipped.values()) == ["it changed while it was replayed; the next replay reads it again"]
    assert key in keys(bucket)
    report = replayed(opened, warehouse, run())
    assert key not in keys(bucket)
    assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
    assert report.repeats == 2


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://UPPER/x", "s3://b"])
def test_what_is_no_url(url: str) -> None:
    """A URL without a bucket's name is refused."""
    with pytest.raises(SettingsError, match="is not s3://bucket/prefix"):
        open_bucket(url, REGION)


def test_what_was_replayed_is_no_source() -> None:
    """The prefix of what is done with is refused."""
    with pytest.raises(SettingsError, match="replayed before"):
        open_bucket(f"{URL}replayed/year=2026", REGION)


def test_a_bucket_that_is_not_there(bucket: Any, warehouse: Warehouse, tmp_path: Path) -> None:
    """It says what could not be read, and which rights it needs."""
    with pytest.raises(UnreachableError, match=r"s3://lmdp-none/ could not be read or moved \(NoSuchBucket\)"):
        replayed(open_bucket("s3://lmdp-none", REGION), warehouse, run())


def test_a_runs_rejects_in_a_bucket(bucket: Any, warehouse: Warehouse) -> None:
    """What a run writes there is what a replay of that place reads; the same batch again adds nothing."""
    place = reject_place(f"s3://{BUCKET}/run", REGION)
    rejects = transform([message(bundle(1), 5), message(bundle(2), 6)], TransformSettings()).rejects
    for _ in range(2):
        place.write(rejects, NOW, Event())
    place.write([], NOW, Event())
    assert len(keys(bucket)) == 1
    assert replayed(open_bucket(place.name, REGION), warehouse, run()).counts.rows == 2


def test_the_end_of_a_run_waits_for_no_bucket(credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not answer is left some seconds after the end is wanted; the batch counts as not done."""
    stop, rejects = Event(), transform([message(bundle(1), 5)], TransformSettings()).rejects
    stop.set()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(UnreachableError, match="ends before an answer came"):
            reject_place(f"s3://{BUCKET}/run", REGION).write(rejects, NOW, stop)
    assert time.monotonic() - begun < 8
