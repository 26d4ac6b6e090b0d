"""`lmdp query`: a query of the local warehouse, also while `lmdp run` writes to it."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmdp.cli.options import DEFAULT_HOME, Home, WarehouseFile, option, warehouse_file
from lmdp.errors import LmdpError, SettingsError
from lmdp.support.program import program

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 1_000_000
_SHOWN_ROWS = 10_000

Sql = Annotated[
    str | None,
    typer.Argument(
        metavar="SQL",
        help="One SELECT; - reads it from standard input. Without it, on a terminal: a prompt.",
        show_default=False,
    ),
]
Form = Literal["table", "line", "markdown", "json", "csv", "parquet"]
Format = Annotated[
    Form, option("--format", "The output format. On a terminal a table is shortened to its width; `line` is not.")
]
Output = Annotated[Path | None, option("--output -o FILE", "Write to FILE instead of standard output.")]
Limit = Annotated[
    int | None,
    option(
        "--limit",
        "Maximum number of rows; larger results are truncated, with a notice. Without it: 10,000; with --output, all "
        "rows are written, up to a million, or the command fails.",
        min=1,
        max=MOST_ROWS,
        show_default=False,
    ),
]
Timeout = Annotated[float, option("--timeout S", "Maximum number of seconds.", min=0.1, max=3600)]


def query(
    sql: Sql = None,
    *,
    form: Format = "table",
    output: Output = None,
    limit: Limit = None,
    timeout: Timeout = 30.0,
    warehouse: WarehouseFile = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Run a read-only SQL query on the local warehouse (same tables and views as Snowflake).

    METRICS has each row once, METRIC_RATES counters per second, REJECTS what failed, LOADS what was written when.

    Example: lmdp query "select metric, count(*), max(ts) from metrics group by 1 order by 2 desc"
    """
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise SettingsError("--format is parquet, which is not for a terminal: give --output FILE, or redirect")
    options = QueryOptions(home, warehouse, form, output, limit, timeout)
    if sql is not None:
        options.run(sys.stdin.read() if sql == "-" else sql)
    elif sys.stdin.isatty() and sys.stdout.isatty() and output is None:
        from lmdp.cli import prompt  # noqa: PLC0415 - loads readline

        prompt.run(options)
    else:
        raise SettingsError(f"SQL is missing; without it, a prompt needs a terminal\nHelp: {program()} query --help")


@dataclass(slots=True)
class QueryOptions:
    """The options of a query: which warehouse, and what becomes of the answer."""

    home: Path
    warehouse: Path | None
    form: Form
    output: Path | None = None
    limit: int | None = None
    timeout: float = 30.0

    def run(self, sql: str) -> None:
        """Run one query and write its answer. Raises LmdpError."""
        from lmdp.machine.api.formats import write  # noqa: PLC0415 - Arrow and DuckDB are loaded when needed

        began = time.monotonic()
        most = self.limit or (_SHOWN_ROWS if self.output is None else MOST_ROWS)
        table, truncated = self.answer(sql, most)
        if truncated and self.output is not None and self.limit is None:
            raise LmdpError(
                f"The result has more than {most:,} rows, so {self.output} was not written. Query less (a time range, "
                f"say), or only the first rows with --limit {most}."
            )
        if self.form == "table" and self.output is None and sys.stdout.isatty():
            _print_boxed(table, time.monotonic() - began)
        else:
            write(table, self.form, self.output)
        if truncated:
            print(f"Truncated to the first {most:,} rows; --limit N returns more.", file=sys.stderr)

    def answer(self, sql: str, rows: int) -> "tuple[pa.Table, bool]":
        """Return at most so many rows, and whether there are more. Raises LmdpError."""
        from lmdp.machine.api import client  # noqa: PLC0415 - as above
        from lmdp.machine.api.protocol import Query  # noqa: PLC0415 - as above

        named = str(self.warehouse.resolve()) if self.warehouse else None
        path = warehouse_file(self.warehouse, self.home)
        answer = client.query(self.home, path, Query(sql, rows, self.timeout, named))
        return answer.table, answer.truncated


def _print_boxed(table: "pa.Table", seconds: float) -> None:
    from lmdp.machine.api.tables import boxed  # noqa: PLC0415 - as above

    colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"  # https://no-color.org
    sys.stdout.write(boxed(table, shutil.get_terminal_size().columns, seconds=seconds, colours=colours))
