"""An empty warehouse for each test that names one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lmdp.machine.warehouse.warehouse import Warehouse
from new_warehouse import open_warehouse


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of this test's warehouse."""
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def warehouse(path: Path) -> Iterator[Warehouse]:
    """An empty warehouse of this test's own."""
    with open_warehouse(path) as opened:
        yield opened
