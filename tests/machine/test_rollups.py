"""Every view over a simulated day: the numbers of an independent computation, to the row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import simulated_day as day
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from new_warehouse import open_warehouse
from running import remove_older
from view_questions import QUESTIONS, in_order

ROWS = day.simulated_day()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A warehouse with the day in it."""
    with open_warehouse(tmp_path_factory.mktemp("day") / "w.duckdb") as opened:
        opened.commit(Load(ROWS, [], [], datetime.now(UTC)))
        yield opened


def ask(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    """Rows of an answer, in an order of their own."""
    table = warehouse.query(sql, limit_rows=1_000_000).table
    return in_order([tuple(column[i].as_py() for column in table.columns) for i in range(table.num_rows)])


def test_the_day_has_what_goes_wrong_in_it() -> None:
    """Repeats, late points, resets, gaps and canaries: else the comparison proves little."""
    identities = {(*one[:10], *one[11:]) for one in ROWS}
    steps = day.rates(ROWS)
    assert len(ROWS) - len(identities) > 100
    assert sum(a[9] > b[9] for a, b in itertools.pairwise(ROWS)) > 1000
    assert sum(reset for *_, reset in steps) > 10
    assert sum(rate is None for *_, rate, _ in steps) > 2
    assert max(line[7] or 0 for line in day.health(ROWS)) > 3 * 3600 - 600
    assert sum(line[3] for line in day.health(ROWS)) == 3


@pytest.mark.parametrize("view", QUESTIONS)
def test_a_view_equals_an_independent_computation(filled: Warehouse, view: str) -> None:
    """What the SQL says is what loops over dicts say, to the row."""
    sql, answer = QUESTIONS[view]
    expected = in_order(answer(ROWS))
    assert len(expected) > 0
    assert ask(filled, sql) == expected


def test_a_dimension_has_every_key_of_the_facts(filled: Warehouse) -> None:
    """Reports may assume integrity: no fact, live or rolled up, lacks its row in a dimension, and keys are unique."""
    for fact in ("FACT_METRIC", "METRIC_HOURLY", "METRIC_DAILY", "METRIC_RATES_HOURLY"):
        for dimension in ("DATE", "DEVICE", "DATASOURCE", "METRIC", "INSTANCE"):
            name = f"{dimension}_KEY"
            sql = f"SELECT count(*) FROM {fact} AS F ANTI JOIN DIM_{dimension} AS D ON F.{name} = D.{name}"
            assert ask(filled, sql) == [(0,)]
            assert ask(filled, f"SELECT count(*) - count(DISTINCT {name}) FROM DIM_{dimension}") == [(0,)]


@pytest.mark.parametrize("view", [name for name in QUESTIONS if name != "PIPELINE_HEALTH"])
def test_canaries_stay_out(filled: Warehouse, view: str) -> None:
    """No report sees a canary; PIPELINE_HEALTH alone does."""
    columns = {name for (name,) in ask(filled, f"SELECT column_name FROM (DESCRIBE {view})")}
    for name in columns & {"DEVICE_ID", "DATASOURCE"}:
        assert ask(filled, f"SELECT count(*) FROM {view} WHERE {name} = 'lmdp.canary'") == [(0,)]
    for name in columns & {"DEVICE_KEY"}:
        key = day.key("demo", "lmdp.canary")
        assert ask(filled, f"SELECT count(*) FROM {view} WHERE {name} = {key}") == [(0,)]


def test_freshness_is_as_of_now(filled: Warehouse) -> None:
    """FRESHNESS_SECONDS is the age of the device's newest row."""
    ((age,),) = ask(filled, "SELECT max(FRESHNESS_SECONDS) FROM PIPELINE_HEALTH WHERE DEVICE_ID = '1'")
    newest = max(one[9] for one in ROWS if one[1] == "1")
    assert abs(age - (datetime.now(UTC).timestamp() - newest / 1000)) < 60


# what stays when the raw rows go


@pytest.fixture
def aged(tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse with the day and the day after it, of which only the second one's raw rows are left."""
    later = [(*one[:8], "", one[9] + day.DAY, *one[10:]) for one in ROWS]
    with open_warehouse(tmp_path / "w.duckdb") as opened:
        opened.commit(Load([*ROWS, *later], [], [], datetime.now(UTC)))
        now = datetime.fromtimestamp((day.BEGIN + 2 * day.DAY) / 1000, UTC)
        removed = remove_older(opened, 1, now)
        assert removed.rows == len(ROWS)
        yield opened


LATER = [(*one[:8], "", one[9] + day.DAY, *one[10:]) for one in ROWS]


@pytest.mark.parametrize(
    "view", ["METRIC_HOURLY", "METRIC_DAILY", "DIM_DEVICE", "DIM_METRIC", "DIM_INSTANCE", "DIM_DATE"]
)
def test_rollups_outlive_their_rows(aged: Warehouse, view: str) -> None:
    """Hours, days and dimensions are what they were; the raw rows are gone."""
    sql, answer = QUESTIONS[view]
    both = [(*one[:8], "", *one[9:]) for one in ROWS] + LATER
    assert ask(aged, sql) == in_order(answer(both))
    assert ask(aged, "SELECT min(TS) >= TIMESTAMP '2026-01-01' FROM METRICS") == [(True,)]


def test_what_comes_late_for_a_kept_hour_changes_nothing(aged: Warehouse) -> None:
    """A repeat of a row that has gone would count twice; so a closed hour stays closed, also at the next removal."""
    before = ask(aged, "SELECT * FROM METRIC_HOURLY")
    aged.commit(Load(ROWS[:50], [], [], datetime.now(UTC)))
    assert ask(aged, "SELECT * FROM METRIC_HOURLY") == before
    remove_older(aged, 1, datetime.fromtimestamp((day.BEGIN + 2 * day.DAY) / 1000, UTC))
    assert ask(aged, "SELECT * FROM METRIC_HOURLY") == before


def test_a_kept_rollup_is_there_after_a_restart(tmp_path: Path) -> None:
    """It is in the file, and follows a specification that has a column more."""
    path = tmp_path / "w.duckdb"
    with open_warehouse(path) as opened:
        opened.commit(Load(ROWS, [], [], datetime.now(UTC)))
        remove_older(opened, 1, datetime.fromtimestamp(day.BEGIN / 1000, UTC) + timedelta(days=2))
        before = ask(opened, "SELECT * FROM METRIC_HOURLY")
    with open_warehouse(path) as opened:
        assert ask(opened, "SELECT * FROM METRIC_HOURLY") == before != []
