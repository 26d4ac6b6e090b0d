"""What the tests of the replay share: a warehouse, and AWS on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.names import BUCKET, REGION, SECRET, STREAM
from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty warehouse."""
    with Warehouse.open(tmp_path / "warehouse.duckdb", load_spec()) as opened:
        yield opened


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that open nothing, and no other place where some could be found."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def double(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Firehose."""
    from lmdp.testing.firehose import firehose_double  # noqa: PLC0415 - only where there is botocore

    with firehose_double(STREAM) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", running.url)
        yield running


@pytest.fixture
def bucket(credentials: None, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 client whose bucket BUCKET is there, and empty."""
    from botocore.session import Session  # noqa: PLC0415

    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    client = Session().create_client("s3", region_name=REGION)
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    yield client
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()
