"""The log of what was replayed into a warehouse, and the warehouse's own rejects, a page at a time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lmdp.core.flatten import Row
from lmdp.errors import AlreadyReplayedError
from lmdp.machine.sink import Load, OffsetRange
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.replay.failed_records import Failed, Unparseable, failed
from lmdp.replay.retry import Outcome, now

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CLUSTER: Final = "replay"
"""LOADS' name of a cluster where rows came by a replay; the topic is then the source, the offsets count messages."""

REJECTS: Final = "warehouse:REJECTS"

ASK_SECONDS: Final = 600.0
"""For a query of the replay's own; REJECTS may be large."""

_PAGE: Final = 250  # rejects in a transaction
_PAGE_BYTES: Final = 32 * 2**20  # of them as they are kept; one may have more
_DELETE: Final = """
DELETE FROM REJECTS AS R USING (SELECT unnest(?::BIGINT[]) AS ID, unnest(?::UBIGINT[]) AS SEEN) AS S
WHERE R.rowid = S.ID AND hash(R) = S.SEEN
RETURNING R.ERROR_CODE
"""
_TABLES: Final = "SELECT table_name AS NAME FROM duckdb_tables() WHERE database_name = 'LM_METRICS'"
_COPIES: Final = 500  # in a query


@dataclass(frozen=True, slots=True)
class ReplayedObject:
    """An object that was replayed: the digest of its content, its address, and what was left of it (None: nothing)."""

    digest: str
    address: str
    left: bytes | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction: the result of some failures of `source`.

    It has the mark of an object, or `replaced`: the rejects that it replaces, each by its row number and a hash of its
    content. `messages` were tried, and made `rows`; `rejects` are what is left. `passed` has the keys by which copies
    of those that passed are recognised.
    """

    source: str
    messages: int
    rows: Sequence[Row] | pa.Table
    rejects: Sequence[dict[str, Any]] | pa.Table = ()
    replaced: Sequence[tuple[int, int]] = ()
    mark: ReplayedObject | None = None
    passed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class WarehouseOwner:
    """The owner of the warehouse's file: this process, or a run. `ask` runs a SELECT, `write` commits a transaction.

    `write` returns the bytes of the rows' columns. It raises AlreadyReplayedError, and other LmdpErrors; then
    nothing was written.
    """

    ask: Callable[[str], list[dict[str, Any]]]
    write: Callable[[Transaction], int]


def owned(warehouse: Warehouse) -> WarehouseOwner:
    """Return this process as the owner of a file that it has opened."""
    return WarehouseOwner(
        lambda sql: warehouse.query(sql, timeout_s=ASK_SECONDS).table.to_pylist(), partial(write, warehouse)
    )


def write(warehouse: Warehouse, transaction: Transaction) -> int:
    """Commit once: the rows, what is left, and the log entry are one transaction.

    Returns the bytes of the rows' columns. Not to be called twice at a time. Raises AlreadyReplayedError, and as a
    commit does.
    """
    at = datetime.now(UTC)
    first, rows = warehouse.offsets(CLUSTER, "", transaction.source).get(0, 0), len(transaction.rows)
    grown = len(transaction.rejects) - len(transaction.replaced)
    line = OffsetRange(CLUSTER, "", transaction.source, 0, first, first + transaction.messages, rows, grown)
    ranges = [line] if rows or transaction.mark else []  # so that rows and loads still add up
    return warehouse.commit(
        Load(transaction.rows, transaction.rejects, ranges, at), also=partial(_record, transaction, at)
    )


def _record(transaction: Transaction, at: datetime, connection: duckdb.DuckDBPyConnection) -> Counter[str]:
    """Write the mark, and remove the rejects that are replaced; returns their number by code."""
    gone: Counter[str] = Counter()
    if (mark := transaction.mark) is not None:
        if connection.execute("SELECT 1 FROM REPLAYED WHERE DIGEST = ?", [mark.digest]).fetchone():
            raise AlreadyReplayedError(f"{mark.address} is in the warehouse already")
        values = [mark.digest, mark.address, mark.left, at.replace(tzinfo=None)]
        connection.execute("INSERT INTO REPLAYED VALUES (?, ?, ?, ?)", values)
    if transaction.passed:
        connection.execute("INSERT INTO REPLAYED_FAILURES SELECT unnest(?::VARCHAR[])", [list(transaction.passed)])
    if transaction.replaced:
        ids, hashes = zip(*transaction.replaced, strict=True)
        gone.update(code for (code,) in connection.execute(_DELETE, [list(ids), list(hashes)]).fetchall())
        if gone.total() != len(ids):
            raise AlreadyReplayedError("some of these rejects were removed or moved")
    return gone


def known(owner: WarehouseOwner, digest: str) -> ReplayedObject | None:
    """Return the mark of this content; None where it was never replayed into this file."""
    if not _has(owner, "REPLAYED"):
        return None  # only read, and made before there were marks
    sql = f"SELECT OBJECT, REMAINS FROM REPLAYED WHERE DIGEST = '{int(digest, 16):064x}'"  # noqa: S608 - hexadecimal
    found = owner.ask(sql)
    return ReplayedObject(digest, found[0]["OBJECT"], found[0]["REMAINS"]) if found else None


def copies(owner: WarehouseOwner, pieces: Iterable[Failed | Unparseable]) -> set[str]:
    """Return the keys of those failures that were replayed into this file before, from any source."""
    if not _has(owner, "REPLAYED_FAILURES"):
        return set()
    wanted = sorted({piece.copy_of for piece in pieces if isinstance(piece, Failed)})
    found: set[str] = set()
    for at in range(0, len(wanted), _COPIES):
        some = ", ".join(f"'{one}'" for one in wanted[at : at + _COPIES])
        sql = f"SELECT COPY_OF FROM REPLAYED_FAILURES WHERE COPY_OF IN ({some})"  # noqa: S608 - hexadecimal
        found |= {row["COPY_OF"] for row in owner.ask(sql)}
    return found


def _has(owner: WarehouseOwner, table: str) -> bool:
    return any(row["NAME"] == table for row in owner.ask(_TABLES))


def take(owner: WarehouseOwner, source: str, outcome: Outcome, mark: ReplayedObject) -> int:
    """Write an object's rows and its mark; returns the bytes of the rows' columns.

    Raises AlreadyReplayedError when it is in.
    """
    return owner.write(Transaction(source, outcome.counts.messages, outcome.rows, mark=mark, passed=outcome.passed))


@dataclass(frozen=True, slots=True)
class Page:
    """Some rejects of the warehouse; each is known again by the number of its row, and a hash of what is in it.

    The number alone does not hold: other transactions, and a checkpoint, may give it to another.
    """

    ids: Sequence[tuple[int, int]]
    pieces: Sequence[Failed]


@dataclass(frozen=True, slots=True)
class Rejects:
    """The warehouse's rejects as they were at `before` (ms); what fails again is stamped later, and not tried twice."""

    owner: WarehouseOwner
    before: int

    @classmethod
    def of(cls, owner: WarehouseOwner) -> Rejects:
        """Return those that are there now."""
        (latest,) = owner.ask("SELECT coalesce(epoch_ms(max(ATTEMPT_ENDING_TIMESTAMP)), 0) AS MS FROM REJECTS")
        return cls(owner, max(now(), latest["MS"] + 1))

    def count(self) -> int:
        """Return how many have not been tried yet."""
        (found,) = self.owner.ask(f"SELECT count(*) AS N FROM REJECTS WHERE {self._untried()}")  # noqa: S608 - a number
        return int(found["N"])

    def page(self, after: int = -1) -> Page:
        """Return the next rejects to try, of rows numbered beyond `after`; empty at the end."""
        where = f"R.rowid > {after} AND {self._untried()}"
        sizes = self.owner.ask(
            f"SELECT R.rowid AS ID, strlen(R.RAW_DATA) AS SIZE FROM REJECTS AS R WHERE {where} LIMIT {_PAGE}"  # noqa: S608 - numbers
        )
        so_far = itertools.accumulate(row["SIZE"] for row in sizes)
        fitting = [row["ID"] for row, size in zip(sizes, so_far, strict=True) if size <= _PAGE_BYTES]
        last = max(fitting, default=sizes[0]["ID"] if sizes else -1)
        found = self.owner.ask(
            f"SELECT R.rowid AS ID, hash(R) AS SEEN, R.* FROM REJECTS AS R WHERE {where} AND R.rowid <= {last}"  # noqa: S608 - as above
        )
        if sizes and not found:  # they went meanwhile
            return self.page(after)
        return Page([(row["ID"], row["SEEN"]) for row in found], [_failed(row) for row in found])

    def replace(self, page: Page, outcome: Outcome, *, with_rows: bool) -> int:
        """Replace a page by what is left of it, and write its rows if they belong here.

        Raises AlreadyReplayedError.
        """
        left = [piece for piece in outcome.left if not isinstance(piece, Unparseable)]
        rows = outcome.rows if with_rows else []
        passed = outcome.passed if with_rows else ()
        return self.owner.write(Transaction(REJECTS, outcome.counts.messages, rows, left, page.ids, passed=passed))

    def _untried(self) -> str:
        return f"ATTEMPT_ENDING_TIMESTAMP < make_timestamp_ms({self.before})"


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
