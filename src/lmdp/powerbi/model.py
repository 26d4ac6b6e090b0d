"""What a semantic model is made of, as data: tables, columns, measures and relationships.

Column and table names are what people read; `source` and `view` are what the warehouse calls them.
https://learn.microsoft.com/en-us/analysis-services/tmdl/tmdl-overview
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

DataType: TypeAlias = Literal["int64", "double", "string", "dateTime", "boolean"]
Mode: TypeAlias = Literal["directQuery", "dual", "import"]
Kind: TypeAlias = Literal["Table", "View"]
Summarization: TypeAlias = Literal["sum", "count", "min", "max", "groupBy"]

WHOLE = "#,0"
DECIMAL = "#,0.00"
PERCENT = "0.0%"
MOMENT = "yyyy-mm-dd hh:nn:ss"
DAY = "yyyy-mm-dd"


@dataclass(frozen=True, slots=True)
class Alternate:
    """What a column of an aggregation summarizes: a column of the detail table, summarized."""

    summarization: Summarization
    table: str
    column: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `sort_by` is the name of the column that orders it."""

    name: str
    source: str
    type: DataType
    about: str
    hidden: bool = False
    key: bool = False
    format: str | None = None
    sort_by: str | None = None
    alternate: Alternate | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A DAX expression with a name, a folder and a format string."""

    name: str
    dax: str
    about: str
    folder: str
    format: str


@dataclass(frozen=True, slots=True)
class Table:
    """A view of the warehouse; `kind` is what Snowflake lists it as: a dynamic table is a table there.

    `time` is the source column that an import is limited by; None: all of it.
    """

    name: str
    view: str
    mode: Mode
    about: str
    columns: tuple[Column, ...]
    measures: tuple[Measure, ...] = ()
    hidden: bool = False
    dates: bool = False
    kind: Kind = "Table"
    time: str | None = None


@dataclass(frozen=True, slots=True)
class Relationship:
    """Many `table[column]` to one `to_table[column]`.

    `assumed`: every key on the many side is in the dimension, so that Power BI may use an inner join.
    """

    table: str
    to_table: str
    column: str
    assumed: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """The whole semantic model; `imported` when no table is left in the warehouse."""

    tables: tuple[Table, ...]
    relationships: tuple[Relationship, ...]
    imported: bool

    def measures(self) -> Iterator[tuple[Table, Measure]]:
        """Every measure, with the table that it belongs to."""
        return ((table, measure) for table in self.tables for measure in table.measures)


def key(name: str, source: str, *, one: bool = False) -> Column:
    """A hidden integer key; `one`: of the dimension itself."""
    about = "Key of the row." if one else "Key of the dimension's row."
    return Column(name, source, "int64", about, hidden=True, key=one, format="0")


def hidden(name: str, source: str, kind: DataType, about: str) -> Column:
    """A column that only measures read."""
    return Column(name, source, kind, about, hidden=True)
