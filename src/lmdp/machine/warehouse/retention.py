"""Whole days leave the warehouse; what left is written down, so that rows and LOADS still add up.

Their hourly roll-up stays. A removal is a series of transactions, each over the hours of about `PORTION` rows, or over
one hour: that bounds memory and time, whatever times the data claims. Rows are written meanwhile; one that comes late
for an hour of such a transaction stays until the next removal. LOADS is merged by the day on the same occasion, also
where all rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from lmdp.errors import SettingsError
from lmdp.machine.warehouse.schema import KEPT

if TYPE_CHECKING:
    import duckdb

PORTION = 100_000

_A_DAY = timedelta(days=1)
_QUIET = timedelta(days=2)  # how long nothing may come before the days stop counting
_BY_DAY = timedelta(days=30)  # for how long LOADS has a line a day
_CLOCKS = datetime(1970, 1, 1), datetime(9000, 1, 1)  # noqa: DTZ001 - UTC, as all of the warehouse's times

# The hours of the oldest rows: from the first one up to, not including, the hour that the portion's last row is in.
_NEXT = """
SELECT date_trunc('hour', min(T)), greatest(date_trunc('hour', max(T)), date_trunc('hour', min(T)) + INTERVAL 1 HOUR),
  count(*) <= ?
FROM (SELECT "ts" AS T FROM ROW_EVENTS WHERE "ts" < ? ORDER BY T LIMIT ?)
"""
# Rows of an hour that was kept before (late ones) stay out: a repeat among them would count twice.
_KEEP_HOURS = """
INSERT INTO {name}_KEPT BY NAME
SELECT * FROM {name}_LIVE AS L
WHERE HOUR_TS >= $begin AND HOUR_TS < $end AND NOT EXISTS (
  SELECT 1 FROM {name}_KEPT AS K
  WHERE K.HOUR_TS >= $begin AND K.HOUR_TS < $end AND K.HOUR_TS = L.HOUR_TS AND K.SERIES = L.SERIES
)
"""

_MOST_AGAIN = 100_000
_LINE = "CLUSTER, TOPIC_ID, TOPIC, PARTITION, LEADER_EPOCH, IS_COMPLETE"
_IDENTITY = f"{_LINE}, FIRST_OFFSET, NEXT_OFFSET, LOADED_AT"
_DAYS = f"""
SELECT date_trunc('day', LOADED_AT) AS DAY FROM LOADS
WHERE LOADED_AT >= $old AND LOADED_AT < $today OR LOADED_AT > $ahead
GROUP BY DAY HAVING count(*) > count(DISTINCT ({_LINE})) ORDER BY DAY
"""  # noqa: S608 - a constant
_OLD = f"SELECT count(*) > count(DISTINCT ({_LINE})) FROM LOADS WHERE LOADED_AT < ?"  # noqa: S608 - as above
# Lines that overlap with others: they stay as they are, so that a merged line is not counted as a repeat.
_AGAIN = f"""
SELECT {_IDENTITY} FROM (
  SELECT *, FIRST_OFFSET < max(NEXT_OFFSET) OVER (
    PARTITION BY CLUSTER, TOPIC_ID, TOPIC, PARTITION, LEADER_EPOCH ORDER BY FIRST_OFFSET, NEXT_OFFSET DESC
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) AS IS_AGAIN
  FROM LOADS
) WHERE IS_AGAIN LIMIT {_MOST_AGAIN}
"""  # noqa: S608 - as above
_NO_AGAIN = f"CREATE TEMP TABLE AGAIN AS SELECT {_IDENTITY} FROM LOADS LIMIT 0"  # noqa: S608 - as above
# A line that is not complete begins at its first message, so that a transaction's marker leaves a space before it.
_MERGED = f"""
CREATE TEMP TABLE MERGED AS
WITH LINES AS (
  SELECT *, ({_IDENTITY}) IN (SELECT ({_IDENTITY}) FROM AGAIN) AS IS_AGAIN
  FROM LOADS
  WHERE LOADED_AT >= $begin AND LOADED_AT < $end
),
MARKED AS (
  SELECT *, IS_AGAIN OR CASE WHEN IS_COMPLETE THEN FIRST_OFFSET IS DISTINCT FROM lag(NEXT_OFFSET) OVER W
    ELSE coalesce(FIRST_OFFSET < lag(NEXT_OFFSET) OVER W, TRUE) END AS BEGINS
  FROM LINES
  WINDOW W AS (PARTITION BY {_LINE}, IS_AGAIN ORDER BY FIRST_OFFSET, NEXT_OFFSET)
),
RUNS AS (
  SELECT *, sum(CAST(BEGINS AS BIGINT)) OVER (
    PARTITION BY {_LINE}, IS_AGAIN ORDER BY FIRST_OFFSET, NEXT_OFFSET ROWS UNBOUNDED PRECEDING
  ) AS RUN
  FROM MARKED
)
SELECT CLUSTER, TOPIC_ID, TOPIC, PARTITION, min(FIRST_OFFSET) AS FIRST_OFFSET, max(NEXT_OFFSET) AS NEXT_OFFSET,
  CAST(sum(ROWS) AS BIGINT) AS ROWS, CAST(sum(REJECTS) AS BIGINT) AS REJECTS, max(LOADED_AT) AS LOADED_AT, LEADER_EPOCH,
  IS_COMPLETE
FROM RUNS
GROUP BY {_LINE}, IS_AGAIN, RUN
"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class Removed:
    """Counts of a removal: rows measured, and rejects that arrived, before the moment `before` (None: keep all)."""

    rows: int = 0
    rejects: int = 0
    before: datetime | None = None

    def __add__(self, other: Removed) -> Removed:
        """Both, one after the other."""
        return Removed(self.rows + other.rows, self.rejects + other.rejects, other.before or self.before)


Read = Callable[[str, Sequence[object] | dict[str, object]], list[tuple[Any, ...]]]
Step = Callable[["duckdb.DuckDBPyConnection"], Removed]


def steps(read: Read, days: int | None, now: datetime) -> Iterator[Step]:
    """Transactions that remove what is older than `days` whole UTC days, but for `KEPT`; None removes nothing.

    Each is called in a transaction before the next one is asked for; `read` reads outside of them. Not to be run twice
    at a time. `now` is UTC. Raises SettingsError for less than a day.
    """
    clock = min(max(now.replace(tzinfo=None), _CLOCKS[0]), _CLOCKS[1])
    if days is not None:
        yield from _removal(read, days, clock)
    yield from _merging(read, clock)


def _removal(read: Read, days: int, clock: datetime) -> Iterator[Step]:
    if days < 1:
        raise SettingsError(f"--keep {days}d would remove today's rows; keep at least 1d, or `forever`")
    before = retention_cutoff(read, days, clock)
    is_last = False
    while not is_last:
        ((begin, end, is_last),) = read(_NEXT, [PORTION, before, PORTION + 1])
        if begin is not None:
            # The last one closes all hours up to that day, whether they have rows or not.
            yield partial(_remove_rows, at=clock, begin=begin, end=before if is_last else min(end, before))
    yield partial(_remove_rejects, at=clock, before=before)


def retention_cutoff(read: Read, days: int, clock: datetime) -> datetime:
    """Midnight, `days` before today by the clock, but at most two days after the newest row.

    A clock that is ahead must not remove everything; a row that is dated more than a day ahead proves no clock right.
    """
    ((newest,),) = read('SELECT max("ts") FROM ROW_EVENTS WHERE "ts" <= ?', [clock + _A_DAY])
    today = _midnight(min(clock, newest + _QUIET if newest else clock))
    return today - timedelta(days=min(days, (today - datetime.min).days))  # noqa: DTZ901 - as above


def _remove_rows(connection: duckdb.DuckDBPyConnection, at: datetime, begin: datetime, end: datetime) -> Removed:
    for name in KEPT:
        connection.execute(_KEEP_HOURS.format(name=name), {"begin": begin, "end": end})
    rows = _delete(connection, 'ROW_EVENTS WHERE "ts" < ?', end)
    connection.execute("INSERT INTO REMOVALS VALUES (?, ?, ?, 0)", [at, end, rows])
    return Removed(rows, before=end.replace(tzinfo=UTC))


def _remove_rejects(connection: duckdb.DuckDBPyConnection, at: datetime, before: datetime) -> Removed:
    rejects = _delete(connection, "REJECTS WHERE ARRIVAL_TIMESTAMP < ?", before)
    if rejects:
        connection.execute("INSERT INTO REMOVALS VALUES (?, ?, 0, ?)", [at, before, rejects])
    return Removed(0, rejects, before.replace(tzinfo=UTC))


def _merging(read: Read, clock: datetime) -> Iterator[Step]:
    """Lines of LOADS that adjoin become one a day, and one in all where they are old. Its sums stay as they are."""
    today = _midnight(clock)
    old = today - _BY_DAY
    days = [day for (day,) in read(_DAYS, {"old": old, "today": today, "ahead": clock + _A_DAY})]
    ((several,),) = read(_OLD, [old])
    if not days and not several:
        return
    again = read(_AGAIN, [])
    for day in days:
        yield partial(_merge, again=again, begin=day, end=day + _A_DAY)
    if several or old in [day + _A_DAY for day in days]:
        yield partial(_merge, again=again, begin=datetime.min, end=old)  # noqa: DTZ901 - as above


def _merge(
    connection: duckdb.DuckDBPyConnection, again: list[tuple[Any, ...]], begin: datetime, end: datetime
) -> Removed:
    connection.execute(_NO_AGAIN)
    if again:
        connection.executemany("INSERT INTO AGAIN VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", again)
    connection.execute(_MERGED, {"begin": begin, "end": end})
    connection.execute("DELETE FROM LOADS WHERE LOADED_AT >= ? AND LOADED_AT < ?", [begin, end])
    connection.execute("INSERT INTO LOADS SELECT * FROM MERGED")
    connection.execute("DROP TABLE MERGED")
    connection.execute("DROP TABLE AGAIN")
    return Removed()


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _delete(connection: duckdb.DuckDBPyConnection, where: str, before: datetime) -> int:
    deleted = connection.execute(f"DELETE FROM {where}", [before]).fetchone()  # noqa: S608 - a constant of this file
    return int(deleted[0]) if deleted else 0
