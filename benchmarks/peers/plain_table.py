"""Plain rows into a DuckDB file: dictionaries, Arrow's own reader of them, and an insert."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from benchmarks.peers import plain

COLUMNS: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("orgId", "deviceId", "deviceName", "datasource", "instance", "metric")),
        *((name, pa.string()) for name in ("unit", "type")),
        ("ts", pa.timestamp("ms")),
        ("tsUnixMs", pa.int64()),
        ("value", pa.float64()),
        *((name, pa.string()) for name in ("attributes", "resource", "scope")),
    ]
)


class PlainTable:
    """A table of the 14 columns in a file of its own."""

    def __init__(self, file: Path) -> None:
        self._connection = duckdb.connect(str(file))
        self._connection.register("incoming", pa.Table.from_pylist([], schema=COLUMNS))
        self._connection.execute("CREATE TABLE rows AS FROM incoming")

    def insert(self, messages: Sequence[bytes]) -> int:
        """Flatten `messages` and insert their rows; how many they are."""
        rows = [_flat(row) for value in messages for row in plain.flatten(plain.loads(value))]
        self._connection.register("incoming", pa.Table.from_pylist(rows, schema=COLUMNS))
        self._connection.execute("INSERT INTO rows FROM incoming")
        return len(rows)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its maps as text and its time as one."""
    maps = {name: plain.dumps(row[name]).decode() for name in ("attributes", "resource", "scope")}
    at = datetime.fromtimestamp(row["tsUnixMs"] / 1000, UTC).replace(tzinfo=None)
    return {**row, **maps, "ts": at, "value": float(row["value"])}
