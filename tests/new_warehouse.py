"""An empty warehouse without the half second that DuckDB takes to make its views: a copy of one made once a process."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse


def open_warehouse(path: Path, **options: Any) -> Warehouse:
    """Open the warehouse at this path, which is a new one where there is none, with `Warehouse.open`'s options."""
    if not path.exists():
        path.write_bytes(_empty())
    return Warehouse.open(path, load_spec(), **options)


@functools.cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse.duckdb"
        Warehouse.open(path, load_spec()).close()
        return path.read_bytes()
