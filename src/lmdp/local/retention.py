"""Whole days leave the warehouse; what left is written down, so that rows and LOADS still add up.

Their hourly roll-up stays. It is made an hour of data at a time, which bounds the memory that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lmdp.errors import SettingsError
from lmdp.local.schema import KEPT

if TYPE_CHECKING:
    import duckdb

_ADJOINING = """
CREATE TEMP TABLE MERGED AS
WITH OLD AS (
  SELECT *, FIRST_OFFSET IS DISTINCT FROM lag(NEXT_OFFSET) OVER W AS BEGINS
  FROM LOADS
  WHERE LOADED_AT < ?
  WINDOW W AS (PARTITION BY CLUSTER, TOPIC_ID, TOPIC, PARTITION, LEADER_EPOCH ORDER BY FIRST_OFFSET, NEXT_OFFSET)
),
RUNS AS (
  SELECT *, sum(CAST(BEGINS AS BIGINT)) OVER (
    PARTITION BY CLUSTER, TOPIC_ID, TOPIC, PARTITION, LEADER_EPOCH ORDER BY FIRST_OFFSET, NEXT_OFFSET
    ROWS UNBOUNDED PRECEDING
  ) AS RUN
  FROM OLD
)
SELECT CLUSTER, TOPIC_ID, TOPIC, PARTITION, min(FIRST_OFFSET) AS FIRST_OFFSET, max(NEXT_OFFSET) AS NEXT_OFFSET,
  CAST(sum(ROWS) AS BIGINT) AS ROWS, CAST(sum(REJECTS) AS BIGINT) AS REJECTS, max(LOADED_AT) AS LOADED_AT, LEADER_EPOCH
FROM RUNS
GROUP BY CLUSTER, TOPIC_ID, TOPIC, PARTITION, LEADER_EPOCH, RUN
"""

_HOURS = """
SELECT DISTINCT date_trunc('hour', "ts") FROM ROW_EVENTS WHERE "ts" < ? ORDER BY 1
"""
# Rows of an hour that was kept before (late ones) stay out: a repeat among them would count twice.
_KEEP_HOUR = """
INSERT INTO {name}_KEPT BY NAME
SELECT * FROM {name}_LIVE AS L
WHERE HOUR_TS = ? AND NOT EXISTS (SELECT 1 FROM {name}_KEPT AS K WHERE K.HOUR_TS = ? AND K.SERIES = L.SERIES)
"""


_QUIET = timedelta(days=2)  # how long nothing may come before the days stop counting


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal took: rows measured, and rejects that arrived, before the moment `before` (None: keep all)."""

    rows: int = 0
    rejects: int = 0
    before: datetime | None = None


def remove_days(connection: duckdb.DuckDBPyConnection, days: int, now: datetime) -> Removed:
    """Delete what is older than `days` whole UTC days before today, but for `KEPT`; the caller holds the transaction.

    LOADS lines of that age that adjoin become one, so that the table stays small and says the same.
    """
    if days < 1:
        raise SettingsError(f"--keep {days}d would remove today's rows; keep at least 1d, or `forever`")
    before = _today(connection, now) - timedelta(days=days)
    _keep_hours(connection, before)
    rows = _delete(connection, 'ROW_EVENTS WHERE "ts" < ?', before)
    rejects = _delete(connection, "REJECTS WHERE ARRIVAL_TIMESTAMP < ?", before)
    if rows or rejects:
        removed_at = now.astimezone(UTC).replace(tzinfo=None)
        connection.execute("INSERT INTO REMOVALS VALUES (?, ?, ?, ?)", [removed_at, before, rows, rejects])
    _merge_loads(connection, before)
    return Removed(rows, rejects, before.replace(tzinfo=UTC))


def _today(connection: duckdb.DuckDBPyConnection, now: datetime) -> datetime:
    """The day by the clock, but at most two days after the newest row: a clock that runs ahead must not take all."""
    ((newest,),) = connection.execute('SELECT max("ts") FROM ROW_EVENTS').fetchall()
    clock = now.astimezone(UTC).replace(tzinfo=None)
    return min(clock, newest + _QUIET if newest else clock).replace(hour=0, minute=0, second=0, microsecond=0)


def _keep_hours(connection: duckdb.DuckDBPyConnection, before: datetime) -> None:
    for (hour,) in connection.execute(_HOURS, [before]).fetchall():
        for name in KEPT:
            connection.execute(_KEEP_HOUR.format(name=name), [hour, hour])


def _merge_loads(connection: duckdb.DuckDBPyConnection, before: datetime) -> None:
    connection.execute(_ADJOINING, [before])
    _delete(connection, "LOADS WHERE LOADED_AT < ?", before)
    connection.execute("INSERT INTO LOADS SELECT * FROM MERGED")
    connection.execute("DROP TABLE MERGED")


def _delete(connection: duckdb.DuckDBPyConnection, where: str, before: datetime) -> int:
    deleted = connection.execute(f"DELETE FROM {where}", [before]).fetchone()  # noqa: S608 - a constant of this file
    return int(deleted[0]) if deleted else 0
