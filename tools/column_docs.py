"""Make docs/columns.md from the specification and the views, for `make docs`.

Names and types come from an empty warehouse, which has every table and view of one machine; meanings that the
specification does not have come from src/lmdp/sql/columns.toml. A column without one ends the script.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.sql.dictionary import groups, meaning

PAGE = Path(__file__).resolve().parents[1] / "docs" / "columns.md"

HEAD = """\
# Column dictionary

Every table and view of the schema `PIPELINE`, with its columns. Made by `make docs` from the
[specification](kafka_ingest_spec.md) and the views. Times are UTC. Types are Snowflake's; in DuckDB
`FLOAT` is `DOUBLE`, `VARIANT` is `JSON` and `NUMBER` is `BIGINT`. The [glossary](glossary.md) explains the terms.
"""
HIDDEN = {"METRIC_HOURLY_LIVE", "METRIC_HOURLY_KEPT"}
"""The two parts of METRIC_HOURLY on one machine."""

TYPES = {"DOUBLE": "FLOAT", "JSON": "VARIANT", "BIGINT": "NUMBER", "INTEGER": "NUMBER", "TIMESTAMP": "TIMESTAMP_NTZ"}
TYPES |= {"BLOB": "BINARY"}

Column = tuple[str, str]
"""Name and type."""


def described() -> dict[str, list[Column]]:
    """Return the columns of every table and view, read from an empty warehouse."""
    select = """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'PIPELINE' ORDER BY table_name, ordinal_position
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse.open(Path(folder) / "empty.duckdb", load_spec()) as warehouse,
    ):
        rows = [tuple(row.values()) for row in warehouse.query(select).table.to_pylist()]
    return {
        table: [(name, TYPES.get(kind, kind)) for _, name, kind in of] for table, of in groupby(rows, lambda r: r[0])
    }


def page() -> str:
    """Return the whole page."""
    tables = described()
    if unlisted := set(tables) - HIDDEN - {name for listed in groups().values() for name in listed}:
        raise SystemExit(f"src/lmdp/sql/columns.toml does not list {', '.join(sorted(unlisted))}")
    parts = [HEAD]
    for group, listed in groups().items():
        parts.append(f"## {group}\n")
        parts += ["\n".join(_table(name, about, tables[name])) + "\n" for name, about in listed.items()]
    return "\n".join(parts)


def _table(name: str, about: str, columns: list[Column]) -> Iterator[str]:
    yield f"### {name}\n\n{about}\n"
    yield "| column | type | meaning |\n| --- | --- | --- |"
    yield from (f"| `{column}` | {kind} | {_meaning(column)} |" for column, kind in columns)


def _meaning(column: str) -> str:
    found = meaning(column)
    if found is None:
        raise SystemExit(f"src/lmdp/sql/columns.toml has no meaning of {column}")
    return found
