"""State of the dynamic tables: what is suspended, refreshes whole, is late, or failed, each with the next command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lmdp.snowflake.connection import ask
from lmdp.sql.settings import SnowflakeSettings
from lmdp.support.program import program

KEPT: Final = ("METRIC_HOURLY", "METRIC_DAILY", "METRIC_RATES_HOURLY")
"""Roll-ups that exist nowhere else once their raw rows are gone."""

_LATE: Final = 3
"""Number of target lags after which a table is late: one is Snowflake's goal, and a refresh takes part of the next."""

# Of each table the newest refresh that has ended: https://docs.snowflake.com/en/sql-reference/functions/dynamic_table_refresh_history
_LAST_REFRESHES: Final = """
SELECT NAME, STATE, STATE_CODE, STATE_MESSAGE
FROM TABLE({database}.INFORMATION_SCHEMA.DYNAMIC_TABLE_REFRESH_HISTORY(NAME_PREFIX => '{place}', RESULT_LIMIT => 10000))
WHERE STATE IN ('SUCCEEDED', 'FAILED')
QUALIFY ROW_NUMBER() OVER (PARTITION BY NAME ORDER BY REFRESH_START_TIME DESC) = 1
"""
_STALE: Final = "002841"  # https://docs.snowflake.com/en/user-guide/dynamic-tables/error-codes


@dataclass(frozen=True, slots=True)
class DynamicTable:
    """A dynamic table as the account has it; `data` is the time of its data, None before its first refresh."""

    name: str
    is_suspended: bool
    mode: str
    mode_reason: str
    warehouse: str
    created: datetime
    data: datetime | None
    error: str = ""


def read_dynamic_tables(connection: Any, settings: SnowflakeSettings) -> list[DynamicTable]:
    """Return the schema's dynamic tables with the error of each one's last refresh. Raises LmdpError."""
    errors = {
        str(row["name"]): f"{row['state_code']}: {row['state_message']}"
        for row in ask(connection, _LAST_REFRESHES.format(database=settings.database, place=settings.place))
        if row["state"] == "FAILED"
    }
    shown = ask(connection, f"SHOW DYNAMIC TABLES IN SCHEMA {settings.place}")
    return [_read(row, errors.get(str(row["name"]), "")) for row in shown]


def findings(tables: list[DynamicTable], settings: SnowflakeSettings, now: datetime) -> list[str]:
    """Return what is wrong with each table, and the command that helps; one sentence a table and fault."""
    late = _LATE * timedelta(minutes=settings.target_lag_minutes)
    found = []
    for table in tables:
        name = f"{settings.place}.{table.name}"
        if table.is_suspended:
            found.append(f"{table.name} is suspended, and not refreshed: ALTER DYNAMIC TABLE {name} RESUME")
        if table.mode == "FULL":
            found.append(
                f"{table.name} refreshes FULL, which reads all that is kept ({table.mode_reason or 'no reason'}): "
                f"{program()} snowflake setup"
            )
        if not table.is_suspended and now - (table.data or table.created) > late:
            age = (now - (table.data or table.created)) / timedelta(minutes=1)
            found.append(
                f"{table.name} is {age:,.0f} minutes old, and {settings.target_lag_minutes} is the target: "
                f"ALTER DYNAMIC TABLE {name} REFRESH, and a larger {table.warehouse} if it comes again"
            )
        if table.error:
            found.append(f"{table.name} failed to refresh ({table.error}): {_remedy(table, name)}")
    return found


def _remedy(table: DynamicTable, name: str) -> str:
    if _STALE not in table.error:
        return f"fix the cause, then ALTER DYNAMIC TABLE {name} REFRESH"
    if table.name in KEPT:
        return "restore it from its backup, as docs/snowflake-tables.md shows"
    return f"DROP DYNAMIC TABLE {name}, then {program()} snowflake setup"


def shared_warehouse(tables: list[DynamicTable], settings: SnowflakeSettings) -> str:
    """Return a warning when refreshes run on the readers' warehouse, which its monitor may suspend; else ""."""
    if any(table.warehouse == settings.warehouse != settings.refresh_warehouse for table in tables):
        return (
            f"refreshes run on {settings.warehouse}, whose monitor may stop them: have an ACCOUNTADMIN run what "
            f"`{program()} snowflake ddl --bootstrap` prints, then {program()} snowflake setup"
        )
    return ""


def _read(row: Mapping[str, Any], error: str) -> DynamicTable:
    return DynamicTable(
        name=str(row["name"]),
        is_suspended=str(row["scheduling_state"]).upper() == "SUSPENDED",
        mode=str(row["refresh_mode"]).upper(),
        mode_reason=str(row["refresh_mode_reason"] or ""),
        warehouse=str(row["warehouse"]).upper(),
        created=_utc(row["created_on"]),
        data=_utc(row["data_timestamp"]) if row["data_timestamp"] else None,
        error=error,
    )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
