"""No visual fetches more rows than DirectQuery hands over, by arithmetic at the reference load.

Power BI asks the source for the combinations of a visual's columns, times those of the columns that a measure goes
through row by row. https://learn.microsoft.com/en-us/power-bi/connect-data/desktop-directquery-about
"""

from __future__ import annotations

import re

import pytest

from powerbi.conftest import Json, fields
from powerbi.tmdl_reader import Node

MOST = 1_000_000
DEVICES, INSTANCES, METRICS = 1_000, 120, 6  # of a device, and of an instance
DAYS_KEPT = 30  # RETENTION_DAYS, where the page's filter is on another table
BUCKETS = 945  # of one sign; a metric that has both would have to reach over ten decades on either side

# What a measure goes through: VALUES of a column, and a column compared with a value that differs by row.
WALKED = re.compile(r"VALUES\('(\w+)'\[([^\]]+)\]\)|'(\w+)'\[([^\]]+)\] = [a-z]\w*\b(?!\()")
NAMED = re.compile(r"(?<![\w'])\[([^\]@]+)\]")
TIMES = {"Hour": 24, "Rate hour": 24, "Health hour": 24, "Date": 1, "Day": 1, "Spread day": 1}


def walked(name: str, measures: dict[str, str]) -> set[tuple[str, str]]:
    """Return the (table, column) pairs that a measure goes through, also within the measures that it names."""
    code = measures[name]
    found = {(one[0] or one[2], one[1] or one[3]) for one in WALKED.findall(code)}
    return found.union(*(walked(other, measures) for other in NAMED.findall(code) if other in measures))


def combinations(columns: set[tuple[str, str]], chosen: set[tuple[str, str]], days: dict[str, int]) -> int:
    """Return how many rows columns have together, where a slicer has one value of each `chosen` column."""
    tables = {table for table, _ in columns}
    devices = 1 if ("Device", "Device") in chosen else DEVICES
    rows = 1
    if "Instance" in tables:
        rows *= devices * INSTANCES
    elif "Device" in tables:
        rows *= devices
    elif "DataSource" in tables:
        rows *= INSTANCES  # at most as many, where each has one
    if "Metric" in tables and ("Metric", "Metric of DataSource") not in chosen:
        rows *= METRICS if "Instance" in tables else METRICS * INSTANCES
    for table, column in columns:
        rows *= days.get(table, DAYS_KEPT) * TIMES[column] if column in TIMES else 1
        rows *= BUCKETS if column == "Bucket" else 1
    return rows


def test_no_visual_fetches_more_than_a_million_rows(
    parts: dict[str, Json], visuals: dict[str, list[Json]], tables: dict[str, Node]
) -> None:
    """Each measure of each visual, at 1,000 devices of 120 instances and 6 metrics each."""
    measures = {measure.name: str(measure.value) for table in tables.values() for measure in table.all("measure")}
    counted = 0
    for page, shown in visuals.items():
        days = filtered_days(parts[f"lmdp.Report/definition/pages/{page}/page.json"])
        chosen = {
            (table, name)
            for visual in shown
            if "selection" in visual["visual"].get("objects", {})
            for _, table, name in fields(visual["visual"]["query"])
        }
        for visual in shown:
            asked = fields(visual["visual"]["query"]["queryState"])
            columns = {(table, name) for kind, table, name in asked if kind == "Column"}
            for name in (name for kind, _, name in asked if kind == "Measure"):
                counted += 1
                rows = combinations(columns | walked(name, measures), chosen, days)
                assert rows <= MOST, f"{page}, {visual['name']}, {name}: {rows:,}"
            assert combinations(columns, chosen, days) <= MOST, f"{page}, {visual['name']}"
    assert counted > 50


def filtered_days(page: Json) -> dict[str, int]:
    """Return how many days a page shows of the tables that its filter reaches."""
    (only,) = page["filterConfig"]["filters"]
    days = -only["filter"]["Where"][0]["Condition"]["Between"]["LowerBound"]["DateSpan"]["Expression"]["DateAdd"][
        "Amount"
    ]
    ((_, table, _),) = fields(only["field"])
    return dict.fromkeys(("Date", "Points", "Daily", "Rates", "Spread") if table == "Date" else (table,), days)


OLD_PERCENTILE = "PERCENTILEX.INC(VALUES('Points'[Hour]), [Average value], 0.95)"
OLD_LAST = "VAR lastDay = MAX('Daily'[Day])\nRETURN CALCULATE(AVERAGE('Daily'[Last]), 'Daily'[Day] = lastDay)"
BY_DEVICE = {("Device", "Device")}
BY_INSTANCE = {*BY_DEVICE, ("Instance", "Instance")}
ONE_METRIC = {("Metric", "Metric of DataSource")}


@pytest.mark.parametrize(
    ("columns", "chosen", "code", "rows"),
    [
        (BY_INSTANCE, ONE_METRIC, OLD_PERCENTILE, 1_000 * 120 * 7 * 24),
        ({*BY_INSTANCE, ("Metric", "Metric")}, set(), OLD_LAST, 1_000 * 120 * 6 * 7),
        (BY_INSTANCE, ONE_METRIC, "VALUES('Spread'[Bucket])", 1_000 * 120 * 945),
        (BY_DEVICE, ONE_METRIC, "VALUES('Spread'[Bucket])", 1_000 * 945),
        ({*BY_INSTANCE, ("Metric", "Metric")}, BY_DEVICE, "VALUES('Spread'[Bucket])", 120 * 6 * 945),
        ({("Health", "Health hour")}, set(), "SUM('Health'[Rows])", 30 * 24),
    ],
)
def test_the_arithmetic_knows_what_is_too_much(
    columns: set[tuple[str, str]], chosen: set[tuple[str, str]], code: str, rows: int
) -> None:
    """The first two are shapes that the report had."""
    found = combinations(columns | walked("m", {"m": code}), chosen, {"Points": 7, "Daily": 7})
    assert found == rows
