"""Answers as text: a table for a pipe, one that fits a terminal, a line for each value, and Markdown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from lmdp.machine.api.values import json_text, sql_type, values
from lmdp.support.printable import counted, printable

_LEAST: Final = 8  # columns of text become no narrower; others disappear before
_PLAIN_BELOW: Final = 1e21  # as JavaScript prints numbers: beyond it, an exponent is easier to read
_FRAME: Final = 3  # "│ " before each column and " " after it
_MORE: Final = "…"
_DIM, _BOLD, _END = "\x1b[2m", "\x1b[1m", "\x1b[0m"


class _Column(NamedTuple):
    name: str
    kind: str
    is_number: bool
    cells: list[str | None]

    def width(self) -> int:
        return max(map(cell_len, (self.name, self.kind, *("NULL" if cell is None else cell for cell in self.cells))))

    def least(self) -> int:
        """Return the least width: numbers and times are not truncated, because that would be another value."""
        is_text = not self.is_number and not self.kind.startswith(("timestamp", "date", "time"))
        return min(self.width(), _LEAST) if is_text else self.width()


def piped(table: pa.Table) -> str:
    """Return a table without frames, as wide as its values."""
    columns = [
        _Column(
            printable(field.name),
            "",
            _is_number(field.type),
            ["" if one is None else printable(str(one)) for one in values(column)],
        )
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    widths = [column.width() for column in columns]
    lines = [[column.name for column in columns], *zip(*(column.cells for column in columns), strict=True)]
    return "".join(
        "  ".join(
            _fitted(cell or "", width, right=column.is_number)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def boxed(table: pa.Table, width: int, *, seconds: float, colours: bool) -> str:
    """Return a table that is at most `width` wide, with types below the names, and its size and time below it."""
    columns = _columns(table)
    widths = _widths(columns, width)
    shown = [(column, size) for column, size in zip(columns, widths, strict=True) if size]
    if len(shown) < len(columns):
        middle = next(at for at, size in enumerate(widths) if not size)
        shown.insert(middle, (_Column(_MORE, "", is_number=False, cells=[_MORE] * table.num_rows), 1))
    style = _styled if colours else (lambda text, _: text)
    lines = [
        _rule(shown, "┌┬┐"),
        _row([style(_fitted(column.name, size, right=column.is_number), _BOLD) for column, size in shown]),
        _row([style(_fitted(column.kind, size, right=column.is_number), _DIM) for column, size in shown]),
        _rule(shown, "├┼┤"),
        *(_row([_cell(column, size, at, style) for column, size in shown]) for at in range(table.num_rows)),
        _rule(shown, "└┴┘"),
        _size(table, len(shown) - 1 if len(shown) <= len(columns) and 0 in widths else None, seconds),
    ]
    return "\n".join(lines) + "\n"


def by_line(table: pa.Table) -> str:
    """Return a line for each value, and an empty one between rows."""
    columns = _columns(table)
    widest = max((cell_len(column.name) for column in columns), default=0)
    rows = (
        "".join(
            f"{_fitted(column.name, widest, right=True)} = {'NULL' if column.cells[at] is None else column.cells[at]}\n"
            for column in columns
        )
        for at in range(table.num_rows)
    )
    return "\n".join(rows)


def markdown(table: pa.Table) -> str:
    """Return a table in GitHub's Markdown; NULL is an empty cell."""
    columns = _columns(table)
    lines = [
        [column.name for column in columns],
        ["---:" if column.is_number else "---" for column in columns],
        *zip(*(column.cells for column in columns), strict=True),
    ]
    return "".join(f"| {' | '.join((cell or '').replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


TEXTS: Final[dict[str, Callable[[pa.Table], str]]] = {"table": piped, "line": by_line, "markdown": markdown}
"""Forms that are text, for a file or a pipe."""


def shown(value: Any) -> str:
    """Return a value as text on one line: integers whole, floats the shortest that is the same number."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, bytes):
        return "".join(f"\\x{byte:02X}" for byte in value)
    text = json_text(value) if isinstance(value, dict | list | tuple) else str(value)
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"))


def _number(value: float) -> str:
    text = repr(value)
    if "e" not in text or abs(value) >= _PLAIN_BELOW or abs(value) < 1 / _PLAIN_BELOW:
        return text
    plain = f"{Decimal(text):f}"
    return plain if "." in plain else f"{plain}.0"


def _columns(table: pa.Table) -> list[_Column]:
    return [
        _Column(
            printable(field.name).replace("\n", " ").replace("\t", " "),
            printable(sql_type(field)).lower().strip('"'),
            _is_number(field.type),
            [None if one is None else shown(one) for one in values(column)],
        )
        for field, column in zip(table.schema, table.columns, strict=True)
    ]


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _widths(columns: list[_Column], width: int) -> list[int]:
    """Return the width of each column; 0 for those in the middle that do not fit."""
    natural, least = [column.width() for column in columns], [column.least() for column in columns]
    kept = list(range(len(columns)))
    while len(kept) > 1 and _total([least[at] for at in kept], hidden=len(kept) < len(columns)) > width:
        del kept[len(kept) // 2]
    free = width - _total([least[at] for at in kept], hidden=len(kept) < len(columns))
    widths = [least[at] if at in kept else 0 for at in range(len(columns))]
    while free > 0 and (short := [at for at in kept if widths[at] < natural[at]]):
        smallest = min(short, key=lambda at: widths[at])
        widths[smallest] += 1
        free -= 1
    return widths


def _total(widths: list[int], *, hidden: bool) -> int:
    return sum(widths) + _FRAME * len(widths) + 1 + (_FRAME + 1 if hidden else 0)


def _cell(column: _Column, width: int, at: int, style: Callable[[str, str], str]) -> str:
    cell = column.cells[at]
    text = _fitted("NULL" if cell is None else cell, width, right=column.is_number)
    return style(text, _DIM) if cell is None else text


def _styled(text: str, code: str) -> str:
    return f"{code}{text}{_END}"


def _fitted(text: str, width: int, *, right: bool) -> str:
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + _MORE
    return " " * (width - length) + text if right else text + " " * (width - length)


def _row(cells: list[str]) -> str:
    return f"│ {' │ '.join(cells)} │"


def _rule(shown: list[tuple[_Column, int]], corners: str) -> str:
    return f"{corners[0]}{corners[1].join('─' * (size + 2) for _, size in shown)}{corners[2]}"


def _size(table: pa.Table, drawn: int | None, seconds: float) -> str:
    rows, columns = counted(table.num_rows, "row"), counted(table.num_columns, "column")
    hidden = "" if drawn is None else f" ({drawn:,} shown; --format line shows all)"
    return f"{rows} \u00d7 {columns}{hidden}, {seconds:.2f} s"
