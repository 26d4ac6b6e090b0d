"""Answers to queries as the page shows them: a table that sorts, and the lines of a chart."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from nicegui import ui

from lmdp.page.run_client import Answer, Json

SHOWN: Final = 1_000
"""Rows of a table."""
_MOST_LINES: Final = 8


def show_table(answer: Answer) -> None:
    """Show the first rows, page by page. A column's name is only text, never a key that the browser interprets."""
    columns = [_column(at, column) for at, column in enumerate(answer.columns)]
    numbers = [at for at, column in enumerate(answer.columns) if _is_number(column)]
    rows: list[Json] = [
        {"id": number}
        | {f"c{at}": _cell(value) for at, value in enumerate(row)}
        | {f"n{at}": _number(row[at]) for at in numbers}
        for number, row in enumerate(answer.rows[:SHOWN])
    ]
    drawn = ui.table(columns=columns, rows=rows, row_key="id", pagination=25).classes("lm-table")
    drawn.props("flat dense wrap-cells")


def _column(at: int, column: Json) -> Json:
    """Return a column of the table, sorted by its numbers where it has them, NULL first."""
    found = {"name": f"c{at}", "label": column["name"], "field": f"c{at}", "sortable": True}
    if not _is_number(column):
        return found | {"align": "left"}
    return found | {"align": "right", ":sort": f"(a, b, x, y) => (x.n{at} ?? -Infinity) - (y.n{at} ?? -Infinity) || 0"}


def _cell(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) < 10**11 else str(value)
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}" if abs(value) < 10**6 else f"{value:,.2f}"
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def as_lines(answer: Answer) -> tuple[str, list[tuple[str, list[list[Any]]]]] | None:
    """Return the axis's kind and the named lines of an answer whose first column is the axis; None without numbers."""
    columns, rows = answer.columns, answer.rows
    at = [number for number, column in enumerate(columns) if number and _is_number(column)][:_MOST_LINES]
    if not at or not rows:
        return None
    timed = columns[0]["type"].startswith(("timestamp", "date"))
    if timed:
        if not all(row[0] is None or _is_time(row[0]) for row in rows):
            return None
        rows = sorted(rows, key=lambda row: (row[0] is None, (row[0] or "").removesuffix("Z")))
    axis = "time" if timed else "value" if _is_number(columns[0]) else "category"
    return axis, [(columns[number]["name"], [[row[0], _number(row[number])] for row in rows]) for number in at]


def _is_time(text: str) -> bool:
    """Return whether it is a time that a chart can have, unlike infinity."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _is_number(column: dict[str, str]) -> bool:
    return column["type"].startswith(("int", "uint", "float", "double", "halffloat", "decimal"))
