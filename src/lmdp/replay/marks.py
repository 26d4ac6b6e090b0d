"""Marks of what was replayed into a warehouse, and the warehouse's own rejects, a page at a time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from lmdp.errors import AlreadyReplayedError
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay.retry import Outcome, now
from lmdp.support.failed_records import FailedRecord, Unparseable, failed

if TYPE_CHECKING:
    import duckdb

CLUSTER: Final = "replay"
"""LOADS' name of a cluster where rows came by a replay; the topic is then the source, the offsets count messages."""

REJECTS: Final = "warehouse:REJECTS"

ASK_SECONDS: Final = 600.0
"""For a query of the replay's own; REJECTS may be large."""

_PAGE: Final = 250  # rejects in a transaction
PAGE_BYTES: Final = 32 * 2**20
"""Bytes of a page of rejects as they are kept; one reject may have more."""

_DELETE: Final = """
DELETE FROM REJECTS AS R USING (SELECT unnest(?::BIGINT[]) AS ID, unnest(?::UBIGINT[]) AS SEEN) AS S
WHERE R.rowid = S.ID AND hash(R) = S.SEEN
RETURNING R.ERROR_CODE
"""
_REJECTS: Final = """
SELECT
  R.rowid AS ID, hash(R) AS SEEN, R.ERROR_CODE AS errorCode, R.ERROR_MESSAGE AS errorMessage,
  R.ATTEMPTS_MADE AS attemptsMade, epoch_ms(R.ARRIVAL_TIMESTAMP) AS arrivalTimestamp,
  epoch_ms(R.ATTEMPT_ENDING_TIMESTAMP) AS attemptEndingTimestamp, R.RAW_DATA AS rawData, R.SOURCE_TOPIC AS topic,
  R.SOURCE_PARTITION AS "partition", R.SOURCE_OFFSET AS "offset", R.SOURCE_TIMESTAMP AS "timestamp",
  R.SOURCE_KEY AS "key", R.DATAPOINTS AS datapoints, {tenant} AS tenant
FROM REJECTS AS R"""
_HAS_TENANT: Final = """
SELECT 1 FROM duckdb_columns()
WHERE database_name = 'LM_METRICS' AND table_name = 'REJECTS' AND column_name = 'SOURCE_TENANT'
"""
_TABLES: Final = "SELECT table_name AS NAME FROM duckdb_tables() WHERE database_name = 'LM_METRICS'"
_COPIES: Final = 500  # in a query

Ask = Callable[[str], list[dict[str, Any]]]
"""Runs a SELECT in a warehouse."""


@dataclass(frozen=True, slots=True)
class ReplayedObject:
    """An object that was replayed: the digest of its content, its address, and what was left of it (None: nothing)."""

    digest: str
    address: str
    left: bytes | None


def asking(warehouse: Warehouse) -> Ask:
    """Return the queries of a file that this process has open."""
    return lambda sql: warehouse.query(sql, timeout_s=ASK_SECONDS).table.to_pylist()


def write(
    warehouse: Warehouse,
    source: str,
    outcome: Outcome,
    *,
    mark: ReplayedObject | None = None,
    replaced: Sequence[tuple[int, int]] = (),
) -> int:
    """Commit once: the rows of `source`, and the mark of an object, or the change of REJECTS, are one transaction.

    `replaced` has the rejects that what is left replaces, each by its row number and a hash of its content. Returns the
    bytes of the rows' columns. Not to be called twice at a time. Raises AlreadyReplayedError, and as a commit does.
    """
    at = datetime.now(UTC)
    left = [] if mark else [piece for piece in outcome.left if not isinstance(piece, Unparseable)]
    first, rows = warehouse.offsets(CLUSTER, "", source).get(0, 0), len(outcome.rows)
    after = first + outcome.report.counts.messages
    line = OffsetRange(CLUSTER, "", source, 0, first, after, rows, len(left) - len(replaced))
    ranges = [line] if rows or mark else []  # so that rows and loads still add up

    def record(connection: duckdb.DuckDBPyConnection) -> Counter[str]:
        """Write the mark, and remove the rejects that are replaced; return their number by code."""
        if mark is not None:
            if connection.execute("SELECT 1 FROM REPLAYED WHERE DIGEST = ?", [mark.digest]).fetchone():
                raise AlreadyReplayedError(f"{mark.address} is in the warehouse already")
            values = [mark.digest, mark.address, mark.left, at.replace(tzinfo=None)]
            connection.execute("INSERT INTO REPLAYED VALUES (?, ?, ?, ?)", values)
        if outcome.passed:
            connection.execute("INSERT INTO REPLAYED_FAILURES SELECT unnest(?::VARCHAR[])", [outcome.passed])
        if not replaced:
            return Counter()
        columns = [list(column) for column in zip(*replaced, strict=True)]
        gone = Counter[str](code for (code,) in connection.execute(_DELETE, columns).fetchall())
        if gone.total() != len(replaced):
            raise AlreadyReplayedError("some of these rejects were removed or moved")
        return gone

    return warehouse.commit(Load(outcome.rows, left, ranges, at), also=record)


def known(ask: Ask, digest: str) -> tuple[bytes | None] | None:
    """Return what was left of an object of this content (None: nothing), or None where it was never replayed here."""
    if not _has(ask, "REPLAYED"):
        return None  # only read, and made before there were marks
    found = ask(f"SELECT REMAINS FROM REPLAYED WHERE DIGEST = '{int(digest, 16):064x}'")  # noqa: S608 - hexadecimal
    return (found[0]["REMAINS"],) if found else None


def copies(ask: Ask, pieces: Iterable[FailedRecord | Unparseable]) -> frozenset[int]:
    """Return the indices of those failures that were replayed into this file before, from any source."""
    if not _has(ask, "REPLAYED_FAILURES"):
        return frozenset()
    keys = {index: piece.copy_of for index, piece in enumerate(pieces) if isinstance(piece, FailedRecord)}
    found: set[str] = set()
    wanted = sorted(set(keys.values()))
    for at in range(0, len(wanted), _COPIES):
        some = ", ".join(f"'{one}'" for one in wanted[at : at + _COPIES])
        sql = f"SELECT COPY_OF FROM REPLAYED_FAILURES WHERE COPY_OF IN ({some})"  # noqa: S608 - hexadecimal
        found |= {row["COPY_OF"] for row in ask(sql)}
    return frozenset(index for index, key in keys.items() if key in found)


def _has(ask: Ask, table: str) -> bool:
    return any(row["NAME"] == table for row in ask(_TABLES))


@dataclass(frozen=True, slots=True)
class Rejects:
    """The warehouse's rejects as they were at `before` (ms); what fails again is stamped later, and not tried twice."""

    ask: Ask
    before: int
    page_bytes: int = PAGE_BYTES
    tenant: str = "R.SOURCE_TENANT"

    @classmethod
    def of(cls, ask: Ask) -> Rejects:
        """Return those that are there now."""
        (latest,) = ask("SELECT coalesce(epoch_ms(max(ATTEMPT_ENDING_TIMESTAMP)), 0) AS MS FROM REJECTS")
        tenant = "R.SOURCE_TENANT" if ask(_HAS_TENANT) else "NULL"  # only read, and made before there was one
        return cls(ask, max(now(), latest["MS"] + 1), tenant=tenant)

    def count(self) -> int:
        """Return how many have not been tried yet."""
        (found,) = self.ask(f"SELECT count(*) AS N FROM REJECTS AS R WHERE {self._untried()}")  # noqa: S608 - a number
        return int(found["N"])

    def page(self, after: int = -1) -> dict[tuple[int, int], FailedRecord]:
        """Return the next rejects to try, of rows numbered beyond `after`, in order; empty at the end.

        Each is known again by the number of its row and a hash of its content. The number alone does not hold: other
        transactions, and a checkpoint, may give it to another.
        """
        where = f"R.rowid > {after} AND {self._untried()}"
        sizes = self.ask(
            f"SELECT R.rowid AS ID, strlen(R.RAW_DATA) AS SIZE FROM REJECTS AS R WHERE {where} LIMIT {_PAGE}"  # noqa: S608 - numbers
        )
        so_far = itertools.accumulate(row["SIZE"] for row in sizes)
        fitting = [row["ID"] for row, size in zip(sizes, so_far, strict=True) if size <= self.page_bytes]
        last = max(fitting, default=sizes[0]["ID"] if sizes else -1)
        found = self.ask(f"{_REJECTS.format(tenant=self.tenant)} WHERE {where} AND R.rowid <= {last} ORDER BY R.rowid")
        if sizes and not found:  # they went meanwhile
            return self.page(after)
        return {(row.pop("ID"), row.pop("SEEN")): _failed(row) for row in found}

    def _untried(self) -> str:
        return f"R.ATTEMPT_ENDING_TIMESTAMP < make_timestamp_ms({self.before})"


def _failed(row: dict[str, Any]) -> FailedRecord:
    source = {name: row.pop(name) for name in ("topic", "partition", "offset", "timestamp", "key", "tenant")}
    found = failed({**row, "source": source})
    assert found is not None  # base64 that this program wrote
    return found
