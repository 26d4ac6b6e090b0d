"""The warehouse's tables: the ones that Snowflake has too, from the same files, and the consumer's own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from lmdp.errors import SettingsError
from lmdp.machine.warehouse.connection import DATABASE, SCHEMA
from lmdp.sql.render import statements
from lmdp.sql.settings import SnowflakeSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from lmdp.core.specification import Spec

SETTINGS = SnowflakeSettings(retention_days=None)
"""The SQL as one machine has it: the retention is done here, so no clause keeps old rows."""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "the consumer's tables",
        """
        CREATE TABLE REJECTS (
          ERROR_CODE VARCHAR NOT NULL, ERROR_MESSAGE VARCHAR NOT NULL, ATTEMPTS_MADE INTEGER NOT NULL,
          ARRIVAL_TIMESTAMP TIMESTAMP NOT NULL, ATTEMPT_ENDING_TIMESTAMP TIMESTAMP NOT NULL,
          RAW_DATA VARCHAR NOT NULL, SOURCE_TOPIC VARCHAR NOT NULL, SOURCE_PARTITION INTEGER NOT NULL,
          SOURCE_OFFSET BIGINT NOT NULL, SOURCE_TIMESTAMP BIGINT, SOURCE_KEY VARCHAR, DATAPOINTS BIGINT NOT NULL
        );
        CREATE TABLE OFFSETS (
          CLUSTER VARCHAR, TOPIC_ID VARCHAR, TOPIC VARCHAR, PARTITION INTEGER, NEXT_OFFSET BIGINT NOT NULL,
          PRIMARY KEY (CLUSTER, TOPIC_ID, TOPIC, PARTITION)
        );
        CREATE TABLE LOADS (
          CLUSTER VARCHAR NOT NULL, TOPIC_ID VARCHAR NOT NULL, TOPIC VARCHAR NOT NULL, PARTITION INTEGER NOT NULL,
          FIRST_OFFSET BIGINT NOT NULL, NEXT_OFFSET BIGINT NOT NULL, ROWS BIGINT NOT NULL, REJECTS BIGINT NOT NULL,
          LOADED_AT TIMESTAMP NOT NULL
        );
        CREATE TABLE REMOVALS (
          REMOVED_AT TIMESTAMP NOT NULL, BEFORE_TS TIMESTAMP NOT NULL, ROWS BIGINT NOT NULL, REJECTS BIGINT NOT NULL
        );
        """,
    ),
    (
        "marks of replayed objects",
        """
        CREATE TABLE REPLAYED (
          DIGEST VARCHAR PRIMARY KEY, OBJECT VARCHAR NOT NULL, REMAINS BLOB, REPLAYED_AT TIMESTAMP NOT NULL
        );
        """,
    ),
    (
        "leader epochs, and messages that were gone before they were read",
        """
        ALTER TABLE OFFSETS ADD COLUMN LEADER_EPOCH INTEGER DEFAULT -1;
        ALTER TABLE LOADS ADD COLUMN LEADER_EPOCH INTEGER DEFAULT -1;
        CREATE TABLE GAPS (
          CLUSTER VARCHAR NOT NULL, TOPIC_ID VARCHAR NOT NULL, TOPIC VARCHAR NOT NULL, PARTITION INTEGER NOT NULL,
          FIRST_OFFSET BIGINT NOT NULL, NEXT_OFFSET BIGINT NOT NULL, FOUND_AT TIMESTAMP NOT NULL
        );
        """,
    ),
    ("what copies of replayed failures are known by", "CREATE TABLE REPLAYED_FAILURES (COPY_OF VARCHAR NOT NULL)"),
    (
        # A line of LOADS begins where reading did, and no longer at its first message: what no line covers is a hole,
        # and not a transaction's marker.
        "loads without spaces",
        """
        ALTER TABLE LOADS ADD COLUMN IS_COMPLETE BOOLEAN DEFAULT FALSE;
        """,
    ),
    ("the tenant that a trusted header named", "ALTER TABLE REJECTS ADD COLUMN SOURCE_TENANT VARCHAR"),
)
"""The migrations of a file, in order; a version is how many of them. Append only: a file runs each once."""

KEPT = ("METRIC_HOURLY",)
"""Roll-ups whose old rows stay when their raw rows go. METRIC_DAILY reads METRIC_HOURLY, and so has them too."""

# An hour is either live or kept: what comes late for one that is kept changes it no more, as on Snowflake.
_KEPT_AND_LIVE = """
CREATE OR REPLACE VIEW {name} AS
SELECT * FROM {name}_LIVE
WHERE HOUR_TS >= (SELECT coalesce(max(BEFORE_TS), TIMESTAMP '-infinity') FROM REMOVALS)
UNION ALL BY NAME
SELECT * FROM {name}_KEPT
"""


# Table macros next to the views of steps. A step needs the point before it, so a filter on the time passes no such
# view; and none at all passes HISTOGRAM_QUANTILES, whose parts DuckDB 2.0.0 makes whole: an hour of one histogram
# would read all there are, and run out of memory. METRIC_RATES_OF is METRIC_RATES over the rows of one metric from
# `since` up to `until` alone, exact from the second point of each series on. HISTOGRAM_QUANTILES_OF takes the metric as
# its rows have it, with `.bucket`. '*' is every tenant, device or instance.
STEP_VIEWS = ("METRIC_RATES", "HISTOGRAM_QUANTILES")
_PARAMETERS = "(of_org, of_device, of_datasource, of_instance, of_metric, since, until)"
_ONE_METRIC = """
  WHERE (of_org = '*' OR ORG_ID = of_org) AND (of_device = '*' OR DEVICE_ID = of_device) AND DATASOURCE = of_datasource
    AND (of_instance = '*' OR INSTANCE IS NOT DISTINCT FROM of_instance) AND METRIC = of_metric
    AND TS >= since AND TS < until
"""
# The time in UTC, under the name that it has in Snowflake: a query with it runs on both.
_SYSDATE = f"CREATE OR REPLACE MACRO {SCHEMA}.SYSDATE() AS CAST(now() AS TIMESTAMP)"
_VIEW = re.compile(rf"CREATE OR REPLACE VIEW {re.escape(SCHEMA)}\.(\w+) AS ")
_SOURCE = re.compile(rf"FROM {re.escape(SCHEMA)}\.(\w+)")
_ROWS = f"{SCHEMA}.ROW_EVENTS"
_HOUR = "DATE_TRUNC('HOUR', \"ts\")"  # a group's own column: what is computed above it is no filter below it
_ROWS_ONCE = f'(SELECT * EXCLUDE "value", {_HOUR} AS HOUR, MAX("value") AS "value" FROM {_ROWS} GROUP BY ALL)'  # noqa: S608 - its own names
_AGE = "ROW(TS_UNIX_MS, COALESCE(VALUE, '-inf'::DOUBLE))"
_LAST_OF_THE_HOUR = re.compile(rf" UNION ALL SELECT .*? FROM {re.escape(SCHEMA)}\.LAST_POINTS\b")  # noqa: S608 - its own names
_BEFORE_THE_HOUR = re.compile(rf" UNION ALL SELECT [^()]* FROM {re.escape(SCHEMA)}\.SUM_PREVIOUS\b")  # noqa: S608 - its own names


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as DuckDB describes it; names compare without case, as they do there."""

    name: str
    type: str
    required: bool


def prepare(connection: duckdb.DuckDBPyConnection, path: Path, spec: Spec) -> None:
    """Bring the file to this version of the program and of the specification, in one transaction.

    Raises SettingsError, with the file as it was, when it is newer or when its rows cannot follow the specification.
    """
    shared = shared_statements(spec)
    definitions = (*shared, *step_macros(shared), _SYSDATE)
    with transaction(connection):
        _migrate(connection, path)
        if not _follow(connection, path, _wanted(shared)) and _is_current(connection, definitions):
            return
        for sql in definitions:
            _create(connection, sql)
        for name in _view_names(definitions):
            connection.execute(f"COMMENT ON VIEW {name} IS '{_digest(definitions)}'")


def check(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Check a file that is only read. Raises SettingsError when it is newer, or no warehouse at all."""
    if not _has_table(connection, "MIGRATIONS"):
        raise SettingsError(f"{path} is a DuckDB file, but not one of lmdp's: it has no table PIPELINE.MIGRATIONS")
    connection.execute(f"USE {SCHEMA}")
    _version(connection, path)


@functools.lru_cache(maxsize=4)
def shared_statements(spec: Spec) -> tuple[str, ...]:
    """Return the tables and views that Snowflake has too, in DuckDB's dialect, in the order to run them."""
    # The translator takes 0.2 s to import, and a file that is only read needs none.
    from lmdp.sql.duckdb_dialect import to_duckdb  # noqa: PLC0415 - see above

    translated = (to_duckdb(statement.sql) for statement in statements(spec, SETTINGS))
    return tuple(_cheaper(sql for sql in translated if sql is not None))


def _cheaper(statements: Iterable[str]) -> Iterator[str]:
    """Yield the statements with the same rows, and less to compute where no view's rows are kept.

    Repeats are merged before keys are computed, so that less has to fit in memory. The last point of an hour has the
    greatest value of its repeats, so it is found among all rows, and METRIC_HOURLY finds it as it groups. A step's
    window needs no end, and so no point from before the hour: the last condition leaves out what began before the day
    before.
    """
    for sql in statements:
        name = found[1] if (found := _VIEW.match(sql)) else ""
        if name == "POINTS":
            points = sql.partition(" QUALIFY ")[0]
            yield points.replace(".POINTS AS ", ".POINTS_WITH_REPEATS AS ", 1)
            yield points.replace(f"{_HOUR} AS", "HOUR AS").replace(f"FROM {_ROWS}", f"FROM {_ROWS_ONCE}")
        elif name in ("LAST_POINTS", "SUM_ENDS"):
            yield sql.replace(f"FROM {SCHEMA}.POINTS ", f"FROM {SCHEMA}.POINTS_WITH_REPEATS ")
        elif name == "METRIC_HOURLY":
            grouped = _LAST_OF_THE_HOUR.sub("", sql).replace("CAST(NULL AS DOUBLE) AS LAST_VALUE", f"{_AGE} AS AGE")
            yield grouped.replace("MAX(LAST_VALUE)", "ARG_MAX_NULL(VALUE, AGE)")
        elif name == "SUM_STEPS":
            yield _BEFORE_THE_HOUR.sub("", sql).replace(", DAY_TS, HOUR_TS ORDER BY", " ORDER BY")
        else:
            yield sql


def step_macros(statements: Iterable[str]) -> Iterator[str]:
    """Yield the macro of each view of steps among these statements, which are in DuckDB's dialect."""
    bodies = {found[1]: sql[found.end() :] for sql in statements if (found := _VIEW.match(sql))}
    for view in STEP_VIEWS:
        yield f"CREATE OR REPLACE MACRO {SCHEMA}.{view}_OF{_PARAMETERS} AS TABLE {_of_one_metric(bodies[view], bodies)}"


def _of_one_metric(body: str, bodies: dict[str, str]) -> str:
    """Return a view's SELECT with each source in it written out, down to the rows of one metric."""

    def source(found: re.Match[str]) -> str:
        if found[1] in ("METRICS", "POINTS", "POINTS_WITH_REPEATS"):
            return f"FROM (SELECT * {found[0].replace('_WITH_REPEATS', '')} {_ONE_METRIC})"
        return f"FROM ({_of_one_metric(bodies[found[1]], bodies)})"

    return _SOURCE.sub(source, body)


def _create(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Run a statement; a roll-up that is kept becomes a view of its own, under the name `…_LIVE`."""
    kept = next((name for name in KEPT if sql.startswith(f"CREATE OR REPLACE VIEW {SCHEMA}.{name} AS ")), None)
    if kept is None:
        connection.execute(sql)
        return
    connection.execute(sql.replace(f"{SCHEMA}.{kept} AS ", f"{SCHEMA}.{kept}_LIVE AS ", 1))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {kept}_KEPT AS FROM {kept}_LIVE LIMIT 0")
    there = {column.name for column in _columns(connection, f"{kept}_KEPT")}
    for column in _columns(connection, f"{kept}_LIVE"):
        if column.name not in there:
            connection.execute(f'ALTER TABLE {kept}_KEPT ADD COLUMN "{column.name}" {column.type}')
    connection.execute(_KEPT_AND_LIVE.format(name=kept))


def _is_current(connection: duckdb.DuckDBPyConnection, definitions: tuple[str, ...]) -> bool:
    """Return whether every view is there as these statements make it, which takes DuckDB half a second.

    A view's comment is the digest of all of them, and goes when an older program replaces the view.
    """
    found = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE database_name = ? AND schema_name = ? AND comment = ?",
        [DATABASE, "PIPELINE", _digest(definitions)],
    )
    return {name for (name,) in found.fetchall()} == _view_names(definitions)


def _view_names(definitions: tuple[str, ...]) -> set[str]:
    names = {found[1] for sql in definitions if (found := _VIEW.match(sql))}
    return names | {f"{name}_LIVE" for name in KEPT}


@functools.lru_cache(maxsize=4)
def _digest(definitions: tuple[str, ...]) -> str:
    """Return what these statements are known by, with the DuckDB that runs them."""
    return hashlib.sha256("\0".join((duckdb.__version__, *definitions)).encode()).hexdigest()


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit all of the block, or nothing of it."""
    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        # A commit that failed has already rolled back, and says so.
        with contextlib.suppress(duckdb.Error):
            connection.rollback()
        raise


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute(f"USE {SCHEMA}")
    connection.execute("CREATE TABLE IF NOT EXISTS MIGRATIONS (VERSION INTEGER, NAME VARCHAR, APPLIED_AT TIMESTAMP)")
    done = _version(connection, path)
    for version, (name, sql) in enumerate(MIGRATIONS[done:], start=done + 1):
        connection.execute(sql)
        connection.execute("INSERT INTO MIGRATIONS VALUES (?, ?, CAST(now() AS TIMESTAMP))", [version, name])


def _version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    """Return how many migrations the file has had. Raises SettingsError when they are more than this program knows."""
    answer = connection.execute("SELECT coalesce(max(VERSION), 0) FROM MIGRATIONS").fetchone()
    version = int(answer[0]) if answer else 0
    if version > len(MIGRATIONS):
        raise SettingsError(
            f"the warehouse {path} was written by a newer lmdp (version {version} of its tables; "
            f"this one knows {len(MIGRATIONS)}).\nNothing was changed. Upgrade lmdp, or name another file."
        )
    return version


def _follow(connection: duckdb.DuckDBPyConnection, path: Path, wanted: tuple[_Column, ...]) -> bool:
    """Bring an older ROW_EVENTS to the specification where that loses nothing, or report what does not fit.

    Returns whether columns were added.
    """
    if not _has_table(connection, "ROW_EVENTS"):
        return False
    there = {column.name.lower(): column for column in _columns(connection)}
    faults = []
    for column in wanted:
        old = there.pop(column.name.lower(), None)
        if old is None and column.required:
            faults.append(f"the required column {column.name} is missing")
        elif old is not None and (old.type, old.required) != (column.type, column.required):
            faults.append(f"the column {column.name} is {_shape(old)}, and the specification says {_shape(column)}")
    faults += [
        f"the required column {column.name} is not in the specification" for column in there.values() if column.required
    ]
    if faults:
        raise SettingsError(
            f"the rows in {path} do not fit the specification:\n  - "
            + "\n  - ".join(faults)
            + "\nNothing was changed. Name another file, or use the specification that it was made with again."
        )
    old_names = {column.name.lower() for column in _columns(connection)}
    added = [column for column in wanted if column.name.lower() not in old_names]
    for column in added:
        connection.execute(f'ALTER TABLE ROW_EVENTS ADD COLUMN "{column.name}" {column.type}')
    return bool(added)


@functools.lru_cache(maxsize=4)
def _wanted(shared: tuple[str, ...]) -> tuple[_Column, ...]:
    """Return the columns that ROW_EVENTS has in a new file."""
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as scratch:
        scratch.execute(f"ATTACH ':memory:' AS {DATABASE}")
        for sql in shared:
            if sql.startswith(("CREATE SCHEMA", "CREATE TABLE")):
                scratch.execute(sql)
        scratch.execute(f"USE {SCHEMA}")
        return tuple(_columns(scratch))


def _columns(connection: duckdb.DuckDBPyConnection, table: str = "ROW_EVENTS") -> list[_Column]:
    described = connection.execute(f"DESCRIBE {table}").fetchall()
    return [_Column(name, kind, null == "NO") for name, kind, null, *_ in described]


def _has_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = ? AND schema_name = 'PIPELINE' AND table_name = ?",
        [DATABASE, name],
    )
    return found.fetchone() is not None


def _shape(column: _Column) -> str:
    return f"{column.type}{' NOT NULL' if column.required else ''}"
