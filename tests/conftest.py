"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.names import BUCKET, REGION, SECRET

# As with an activated environment: messages then name the program `lmdp`, wherever the tests run.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))

# Kafka starts in half of the time without the JVM's second compiler, which no test runs long enough to need.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


def pytest_make_parametrize_id(config: pytest.Config, val: Any) -> str | None:
    """Name a case of bytes so that it has the same name in every worker: gzip writes the time into what it packs."""
    if not isinstance(val, bytes):
        return None
    return val[:40].decode() if val[:40].isascii() and val[:40].decode().isprintable() else f"{len(val)} bytes"


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Moto's S3, for the whole run."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow to load, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda's way to give credentials, and no other place where some could be found."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "an-example-session-token",
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)


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
