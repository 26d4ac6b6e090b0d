"""The warehouse's part in a replay: marks of the objects that are in it, and its own rejects, a page at a time."""

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
from lmdp.replay.again import Outcome, now
from lmdp.replay.failed_records import Failed, Unread, failed

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

CLUSTER: Final = "replay"
"""LOADS' name of a cluster where rows came by a replay; the topic is then the source, the offsets count messages."""

REJECTS: Final = "warehouse:REJECTS"

ASK_SECONDS: Final = 600.0
"""For a question of the replay's own; REJECTS may be large."""

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
class Mark:
    """An object that is in the warehouse, by the digest of its content, and what was left of it (None: nothing)."""

    digest: str
    address: str
    left: bytes | None


@dataclass(frozen=True, slots=True)
class Portion:
    """One transaction: what some failures of `source` became.

    It has the mark of an object, or `settled`: the rejects that it takes the place of, each by the number of its row
    and a hash of what was in it. `messages` were tried, and made `rows`; `rejects` are what is left. `passed` has what
    copies of those that passed are known by.
    """

    source: str
    messages: int
    rows: Sequence[Row] | pa.Table
    rejects: Sequence[dict[str, Any]] | pa.Table = ()
    settled: Sequence[tuple[int, int]] = ()
    mark: Mark | None = None
    passed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Keeper:
    """Whoever has the warehouse's file: this process, or a run. `ask` answers a SELECT, `write` commits a portion.

    `write` returns the bytes of the rows' columns. It raises AlreadyReplayedError, and other LmdpErrors; then
    nothing was written.
    """

    ask: Callable[[str], list[dict[str, Any]]]
    write: Callable[[Portion], int]


def own(warehouse: Warehouse) -> Keeper:
    """This process as the keeper of a file that it has opened."""
    return Keeper(lambda sql: warehouse.query(sql, timeout_s=ASK_SECONDS).table.to_pylist(), partial(write, warehouse))


def write(warehouse: Warehouse, portion: Portion) -> int:
    """Commit a portion once: its rows, what is left, and what says that it is in, are one transaction.

    Returns the bytes of the rows' columns. Not to be called twice at a time. Raises AlreadyReplayedError, and as a
    commit does.
    """
    at = datetime.now(UTC)
    first, rows = warehouse.offsets(CLUSTER, "", portion.source).get(0, 0), len(portion.rows)
    grown = len(portion.rejects) - len(portion.settled)
    line = OffsetRange(CLUSTER, "", portion.source, 0, first, first + portion.messages, rows, grown)
    ranges = [line] if rows or portion.mark else []  # so that rows and loads still add up
    return warehouse.commit(Load(portion.rows, portion.rejects, ranges, at), also=partial(_settle, portion, at))


def _settle(portion: Portion, at: datetime, connection: duckdb.DuckDBPyConnection) -> Counter[str]:
    """Write the mark, and remove the rejects that the portion takes the place of; returns those by their code."""
    gone: Counter[str] = Counter()
    if (mark := portion.mark) is not None:
        if connection.execute("SELECT 1 FROM REPLAYED WHERE DIGEST = ?", [mark.digest]).fetchone():
            raise AlreadyReplayedError(f"{mark.address} is in the warehouse already")
        values = [mark.digest, mark.address, mark.left, at.replace(tzinfo=None)]
        connection.execute("INSERT INTO REPLAYED VALUES (?, ?, ?, ?)", values)
    if portion.passed:
        connection.execute("INSERT INTO REPLAYED_FAILURES SELECT unnest(?::VARCHAR[])", [list(portion.passed)])
    if portion.settled:
        ids, hashes = zip(*portion.settled, strict=True)
        gone.update(code for (code,) in connection.execute(_DELETE, [list(ids), list(hashes)]).fetchall())
        if gone.total() != len(ids):
            raise AlreadyReplayedError("some of these rejects are gone, or have moved")
    return gone


def known(keeper: Keeper, digest: str) -> Mark | None:
    """The mark of this content; None where it was never replayed into this file."""
    if not _has(keeper, "REPLAYED"):
        return None  # only read, and made before there were marks
    sql = f"SELECT OBJECT, REMAINS FROM REPLAYED WHERE DIGEST = '{int(digest, 16):064x}'"  # noqa: S608 - hexadecimal
    found = keeper.ask(sql)
    return Mark(digest, found[0]["OBJECT"], found[0]["REMAINS"]) if found else None


def copies(keeper: Keeper, pieces: Iterable[Failed | Unread]) -> set[str]:
    """Which of these failures were replayed into this file before, from wherever, by what copies are known by."""
    if not _has(keeper, "REPLAYED_FAILURES"):
        return set()
    wanted = sorted({piece.copy_of for piece in pieces if isinstance(piece, Failed)})
    found: set[str] = set()
    for at in range(0, len(wanted), _COPIES):
        some = ", ".join(f"'{one}'" for one in wanted[at : at + _COPIES])
        sql = f"SELECT COPY_OF FROM REPLAYED_FAILURES WHERE COPY_OF IN ({some})"  # noqa: S608 - hexadecimal
        found |= {row["COPY_OF"] for row in keeper.ask(sql)}
    return found


def _has(keeper: Keeper, table: str) -> bool:
    return any(row["NAME"] == table for row in keeper.ask(_TABLES))


def take(keeper: Keeper, source: str, outcome: Outcome, mark: Mark) -> int:
    """Write an object's rows and its mark; returns the bytes of the rows' columns.

    Raises AlreadyReplayedError when it is in.
    """
    return keeper.write(Portion(source, outcome.counts.messages, outcome.rows, mark=mark, passed=outcome.passed))


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

    keeper: Keeper
    before: int

    @classmethod
    def of(cls, keeper: Keeper) -> Rejects:
        """Those that are there now."""
        (latest,) = keeper.ask("SELECT coalesce(epoch_ms(max(ATTEMPT_ENDING_TIMESTAMP)), 0) AS MS FROM REJECTS")
        return cls(keeper, max(now(), latest["MS"] + 1))

    def count(self) -> int:
        """How many have not been tried yet."""
        (found,) = self.keeper.ask(f"SELECT count(*) AS N FROM REJECTS WHERE {self._untried()}")  # noqa: S608 - a number
        return int(found["N"])

    def page(self, after: int = -1) -> Page:
        """The next rejects to try, of rows numbered beyond `after`; empty at the end."""
        where = f"R.rowid > {after} AND {self._untried()}"
        sizes = self.keeper.ask(
            f"SELECT R.rowid AS ID, strlen(R.RAW_DATA) AS SIZE FROM REJECTS AS R WHERE {where} LIMIT {_PAGE}"  # noqa: S608 - numbers
        )
        so_far = itertools.accumulate(row["SIZE"] for row in sizes)
        fitting = [row["ID"] for row, size in zip(sizes, so_far, strict=True) if size <= _PAGE_BYTES]
        last = max(fitting, default=sizes[0]["ID"] if sizes else -1)
        found = self.keeper.ask(
            f"SELECT R.rowid AS ID, hash(R) AS SEEN, R.* FROM REJECTS AS R WHERE {where} AND R.rowid <= {last}"  # noqa: S608 - as above
        )
        if sizes and not found:  # they went meanwhile
            return self.page(after)
        return Page([(row["ID"], row["SEEN"]) for row in found], [_failed(row) for row in found])

    def settle(self, page: Page, outcome: Outcome, *, with_rows: bool) -> int:
        """Replace a page by what is left of it, and write its rows where they belong here.

        Raises AlreadyReplayedError.
        """
        left = [piece for piece in outcome.left if not isinstance(piece, Unread)]
        rows = outcome.rows if with_rows else []
        passed = outcome.passed if with_rows else ()
        return self.keeper.write(Portion(REJECTS, outcome.counts.messages, rows, left, page.ids, passed=passed))

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
