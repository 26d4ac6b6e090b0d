"""`lmdp query`: a query of the local warehouse, also while `lmdp run` writes to it."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lmdp.cli.options import DEFAULT_HOME, Home, WarehouseFile, option, warehouse_file
from lmdp.errors import LmdpError, SettingsError

MOST_ROWS = 1_000_000
_SHOWN_ROWS = 10_000

Sql = Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; - reads it from standard input.")]
Format = Annotated[Literal["table", "json", "csv", "parquet"], option("--format", "The output format.")]
Output = Annotated[Path | None, option("--output -o FILE", "Write to FILE instead of standard output.")]
Limit = Annotated[
    int | None,
    option(
        "--limit",
        "Maximum number of rows; larger results are truncated, with a notice. Without it: 10,000; to a FILE all "
        "or none.",
        min=1,
        max=MOST_ROWS,
        show_default=False,
    ),
]
Timeout = Annotated[float, option("--timeout S", "Maximum number of seconds.", min=0.1, max=3600)]


def query(
    sql: Sql,
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
    from lmdp.machine.api import client  # noqa: PLC0415 - as above
    from lmdp.machine.api.formats import write  # noqa: PLC0415 - Arrow and DuckDB are loaded when needed
    from lmdp.machine.api.protocol import Query  # noqa: PLC0415 - as above

    if form == "parquet" and output is None and sys.stdout.isatty():
        raise SettingsError("--format is parquet, which is not for a terminal: give --output FILE, or redirect")
    text = sys.stdin.read() if sql == "-" else sql
    named = str(warehouse.resolve()) if warehouse else None
    most = limit or (_SHOWN_ROWS if output is None else MOST_ROWS)
    answer = client.query(home, warehouse_file(warehouse, home), Query(text, most, timeout, named))
    if answer.truncated and output is not None and limit is None:
        raise LmdpError(
            f"The result has more than {most:,} rows, so {output} was not written. Query less (a time range, say), or "
            f"only the first rows with --limit {most}."
        )
    write(answer.table, form, output)
    if answer.truncated:
        print(f"Truncated to the first {most:,} rows; --limit N returns more.", file=sys.stderr)
