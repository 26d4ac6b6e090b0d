"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
