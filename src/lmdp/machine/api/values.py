"""Values of an answer as Python's, and as JSON has them."""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import msgspec
import pyarrow as pa


def values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; as DuckDB's text where one is a time that Python lacks, such as infinity.

    A map is a dict, or a list of pairs where its keys are lists or structures.
    """
    try:
        try:
            found: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
        except TypeError:  # unhashable keys
            found = column.to_pylist()
    except (OverflowError, ValueError):  # ValueError: nanoseconds
        return list(texts(column))
    return found


def sql_type(field: pa.Field) -> str:
    """Return the type of a column as SQL has it; where an older run did not send that, as Arrow has it."""
    return str((field.metadata or {}).get(b"type", str(field.type).encode()).decode())


def texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return the values of a column as DuckDB writes them."""
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("answer", pa.table({"c": column}))
        return [text for (text,) in connection.execute("SELECT CAST(c AS VARCHAR) FROM answer").fetchall()]


def json_text(value: Any) -> str:
    """Return a value as text; what is nested, as JSON."""
    simple = plain(value)
    return simple if isinstance(simple, str) else msgspec.json.encode(simple).decode()


def plain(value: Any) -> Any:  # noqa: PLR0911 - a case a type
    """Return a value as JSON: numbers for decimals, RFC 3339 for times, text for what JSON has no type for."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name if isinstance(name, str) else json_text(name): plain(item) for name, item in value.items()}
    return value


def _moment(value: datetime) -> str:
    """Return a time as RFC 3339 in UTC, the zone of all times in the warehouse."""
    at = value.astimezone(UTC) if value.tzinfo else value
    return f"{at.replace(tzinfo=None).isoformat()}Z"
