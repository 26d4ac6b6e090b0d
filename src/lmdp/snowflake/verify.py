"""Checks of the installation in Snowflake: each is a line, none stops the others."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lmdp.core.specification import Spec
from lmdp.errors import LmdpError, ObjectNotFoundError
from lmdp.snowflake.connection import ask
from lmdp.snowflake.dynamic_tables import KEPT, findings, read_dynamic_tables, shared_warehouse
from lmdp.snowflake.streaming.settings import OWN_PIPE
from lmdp.sql.render import column
from lmdp.sql.settings import SnowflakeSettings
from lmdp.sql.table_diff import columns_query, faults, read_columns
from lmdp.support.program import program

VIEWS: Final = (
    "METRICS", "METRIC_RATES", "METRIC_HOURLY", "METRIC_DAILY", "METRIC_RATES_HOURLY", "METRIC_LATEST",
    "HISTOGRAM_QUANTILES", "DIM_DEVICE", "DIM_DATASOURCE", "DIM_METRIC", "DIM_INSTANCE", "DIM_DATE", "FACT_METRIC",
    "DEVICE_HOURS", "PIPELINE_HEALTH", "METRIC_SPREAD", "METRIC_LIMITS", "METRIC_TREND", "PIPELINE_LAG",
)  # fmt: skip
"""The views that reports read."""

CANARY: Final = "lmdp.canary"
TRIAL_DATASOURCE: Final = "lmdp.try"
"""DataSource of the rows of `lmdp snowflake try`, one of which no column takes."""

# Of each task the newest run that has ended: https://docs.snowflake.com/en/sql-reference/functions/task_history
_LAST_RUNS: Final = """
SELECT NAME, ERROR_MESSAGE
FROM TABLE({database}.INFORMATION_SCHEMA.TASK_HISTORY(RESULT_LIMIT => 10000))
WHERE DATABASE_NAME = '{database}' AND SCHEMA_NAME = '{schema}' AND COMPLETED_TIME IS NOT NULL
QUALIFY ROW_NUMBER() OVER (PARTITION BY NAME ORDER BY COMPLETED_TIME DESC) = 1
"""
_AHEAD: Final = timedelta(minutes=5)
_LATELY: Final = " AND TIMESTAMP >= DATEADD(day, -2, CURRENT_TIMESTAMP())"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `ok` is None where there is nothing to judge yet."""

    name: str
    ok: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class Installation:
    """Input of a check: a connection, the settings, the specification, the time, and the newest row's maximum age."""

    connection: Any
    settings: SnowflakeSettings
    spec: Spec
    now: datetime
    fresh: timedelta = timedelta(minutes=15)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Rows of one statement."""
        return ask(self.connection, sql)

    def name(self, field: str) -> str:
        """A column of the landing table, as SQL has it."""
        return column(field, self.settings.identifiers)


def verify(scope: Installation, only: Container[str] | None = None) -> list[Check]:
    """Every check, or those of these names, in the order in which you would look."""
    return [_checked(name, check, scope) for name, check in _CHECKS.items() if only is None or name in only]


def samples(scope: Installation, count: int = 3) -> list[dict[str, Any]]:
    """A few rows as reports see them."""
    shown = "ORG_ID, DEVICE_ID, DATASOURCE, INSTANCE, METRIC, TS, VALUE"
    try:
        return scope.ask(f"SELECT {shown} FROM {scope.settings.place}.METRICS LIMIT {count}")  # noqa: S608 - checked names
    except LmdpError as error:
        if _waits(error):
            return []
        raise


def _waits(error: LmdpError) -> bool:
    """Return whether a dynamic table cannot be read before its first refresh, which is made on schedule.

    https://docs.snowflake.com/en/sql-reference/sql/create-dynamic-table (INITIALIZE)
    """
    return "not initialized" in str(error).lower()


def _checked(name: str, check: Callable[[Installation], tuple[bool | None, str]], scope: Installation) -> Check:
    try:
        return Check(name, *check(scope))
    except LmdpError as error:
        if _waits(error):
            return Check(name, None, "waits for the first refresh, which follows on schedule")
        return Check(name, ok=False, said=str(error).partition("\n")[0])


def _connection(scope: Installation) -> tuple[bool, str]:
    (answer,) = scope.ask("SELECT CURRENT_VERSION() AS VERSION, CURRENT_USER() AS WHO")
    return True, f"Snowflake {answer['version']}, as {answer['who']}"


def _role(scope: Installation) -> tuple[bool, str]:
    (answer,) = scope.ask("SELECT CURRENT_ROLE() AS ROLE")
    wanted = scope.settings.setup_role
    is_it = str(answer["role"]).upper() == wanted
    return is_it, str(answer["role"]) if is_it else f"{answer['role']}; {wanted} was expected"


def _firehose_privileges(scope: Installation) -> tuple[bool, str]:
    """Usage of database and schema, insert into the table, the direct writer's pipe, and nothing else."""
    settings = scope.settings
    wanted = {
        ("USAGE", settings.database),
        ("USAGE", settings.place),
        ("INSERT", f"{settings.place}.ROW_EVENTS"),
    }
    of_direct_writer = {("OPERATE", f"{settings.place}.{OWN_PIPE}")}
    rows = scope.ask(f"SHOW GRANTS TO ROLE {settings.firehose_role}")
    held = {(str(row["privilege"]).upper(), str(row["name"]).replace('"', "")) for row in rows}
    off = [f"{right} on {on} is missing" for right, on in sorted(wanted - held)]
    off += [f"{right} on {on} is too much" for right, on in sorted(held - wanted - of_direct_writer)]
    return not off, "; ".join(off) or f"{settings.firehose_role} may insert into ROW_EVENTS, and nothing else"


def _shape(scope: Installation) -> tuple[bool, str]:
    there = read_columns(scope.ask(columns_query(scope.settings)))
    if not there:
        return False, f"there is no table ROW_EVENTS; run `{program()} snowflake setup`"
    off = faults(there, scope.spec, scope.settings)
    return not off, "; ".join(off) or f"{len(scope.spec.fields)} columns, as the specification says"


def _views(scope: Installation) -> tuple[bool | None, str]:
    broken, waiting = [], []
    for view in VIEWS:
        try:
            scope.ask(f"SELECT * FROM {scope.settings.place}.{view} LIMIT 0")  # noqa: S608 - checked names
        except LmdpError as error:
            if _waits(error):
                waiting.append(view)
            else:
                broken.append(f"{view}: {str(error).splitlines()[:2][-1]}")
    if waiting and not broken:
        return None, f"{', '.join(waiting)} cannot be read before the first refresh, which follows on schedule"
    return not broken, "; ".join(broken) or f"{len(VIEWS)} views and roll-ups answer"


def _refreshes(scope: Installation) -> tuple[bool, str]:
    """Check state, mode, age and last error of the dynamic tables."""
    tables = read_dynamic_tables(scope.connection, scope.settings)
    if not tables:
        return False, f"there are no dynamic tables; run `{program()} snowflake setup`"
    wrong = findings(tables, scope.settings, scope.now)
    if shared := shared_warehouse(tables, scope.settings):
        wrong.append(shared)
    return not wrong, "; ".join(wrong) or f"{len(tables)} dynamic tables are refreshed with what changed, and in time"


def _tasks(scope: Installation) -> tuple[bool, str]:
    """Check that the tasks are scheduled, and that the last run of none failed."""
    settings = scope.settings
    states = {str(row["name"]): str(row["state"]) for row in scope.ask(f"SHOW TASKS IN SCHEMA {settings.place}")}
    runs = scope.ask(_LAST_RUNS.format(database=settings.database, schema=settings.schema))
    errors = {str(row["name"]): row["error_message"] for row in runs}
    wanted = [f"BACK_UP_{table}" for table in KEPT]
    if settings.retention_days is not None:
        wanted.append("REMOVE_OLD_ROWS")
    wrong = [
        f"the task {name} is {states.get(name, 'missing')}: {program()} snowflake setup"
        for name in wanted
        if states.get(name) != "started"
    ]
    wrong += [
        f"the task {name} failed ({errors[name]}): fix the cause, then EXECUTE TASK {settings.place}.{name}"
        for name in wanted
        if errors.get(name)
    ]
    return not wrong, "; ".join(wrong) or f"{len(wanted)} tasks are scheduled, and the last run of none failed"


def _freshness(scope: Installation) -> tuple[bool | None, str]:
    ts, since = scope.name("ts"), scope.now - timedelta(days=1)
    newest = (
        f"SELECT COUNT(*) AS ARRIVED, MAX({ts}) AS NEWEST FROM {scope.settings.place}.ROW_EVENTS"  # noqa: S608 - checked names
        f" WHERE {scope.name('datasource')} <> '{CANARY}'"
        # A clock that is ahead says nothing about what lands now.
        f" AND {ts} <= '{scope.now + _AHEAD:%Y-%m-%d %H:%M:%S}'::TIMESTAMP_NTZ"
    )
    # All that is kept is read only where the last day has nothing.
    (answer,) = scope.ask(f"{newest} AND {ts} >= '{since:%Y-%m-%d %H:%M:%S}'::TIMESTAMP_NTZ")
    if not answer["arrived"]:
        (answer,) = scope.ask(newest)
    if not answer["arrived"]:
        return None, "no rows yet"
    age = scope.now - answer["newest"].replace(tzinfo=UTC)
    return age <= scope.fresh, f"the newest row was measured {age.total_seconds():,.0f} s ago"


def _repeats(scope: Installation) -> tuple[bool | None, str]:
    since = (scope.now - timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S")
    (answer,) = scope.ask(
        f"SELECT SUM(ROW_COUNT) AS ARRIVED, SUM(POINT_COUNT) AS SHOWN FROM {scope.settings.place}.DEVICE_COUNTS"  # noqa: S608 - checked names
        f" WHERE NOT IS_CANARY AND HOUR_TS >= '{since}'::TIMESTAMP_NTZ"
    )
    arrived, shown = int(answer["arrived"] or 0), int(answer["shown"] or 0)
    if not arrived:
        return None, "no rows of the last 24 hours"
    return True, f"{arrived:,} rows of the last 24 hours, {arrived - shown:,} of them repeats, which METRICS hides"


def _direct_writer(scope: Installation) -> tuple[bool | None, str]:
    """Check the direct writer's pipe and its grant, and whether Snowflake refused rows."""
    settings = scope.settings
    name = f"{settings.place}.{OWN_PIPE}"
    if settings.identifiers != "upper":
        if not scope.ask(f"SHOW PIPES LIKE '{OWN_PIPE}' IN SCHEMA {settings.place}"):
            made = f"{program()} snowflake setup makes it, or prints why Snowflake refuses"
            return None, f"there is no pipe {name}, which the direct writer needs: {made}"
        grants = scope.ask(f"SHOW GRANTS TO ROLE {settings.firehose_role}")
        held = {str(row["name"]).replace('"', "") for row in grants if str(row["privilege"]).upper() == "OPERATE"}
        if name not in held:
            return False, f"{settings.firehose_role} may not use {name}: {program()} snowflake setup"
    ok, said = _refused(scope)
    return ok, "the direct writer's pipe is there, and no row was refused" if ok else said


def refused_lately(scope: Installation) -> Check:
    """Check that Snowflake refused no row of the direct writer in the last two days."""
    return _checked("refused", lambda one: _refused(one, _LATELY), scope)


def _refused(scope: Installation, lately: str = "") -> tuple[bool | None, str]:
    try:
        (answer,) = scope.ask(f"SELECT COUNT(*) AS ROWS_REFUSED FROM {writer_errors(scope)}{lately}")  # noqa: S608 - checked names
    except ObjectNotFoundError:
        return None, "ERROR_LOGGING is not set on ROW_EVENTS: rows that Snowflake refuses are counted, and not kept"
    except LmdpError as error:
        return None, f"the rows that Snowflake refused are not known: {' '.join(str(error).split())}"
    count = int(answer["rows_refused"])
    if count:
        return False, f"{count:,} rows were refused; to have them for a replay: {program()} snowflake errors refused"
    return True, "no row was refused"


def refused_table(scope: Installation) -> str:
    """Return what SQL calls the table of what Snowflake refused, statements of others included.

    https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-error-logging
    """
    return f"ERROR_TABLE({scope.settings.place}.ROW_EVENTS)"


def writer_errors(scope: Installation) -> str:
    """Return table and condition of the direct writer's rows that Snowflake refused, without those of a trial."""
    trial = f"""CONTAINS(ERROR_DATA:"$1"::STRING, '"{TRIAL_DATASOURCE}"')"""
    return f"{streamed_errors(scope)} AND NOT COALESCE({trial}, FALSE)"


def streamed_errors(scope: Installation) -> str:
    """Return table and condition of the rows that Snowflake refused of any direct writer."""
    return f"{refused_table(scope)} WHERE ERROR_METADATA:service::STRING = 'snowpipe_streaming'"


_CHECKS: Final[dict[str, Callable[[Installation], tuple[bool | None, str]]]] = {
    "connection": _connection,
    "role": _role,
    "privileges": _firehose_privileges,
    "table": _shape,
    "views": _views,
    "refreshes": _refreshes,
    "tasks": _tasks,
    "freshness": _freshness,
    "repeats": _repeats,
    "direct writer": _direct_writer,
}
