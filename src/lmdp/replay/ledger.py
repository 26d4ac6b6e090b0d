"""The warehouse's part in a replay: marks of the objects that are in it, and its own rejects, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lmdp.local.warehouse import Load, OffsetRange, Warehouse
from lmdp.replay.again import Outcome, now
from lmdp.replay.objects import Failed, Unread, failed

if TYPE_CHECKING:
    import duckdb

CLUSTER: Final = "replay"
"""LOADS' name of a cluster where rows came by a replay; the topic is then the source, the offsets count messages."""

REJECTS: Final = "warehouse:REJECTS"

_PAGE: Final = 250  # rejects in a transaction; each may be a message of a mebibyte
_MARKED: Final = (
    "SELECT count(*) AS N FROM duckdb_tables() WHERE table_name = 'REPLAYED' AND database_name = 'LM_METRICS'"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """An object that is in the warehouse, by the digest of its content, and what was left of it (None: nothing)."""

    digest: str
    address: str
    left: bytes | None


def known(warehouse: Warehouse, digest: str) -> Mark | None:
    """The mark of this content; None where it was never replayed into this file."""
    if not warehouse.query(_MARKED).table.to_pylist()[0]["N"]:
        return None  # only read, and made before there were marks
    sql = f"SELECT OBJECT, REMAINS FROM REPLAYED WHERE DIGEST = '{int(digest, 16):064x}'"  # noqa: S608 - hexadecimal
    found = warehouse.query(sql).table.to_pylist()
    return Mark(digest, found[0]["OBJECT"], found[0]["REMAINS"]) if found else None


def take(warehouse: Warehouse, source: str, outcome: Outcome, mark: Mark) -> int:
    """Write an object's rows and its mark in one transaction; returns the bytes of the rows' columns."""
    load = Load(outcome.rows, [], [_range(warehouse, source, outcome, 0)], datetime.now(UTC))
    return warehouse.commit(load, also=partial(_mark, mark, load.at))


def _mark(mark: Mark, at: datetime, connection: duckdb.DuckDBPyConnection) -> None:
    values = [mark.digest, mark.address, mark.left, at.astimezone(UTC).replace(tzinfo=None)]
    connection.execute("INSERT INTO REPLAYED VALUES (?, ?, ?, ?)", values)


def _range(warehouse: Warehouse, source: str, outcome: Outcome, rejects: int) -> OffsetRange:
    """The line that LOADS gets, so that rows and loads still add up; `rejects` is by how many REJECTS grew."""
    first = warehouse.offsets(CLUSTER, "", source).get(0, 0)
    return OffsetRange(CLUSTER, "", source, 0, first, first + outcome.counts.messages, len(outcome.rows), rejects)


@dataclass(frozen=True, slots=True)
class Page:
    """Some rejects of the warehouse, and the numbers of their rows in it, which hold until the next transaction."""

    ids: Sequence[int]
    pieces: Sequence[Failed]


@dataclass(frozen=True, slots=True)
class Rejects:
    """The warehouse's rejects as they were at `before` (ms); what fails again is stamped later, and not tried twice."""

    warehouse: Warehouse
    before: int

    @classmethod
    def of(cls, warehouse: Warehouse) -> Rejects:
        """Those that are there now."""
        ((latest,),) = _rows(warehouse, "SELECT coalesce(epoch_ms(max(ATTEMPT_ENDING_TIMESTAMP)), 0) FROM REJECTS")
        return cls(warehouse, max(now(), latest + 1))

    def count(self) -> int:
        """How many have not been tried yet."""
        ((count,),) = _rows(self.warehouse, f"SELECT count(*) FROM REJECTS WHERE {self._untried()}")  # noqa: S608 - a number
        return int(count)

    def page(self, after: int = -1) -> Page:
        """The next rejects to try, of rows numbered beyond `after`; empty at the end."""
        sql = f"SELECT rowid AS ID, * FROM REJECTS WHERE rowid > {after} AND {self._untried()} LIMIT {_PAGE}"  # noqa: S608 - numbers
        found = self.warehouse.query(sql, limit_rows=_PAGE, timeout_s=600).table.to_pylist()
        return Page([row["ID"] for row in found], [_failed(row) for row in found])

    def settle(self, page: Page, outcome: Outcome, *, with_rows: bool) -> int:
        """Replace a page by what is left of it, and write its rows where they belong here, in one transaction."""
        left = [piece for piece in outcome.left if not isinstance(piece, Unread)]
        rows = outcome.rows if with_rows else []
        line = _range(self.warehouse, REJECTS, outcome, len(left) - len(page.ids))
        ranges = [line] if rows else []
        return self.warehouse.commit(
            Load(rows, left, ranges, datetime.now(UTC)), also=partial(_delete_rejects, list(page.ids))
        )

    def _untried(self) -> str:
        return f"ATTEMPT_ENDING_TIMESTAMP < make_timestamp_ms({self.before})"


def _rows(warehouse: Warehouse, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in warehouse.query(sql, timeout_s=600).table.to_pylist()]


def _delete_rejects(ids: list[int], connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("DELETE FROM REJECTS WHERE rowid IN (SELECT unnest(?::BIGINT[]))", [ids])


def _failed(row: dict[str, Any]) -> Failed:
    found = failed(
        {
            "errorCode": row["ERROR_CODE"],
            "errorMessage": row["ERROR_MESSAGE"],
            "attemptsMade": row["ATTEMPTS_MADE"],
            "arrivalTimestamp": _ms(row["ARRIVAL_TIMESTAMP"]),
            "attemptEndingTimestamp": _ms(row["ATTEMPT_ENDING_TIMESTAMP"]),
            "rawData": row["RAW_DATA"],
            "source": {
                "topic": row["SOURCE_TOPIC"],
                "partition": row["SOURCE_PARTITION"],
                "offset": row["SOURCE_OFFSET"],
                "timestamp": row["SOURCE_TIMESTAMP"],
                "key": row["SOURCE_KEY"],
            },
            "datapoints": row["DATAPOINTS"],
        }
    )
    assert found is not None  # base64 that this program wrote
    return found


def _ms(moment: datetime) -> int:
    return round(moment.replace(tzinfo=UTC).timestamp() * 1000)
