"""One machine's half, without a broker: rows into the warehouse's file, and messages into a table."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import workloads
from benchmarks.bench import Bench
from benchmarks.measure import LMDP, Contender, compare, one_core
from benchmarks.peers.duckdb_sql import Sql
from benchmarks.peers.plain_table import PlainTable
from benchmarks.stages.core import PLAIN, SETTINGS, SQL, rows_of
from benchmarks.table import Line, line
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.arrow import row_columns
from lmdp.machine.warehouse.warehouse import Warehouse

ARROW, PARQUET, MANY = "DuckDB from Arrow", "DuckDB from Parquet", "executemany"
MANY_SHARE: Final = 50  # it is so slow that it gets this part of the rows
TABLE: Final = "LM_METRICS.PIPELINE.ROW_EVENTS"


class Files:
    """A warehouse, and a file of the same tables that DuckDB writes by itself."""

    def __init__(self, folder: Path) -> None:
        self.warehouse = Warehouse.open(folder / "warehouse.duckdb", SETTINGS.spec)
        beside = folder / "beside.duckdb"
        Warehouse.open(beside, SETTINGS.spec).close()
        self._beside = duckdb.connect(config={"temp_directory": ""})
        self._beside.execute(f"ATTACH '{beside}' AS LM_METRICS")
        self._folder = folder
        self._offsets = itertools.count(0, 1_000_000)

    def commit(self, rows: Sequence[tuple[Any, ...]]) -> int:
        """As the consumer does."""
        first = next(self._offsets)
        ranges = [OffsetRange("bench", "", "bench", 0, first, first + len(rows), len(rows), 0)]
        self.warehouse.commit(Load(rows, [], ranges, datetime.now(UTC)))
        return len(rows)

    def arrow(self, columns: pa.Table) -> int:
        """Columns that are there already."""
        self._beside.register("incoming", columns)
        self._beside.execute(f"INSERT INTO {TABLE} SELECT * FROM incoming")
        self._beside.unregister("incoming")
        return int(columns.num_rows)

    def parquet(self, file: Path) -> int:
        """The same columns in a file."""
        ((rows,),) = self._beside.execute(f"INSERT INTO {TABLE} SELECT * FROM '{file}'").fetchall()
        return int(rows)

    def parquet_file(self, messages: Sequence[bytes]) -> Path:
        """Write the file that `parquet` loads."""
        file = self._folder / "rows.parquet"
        pq.write_table(columns_of(messages), file)
        return file

    def many(self, rows: Sequence[tuple[Any, ...]]) -> int:
        """Row by row, as Python's database interface has it."""
        marks = ", ".join("?" for _ in rows[0])
        self._beside.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", rows)
        return len(rows)


def columns_of(messages: Sequence[bytes]) -> pa.Table:
    """The rows of `messages` as columns."""
    return row_columns(rows_of(messages), SETTINGS.spec.fields)


def _some(messages: Sequence[bytes]) -> list[tuple[Any, ...]]:
    return rows_of(messages[: max(1, len(messages) // MANY_SHARE)])


def measure_commit(bench: Bench) -> Iterator[Line]:
    """Rows in one transaction, with their offsets. The floors begin with columns or a file that are there already."""
    bench.say("DuckDB commit")
    files = Files(bench.new_folder())
    rounds = workloads.small(bench.sizes.rounds + 1, bench.sizes.commit_messages)
    contenders = {
        LMDP: Contender(files.commit, rows_of),
        ARROW: Contender(files.arrow, columns_of),
        PARQUET: Contender(files.parquet, files.parquet_file),
        MANY: Contender(files.many, _some, "own"),
    }
    with one_core():
        costs = compare(contenders, rounds)
    yield line("DuckDB commit", _size(rounds), costs, floors=[ARROW, PARQUET])


def measure_table(bench: Bench) -> Iterator[Line]:
    """Messages in memory to rows in a table, no broker between. SQL reads a file, into a table in memory."""
    bench.say("messages to a table")
    files, sql = Files(bench.new_folder()), Sql(bench.folder)
    rounds = workloads.small(bench.sizes.rounds + 1, bench.sizes.commit_messages)
    contenders = {
        LMDP: Contender(_then(rows_of, files.commit)),
        PLAIN + " + Arrow": Contender(PlainTable(bench.new_folder() / "plain.duckdb").insert),
        SQL: Contender(sql.to_table, sql.file),
    }
    with one_core():
        costs = compare(contenders, rounds)
    yield line("transform + commit", _size(rounds), costs)


def _then(first: Callable[[Any], Any], second: Callable[[Any], int]) -> Callable[[Any], int]:
    return lambda given: second(first(given))


def _size(rounds: Sequence[Sequence[bytes]]) -> str:
    return f"{len(rounds[0]):,} x {workloads.SMALL}"
