"""What the tests of the replay share: a warehouse, and AWS on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud.names import STREAM
from lmdp.machine.warehouse.warehouse import Warehouse
from new_warehouse import open_warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty warehouse."""
    with open_warehouse(tmp_path / "warehouse.duckdb") as opened:
        yield opened


@pytest.fixture
def double(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Firehose."""
    from lmdp.testing.firehose import firehose_double  # noqa: PLC0415 - only where there is botocore

    with firehose_double(STREAM) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", running.url)
        yield running
