"""Make docs/columns.md from the specification and the views, for `make docs`.

Names and types come from an empty warehouse, which has every table and view of one machine; the meanings are here. A
column without a meaning ends the script, so that the page cannot miss one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse

PAGE = Path(__file__).resolve().parents[1] / "docs" / "columns.md"

HEAD = """\
# Column dictionary

Every table and view of the schema `PIPELINE`, with its columns. Made by `make docs` from the
[specification](kafka_ingest_spec.md) and the views. Times are UTC. Types are Snowflake's; in DuckDB
`FLOAT` is `DOUBLE`, `VARIANT` is `JSON` and `NUMBER` is `BIGINT`. The [glossary](glossary.md) explains the terms.
"""
GROUPS = {
    "Rows": ("ROW_EVENTS", "METRICS", "METRIC_LATEST"),
    "Rates and quantiles": ("METRIC_RATES", "HISTOGRAM_QUANTILES"),
    "Roll-ups": ("METRIC_HOURLY", "METRIC_DAILY", "METRIC_RATES_HOURLY"),
    "Star schema": ("FACT_METRIC", "DIM_DEVICE", "DIM_DATASOURCE", "DIM_METRIC", "DIM_INSTANCE", "DIM_DATE"),
    "Pipeline": ("PIPELINE_HEALTH", "DEVICE_HOURS"),
    "One machine only": (
        *("REJECTS", "LOADS", "OFFSETS", "GAPS", "REMOVALS"),
        *("REPLAYED", "REPLAYED_FAILURES", "MIGRATIONS"),
    ),
}
HIDDEN = {"METRIC_HOURLY_LIVE", "METRIC_HOURLY_KEPT"}
"""The two parts of METRIC_HOURLY on one machine."""

TABLES = {
    "ROW_EVENTS": "The landing table: one row event a row, as it arrived. Columns are the specification's, quoted.",
    "METRICS": "Every row once: repeats dropped, typed columns. Start here.",
    "METRIC_LATEST": "The newest point of each series that has raw rows.",
    "METRIC_RATES": "Sums per second. A row is a step: the time between two points of a series.",
    "HISTOGRAM_QUANTILES": "Quantiles of a histogram in each step, computed from its buckets.",
    "METRIC_HOURLY": "Each series by the hour. Kept when the raw rows have expired.",
    "METRIC_DAILY": "METRIC_HOURLY by the day (UTC).",
    "METRIC_RATES_HOURLY": "METRIC_RATES by the hour in which a step ends. Kept like METRIC_HOURLY.",
    "FACT_METRIC": "METRICS as a fact table: keys of the dimensions, times, and the value.",
    "DIM_DEVICE": "The devices.",
    "DIM_DATASOURCE": "The DataSources, or instrumentation scopes.",
    "DIM_METRIC": "The metrics of each DataSource, with unit and type.",
    "DIM_INSTANCE": "The instances of each device's DataSources.",
    "DIM_DATE": "Every day of each year that has data, and in December of the next year.",
    "PIPELINE_HEALTH": "The rows of each device by the hour: count, repeats, gaps, freshness. It includes the canary.",
    "DEVICE_HOURS": "The rows of each device by the hour of measurement; PIPELINE_HEALTH reads it.",
    "REJECTS": "What could not become rows, with the reason and the message.",
    "LOADS": "Which offsets were committed when: the proof that no message was written twice.",
    "OFFSETS": "The next offset of each partition; a restart resumes from there.",
    "GAPS": "Messages that expired in Kafka before they were read.",
    "REMOVALS": "What `--keep` removed.",
    "REPLAYED": "Objects that `lmdp replay` has written.",
    "REPLAYED_FAILURES": "Failures that `lmdp replay` has written, so that copies of them make no second row.",
    "MIGRATIONS": "Versions of the file's schema.",
}
_KEY = "Key of {}, a hash that is the same on both engines."
COLUMNS = {
    "HOUR_TS": "The hour of the time, or in which a step ends.",
    "DAY_TS": "The day.",
    "INSTANCE_LABEL": "The instance's label as people know it (LogicMonitor's `wildAlias`).",
    "LE": "Upper bound of a histogram's bucket; infinity for the last one. Empty for other rows.",
    "QUANTILE": "The quantile of a summary's row (0.99). Empty for other rows.",
    "TEMPORALITY": "`delta`, `cumulative`, or what the source did not declare: empty, in rates `undeclared`.",
    "IS_MONOTONIC": "Whether the sum only grows, apart from restarts.",
    "START_TS": "The start of the time that the value covers, where the source gave it.",
    "SERIES": "Identity of the line that the point belongs to: all columns but times and value.",
    "HISTOGRAM_SERIES": "The same for the buckets of one histogram, without `LE`. Empty for other rows.",
    "SECONDS": "Length of the step; by the hour, of all its steps.",
    "RATE": "Growth per second in the step. Empty where an undeclared sum fell.",
    "RESET": "Whether the series restarted in this step.",
    "SAMPLES": "Number of points; in HISTOGRAM_QUANTILES, of observations.",
    **{f"P{n}": f"The {n}th percentile, linear within a bucket." for n in (50, 90, 95, 99)},
    "GROWTH": "What the counter grew by in the hour.",
    "RATE_AVG": "Mean rate, weighted by time.",
    "RATE_MAX": "Highest rate.",
    "RESETS": "Number of restarts.",
    "VALUE_MIN": "Smallest value.",
    "VALUE_MAX": "Greatest value.",
    "VALUE_SUM": "Sum of the values.",
    "VALUE_AVG": "Mean of the values.",
    "VALUE_LAST": "The value at LAST_TS.",
    "FIRST_TS": "Time of the first point.",
    "LAST_TS": "Time of the last point.",
    "DATE_KEY": "The day as a number: 20260131. Key of DIM_DATE.",
    "DEVICE_KEY": _KEY.format("DIM_DEVICE"),
    "DATASOURCE_KEY": _KEY.format("DIM_DATASOURCE"),
    "METRIC_KEY": _KEY.format("DIM_METRIC"),
    "INSTANCE_KEY": _KEY.format("DIM_INSTANCE"),
    "CALENDAR_DATE": "The day.",
    "CALENDAR_YEAR": "2026.",
    "CALENDAR_QUARTER": "1 to 4.",
    "CALENDAR_MONTH": "1 to 12.",
    "DAY_OF_MONTH": "1 to 31.",
    "DAY_OF_WEEK": "1 (Monday) to 7.",
    "ISO_WEEK": "1 to 53.",
    "MONTH_START": "First day of the month.",
    "YEAR_MONTH": "202601.",
    "MONTH_NAME": "Jan, Feb, …",
    "DAY_NAME": "Mon, Tue, …",
    "IS_WEEKEND": "Saturday or Sunday.",
    "IS_CANARY": "Whether the rows are the canary's, which the other views leave out.",
    "ROW_COUNT": "Rows that arrived, repeats included.",
    "REPEATS": "Rows beyond the first of the same identity.",
    "GAP_SECONDS": "Longest silence that ended in the hour.",
    "NEWEST_TS": "Time of the device's newest row.",
    "FRESHNESS_SECONDS": "Age of the device's newest row.",
    "ERROR_CODE": "Why: a `Decode.` or `Row.` code.",
    "ERROR_MESSAGE": "All reasons in words.",
    "ATTEMPTS_MADE": "1, as in Firehose's failed records.",
    "ARRIVAL_TIMESTAMP": "When the message was rejected.",
    "ATTEMPT_ENDING_TIMESTAMP": "The same.",
    "RAW_DATA": "The message in base64, cut down to the datapoints that failed.",
    "SOURCE_TOPIC": "Its topic.",
    "SOURCE_PARTITION": "Its partition.",
    "SOURCE_OFFSET": "Its offset.",
    "SOURCE_TIMESTAMP": "Its Kafka timestamp in Unix milliseconds.",
    "SOURCE_KEY": "Its key.",
    "DATAPOINTS": "Rejected datapoints; 0 where the message could not be decoded.",
    "CLUSTER": "Kafka's cluster id.",
    "TOPIC_ID": "Kafka's topic id: a recreated topic has another one.",
    "TOPIC": "The topic.",
    "PARTITION": "The partition.",
    "LEADER_EPOCH": "Kafka's leader epoch, -1 where unknown.",
    "FIRST_OFFSET": "First offset of the range.",
    "NEXT_OFFSET": "The offset after the range; in OFFSETS, the next one to read.",
    "ROWS": "Rows written or removed.",
    "REJECTS": "Rejects written or removed.",
    "LOADED_AT": "Time of the commit.",
    "IS_COMPLETE": "Whether the range starts where reading did; false in lines that older versions wrote.",
    "FOUND_AT": "When the gap was found.",
    "REMOVED_AT": "Time of the removal.",
    "BEFORE_TS": "Rows older than this were removed.",
    "DIGEST": "Digest of the object's name and content.",
    "OBJECT": "The object's name.",
    "REMAINS": "What of the object is still to be replayed.",
    "REPLAYED_AT": "Time of the replay.",
    "COPY_OF": "Digest of the failure.",
    "VERSION": "Number of the migration.",
    "NAME": "What the migration did.",
    "APPLIED_AT": "When it was applied.",
}
TYPES = {"DOUBLE": "FLOAT", "JSON": "VARIANT", "BIGINT": "NUMBER", "INTEGER": "NUMBER", "TIMESTAMP": "TIMESTAMP_NTZ"}
TYPES |= {"BLOB": "BINARY"}

Column = tuple[str, str]
"""Name and type."""


def described() -> dict[str, list[Column]]:
    """Return the columns of every table and view, read from an empty warehouse."""
    select = """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'PIPELINE' ORDER BY table_name, ordinal_position
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Warehouse.open(Path(folder) / "empty.duckdb", load_spec()) as warehouse,
    ):
        rows = [tuple(row.values()) for row in warehouse.query(select).table.to_pylist()]
    return {
        table: [(name, TYPES.get(kind, kind)) for _, name, kind in of] for table, of in groupby(rows, lambda r: r[0])
    }


def page() -> str:
    """Return the whole page."""
    tables = described()
    listed = [name for names in GROUPS.values() for name in names]
    if unlisted := set(tables) - HIDDEN - set(listed):
        raise SystemExit(f"tools/column_docs.py does not list {', '.join(sorted(unlisted))}")
    parts = [HEAD]
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        parts += ["\n".join(_table(name, tables[name])) + "\n" for name in names]
    return "\n".join(parts)


def _table(name: str, columns: list[Column]) -> Iterator[str]:
    yield f"### {name}\n\n{TABLES[name]}\n"
    yield "| column | type | meaning |\n| --- | --- | --- |"
    yield from (f"| `{column}` | {kind} | {_meaning(column)} |" for column, kind in columns)


def _meaning(column: str) -> str:
    """Return the specification's text for its own columns, in either spelling, else ours."""
    of_spec = {field.name.upper(): field.about for field in load_spec().fields}
    return of_spec.get(column.replace("_", "").upper()) or COLUMNS[column]
