"""Totals of a warehouse: counted once by SQL, then kept up to date in memory by every commit.

So the status of a run costs nothing, however much history the file has. `LOADS`, `GAPS`, `OFFSETS` and `REMOVALS` say
which offsets were read and how many rows they gave; three numbers compare that with the rows, none of them negative,
so that no two faults cancel each other:

* `duplicates`: rows of offset ranges that were read twice, and rows beyond those that LOADS has;
* `missing`: rows that LOADS has and the table has not;
* `holes`: messages between the ranges of a partition, and up to its offset, that no line of LOADS or GAPS covers.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import duckdb
    import pyarrow as pa

    from lmdp.machine.offsets import OffsetRange
    from lmdp.machine.warehouse.warehouse import Warehouse

_AHEAD = timedelta(days=1)
_SECONDS_A_DAY = 86_400
_EVIDENCE_S = 3_600  # of growth, before a day is estimated
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, as all of the warehouse's times
_GAPS_SINCE = 3  # the version of a file's tables
_HOLES_SINCE = 5

_ROWS = """
SELECT count(*), min(epoch_ms("ts")), max(epoch_ms("ts")) FILTER ("ts" <= $ahead),
  count(*) FILTER ("ts" > $ahead), count(*) FILTER ("ts" < $kept)
FROM ROW_EVENTS
"""
_REJECTS = "SELECT ERROR_CODE, count(*) FROM REJECTS GROUP BY 1"
_LOADED = """
SELECT (SELECT coalesce(sum(ROWS), 0) FROM LOADS), (SELECT coalesce(sum(ROWS), 0) FROM REMOVALS)
"""
_OVERLAPPING = """
SELECT coalesce(sum(ROWS), 0) FROM (
  SELECT ROWS, FIRST_OFFSET < max(NEXT_OFFSET) OVER (
    PARTITION BY CLUSTER, TOPIC_ID, TOPIC, PARTITION, LEADER_EPOCH ORDER BY FIRST_OFFSET, NEXT_OFFSET DESC
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) AS AGAIN
  FROM LOADS
  WHERE FIRST_OFFSET < NEXT_OFFSET
) WHERE AGAIN
"""
_GAPS = "SELECT coalesce(sum(NEXT_OFFSET - FIRST_OFFSET), 0) FROM GAPS"
# Leader epochs play no part: where a broker lost messages, offsets go back, and nothing is left out. Lines of a file's
# earlier versions are not complete, and count for nothing.
_HOLES = """
WITH COVERED AS (
  SELECT CLUSTER, TOPIC_ID, TOPIC, PARTITION, FIRST_OFFSET, NEXT_OFFSET, 1 AS IS_LOAD FROM LOADS WHERE IS_COMPLETE
  UNION ALL SELECT CLUSTER, TOPIC_ID, TOPIC, PARTITION, FIRST_OFFSET, NEXT_OFFSET, 0 FROM GAPS
  UNION ALL SELECT CLUSTER, TOPIC_ID, TOPIC, PARTITION, NEXT_OFFSET, NEXT_OFFSET, 0 FROM OFFSETS
)
SELECT coalesce(sum(greatest(FIRST_OFFSET - COVERED_TO, 0)), 0) FROM (
  SELECT FIRST_OFFSET, max(NEXT_OFFSET) OVER BEFORE AS COVERED_TO, max(IS_LOAD) OVER BEFORE AS IS_KNOWN
  FROM COVERED
  WINDOW BEFORE AS (
    PARTITION BY CLUSTER, TOPIC_ID, TOPIC, PARTITION ORDER BY FIRST_OFFSET, NEXT_OFFSET
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  )
) WHERE IS_KNOWN = 1
"""
_ENDS = "SELECT CLUSTER, TOPIC_ID, TOPIC, PARTITION, NEXT_OFFSET FROM OFFSETS"
_VERSION = "SELECT max(VERSION) FROM MIGRATIONS"

_Key = tuple[str, str, str, int]


@dataclass(slots=True)
class Totals:
    """Counts of a file, or of what a transaction adds to it.

    Times are Unix ms. `newest` leaves out rows that are `ahead`: dated more than a day after they were written.
    `expired` rows are older than what is kept, and go with the next removal. `ends` has the next offset by partition.
    """

    rows: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    oldest: int | None = None
    newest: int | None = None
    ahead: int = 0
    expired: int = 0
    gaps: int = 0
    loaded: int = 0
    removed: int = 0
    overlapping: int = 0
    holes: int = 0
    ranges: list[OffsetRange] = field(default_factory=list)
    ends: dict[_Key, int] = field(default_factory=dict)
    is_exact: bool = True
    """False where only SQL shows what a transaction changed."""

    @property
    def duplicates(self) -> int:
        """Return the rows that are there more than once."""
        return self.overlapping + max(0, self.rows + self.removed - self.loaded)

    @property
    def missing(self) -> int:
        """Return the rows that were written and are not there."""
        return max(0, self.loaded - self.rows - self.removed)

    def copy(self) -> Totals:
        """Return a copy of them as they are now."""
        return replace(self, rejects=self.rejects.copy(), ranges=list(self.ranges), ends={})

    def note_rows(self, ms: pa.ChunkedArray, limits: RowAgeBounds) -> None:
        """Add rows by their times."""
        self.rows += len(ms)
        found = pc.min_max(ms).as_py()
        if found["min"] is None:
            return
        newest: int | None = found["max"]
        self.oldest = _least(self.oldest, found["min"])
        if found["min"] < limits.kept_ms:
            self.expired += pc.sum(pc.less(ms, limits.kept_ms)).as_py()
        if found["max"] > limits.ahead_ms:
            is_ahead = pc.greater(ms, limits.ahead_ms)
            self.ahead += pc.sum(is_ahead).as_py()
            newest = pc.max(ms.filter(pc.invert(is_ahead))).as_py()
        self.newest = _most(self.newest, newest)

    def add(self, later: Totals) -> None:
        """Add what a later transaction wrote."""
        for name in ("rows", "ahead", "expired", "gaps", "removed"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.rejects += later.rejects
        self.oldest = _least(self.oldest, later.oldest)
        self.newest = _most(self.newest, later.newest)
        self.is_exact = self.is_exact and later.is_exact
        self.ranges += later.ranges

    def follow(self) -> None:
        """Take the ranges that were added; one that begins elsewhere than the one before it ended needs SQL."""
        for part in self.ranges:
            key = (part.cluster, part.topic_id, part.topic, part.partition)
            self.loaded += part.rows if part.first < part.next else 0
            self.is_exact = self.is_exact and self.ends.get(key, part.first) == part.first
            self.ends[key] = part.next
        self.ranges = []


@dataclass(frozen=True, slots=True)
class RowAgeBounds:
    """The times (UTC) of which earlier rows have expired, and later ones are ahead."""

    kept: datetime
    ahead: datetime

    @classmethod
    def at(cls, now: datetime, keep_days: int | None) -> RowAgeBounds:
        """Return the limits of this moment; None keeps all."""
        now = now.replace(tzinfo=None)
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        possible = (today - datetime.min).days  # noqa: DTZ901 - as above
        kept = today - timedelta(days=possible if keep_days is None else min(keep_days, possible))
        return cls(kept, min(now, datetime.max - _AHEAD) + _AHEAD)  # noqa: DTZ901 - as above

    @property
    def kept_ms(self) -> int:
        """Return `kept` in Unix ms."""
        return (self.kept - _EPOCH) // timedelta(milliseconds=1)

    @property
    def ahead_ms(self) -> int:
        """Return `ahead` in Unix ms."""
        return (self.ahead - _EPOCH) // timedelta(milliseconds=1)


def count(connection: duckdb.DuckDBPyConnection, limits: RowAgeBounds) -> Totals:
    """Count all by SQL, in the snapshot of the connection's transaction."""

    def ask(sql: str, values: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        return connection.execute(sql, values).fetchall()

    ((version,),) = ask(_VERSION)
    ((rows, oldest, newest, ahead, expired),) = ask(_ROWS, {"ahead": limits.ahead, "kept": limits.kept})
    ((loaded, removed),) = ask(_LOADED)
    has_epochs = version >= _GAPS_SINCE
    ((overlapping,),) = ask(_OVERLAPPING if has_epochs else _OVERLAPPING.replace(", LEADER_EPOCH", ""))
    return Totals(
        rows=rows,
        rejects=Counter(dict(ask(_REJECTS))),
        oldest=oldest,
        newest=newest,
        ahead=ahead,
        expired=expired,
        gaps=int(ask(_GAPS)[0][0]) if has_epochs else 0,
        loaded=int(loaded),
        removed=int(removed),
        overlapping=int(overlapping),
        holes=int(ask(_HOLES)[0][0]) if version >= _HOLES_SINCE else 0,
        ends={(cluster, topic_id, topic, part): end for cluster, topic_id, topic, part, end in ask(_ENDS)},
    )


class RunningTotals:
    """The totals of an open file. `cursor` opens a connection of its own; every commit holds `lock`."""

    def __init__(
        self,
        cursor: Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]],
        lock: Callable[[], AbstractContextManager[None]],
        keep_days: int | None,
    ) -> None:
        self._cursor = cursor
        self._lock = lock
        self._keep_days = keep_days
        self._totals: Totals | None = None
        self._later: Totals | None = None  # what is committed during a count
        self._ahead = self._expired = 0
        self._noting = threading.Lock()
        self._counting = threading.Lock()

    def limits(self) -> RowAgeBounds:
        """The limits of now."""
        return RowAgeBounds.at(datetime.now(UTC), self._keep_days)

    def count(self) -> Totals:
        """Count by SQL, alongside commits; what is committed meanwhile is added."""
        with self._counting, self._cursor() as cursor:
            cursor.begin()
            with self._lock():
                cursor.execute("FROM OFFSETS LIMIT 0")  # DuckDB takes the snapshot with the first statement
                with self._noting:
                    self._later = Totals()
            found = count(cursor, self.limits())
            with self._noting:
                assert self._later is not None
                found.add(self._later)
                found.follow()
                self._totals, self._later = found, None
                return found.copy()

    def exact(self) -> Totals:
        """Return the totals, counted where that is needed."""
        with self._noting:
            if self._totals is not None and self._totals.is_exact:
                return self._totals.copy()
        return self.count()

    def note(self, later: Totals, then: Callable[[], None] = lambda: None) -> None:
        """Add what was committed, and call `then` in the same moment."""
        with self._noting:
            self._ahead += later.ahead
            self._expired += later.expired
            if self._later is not None:
                self._later.add(later.copy())
            if self._totals is not None:
                self._totals.add(later)
                self._totals.follow()
            then()

    def clock(self) -> dict[str, int]:
        """Return how many rows since the file was opened have an impossible time: their sender's clock is wrong."""
        return {"ahead": self._ahead, "expired": self._expired}

    @contextlib.contextmanager
    def moment(self) -> Iterator[Totals]:
        """The totals as last counted; no commit is noted in the block, and so nothing in it waits."""
        if self._totals is None:
            self.count()
        with self._noting:
            assert self._totals is not None
            yield self._totals


def warehouse_status(warehouse: Warehouse, totals: Totals, running_s: float | None = None) -> dict[str, Any]:
    """Return what `lmdp status` shows of a warehouse: rows, freshness, size, rejects by reason.

    After `running_s` of a run, also in how many days the disk is full at this rate.
    """
    free = shutil.disk_usage(warehouse.path.absolute().parent).free
    newest = moment_of(totals.newest)
    freshness = (datetime.now(UTC) - newest).total_seconds() if newest else None
    return {
        "warehouse": str(warehouse.path),
        "rows": totals.rows,
        "rejects": totals.rejects.total(),
        "rejectsByReason": by_reason(totals),
        "gaps": totals.gaps,
        "duplicates": totals.duplicates,
        "missing": totals.missing,
        "holes": totals.holes,
        "clock": {"ahead": totals.ahead, "expired": totals.expired},
        "oldest": _text(moment_of(totals.oldest)),
        "newest": _text(newest),
        "freshnessSeconds": round(freshness, 1) if freshness is not None else None,
        "sizeBytes": warehouse.file_bytes(),
        "freeBytes": free,
        "daysLeftOnDisk": days_left(warehouse.grown_bytes(), free, running_s, warehouse.keep_days),
    }


def days_left(grown: int, free: int, running_s: float | None, keep_days: int | None) -> float | None:
    """Return the days until the disk is full: `free` bytes over the bytes that the file has `grown` since the start.

    None before an hour of growth is seen, and where the oldest rows leave before the disk is full.
    """
    if running_s is None or running_s < _EVIDENCE_S or grown <= 0:
        return None
    days = free / (grown / running_s * _SECONDS_A_DAY)
    return None if keep_days is not None and days > keep_days else round(days, 1)


def _text(moment: datetime | None) -> str | None:
    """Return RFC 3339 in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def by_reason(totals: Totals) -> dict[str, int]:
    """Return the rejects by error code, the most first."""
    return dict(sorted(((code, n) for code, n in totals.rejects.items() if n), key=lambda one: (-one[1], one[0])))


def moment_of(ms: int | None) -> datetime | None:
    """Return Unix ms as a time in UTC."""
    return None if ms is None else (_EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=UTC)


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _most(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)
