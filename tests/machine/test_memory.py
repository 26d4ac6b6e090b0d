"""Memory of the engine: little for a writer, more for queries and removals, whose threads each take some."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from benchmarks.filled import fill

from lmdp.core.specification import load_spec
from lmdp.errors import LmdpError
from lmdp.machine.warehouse.connection import EngineLimits
from lmdp.machine.warehouse.warehouse import Warehouse

QUERY = "SELECT current_setting('memory_limit') AS MEMORY"
LITTLE, MORE = "122.0 MiB", "244.1 MiB"  # 128 and 256 MB


def _now(warehouse: Warehouse) -> str:
    """Return the limit."""
    ((memory,),) = warehouse._connection.execute(QUERY).fetchall()
    return str(memory)


def test_queries_may_use_more_than_a_writer(path: Path) -> None:
    """The larger limit holds until the last query has ended, however it ended."""
    with Warehouse.open(path, load_spec(), limits=EngineLimits(threads=2)) as warehouse:
        assert _now(warehouse) == LITTLE
        with warehouse.answering(QUERY, timeout_s=9):
            assert warehouse.query(QUERY).table.to_pylist() == [{"MEMORY": MORE}]
            assert _now(warehouse) == MORE
        assert _now(warehouse) == LITTLE
        with pytest.raises(LmdpError, match="wrong"):
            warehouse.query("SELECT error('wrong')")
        assert _now(warehouse) == LITTLE
        with pytest.raises(LmdpError, match="no answer within"):
            warehouse.query("SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a < b", timeout_s=0)
        assert _now(warehouse) == LITTLE


@pytest.mark.parametrize(
    ("threads", "memory", "query_memory"),
    [(1, "128MB", "256MB"), (4, "128MB", "256MB"), (8, "128MB", "512MB"), (2, "512MB", "512MB")],
)
def test_memory_of_queries_grows_with_the_threads(threads: int, memory: str, query_memory: str) -> None:
    """It is never less than the writer's."""
    assert EngineLimits(memory=memory, threads=threads).query_memory == query_memory


def test_eight_threads_remove_and_query(path: Path) -> None:
    """The first step of a removal is the roll-up of 100,000 rows, in what each of the threads may use."""
    fill(path, 120_000, 2_000, 3_600_000)
    with Warehouse.open(path, load_spec(), limits=EngineLimits(threads=8)) as warehouse:
        assert sum(step.rows for step in warehouse.removals(1, datetime(2100, 1, 1, tzinfo=UTC))) == 120_000
        assert warehouse.query("SELECT COUNT(*) AS N FROM METRIC_HOURLY").table.to_pylist() == [{"N": 120_000}]


def test_eight_threads_count_and_merge_a_day_of_lines(path: Path) -> None:
    """A run writes two lines a second and partition to LOADS: it counts them at its start, and merges them by day."""
    with Warehouse.open(path, load_spec(), limits=EngineLimits(threads=8)) as warehouse:
        warehouse._connection.execute(
            "INSERT INTO LOADS SELECT 'c', 'i', 't', N % 4, N // 4, N // 4 + 1, 1, 0,"
            " TIMESTAMP '2026-01-30' + N * INTERVAL 124 MILLISECONDS, -1, TRUE FROM range(691200) AS R(N)"
        )
        assert warehouse.tally.count().loaded == 691_200
        assert list(warehouse.removals(None, datetime(2026, 2, 1, tzinfo=UTC))) != []
        assert warehouse.query("SELECT COUNT(*) AS N FROM LOADS").table.to_pylist() == [{"N": 4}]
