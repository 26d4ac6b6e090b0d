"""The contents of a warehouse afterwards: its rows distinguished, and compared with LOADS and OFFSETS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from running import Consuming

_SUMS = """
SELECT (SELECT count(*) FROM ROW_EVENTS) AS ROWS,
  (SELECT count(DISTINCT "instance") FROM ROW_EVENTS WHERE "instance" LIKE 'i-%') AS NUMBERS,
  (SELECT count(*) FROM ROW_EVENTS WHERE "instance" LIKE 'i-%') AS NUMBERED,
  (SELECT CAST(coalesce(sum(ROWS), 0) AS BIGINT) FROM LOADS) AS LOADED,
  (SELECT CAST(coalesce(sum(NEXT_OFFSET - FIRST_OFFSET), 0) AS BIGINT) FROM LOADS) AS MESSAGES
"""
_BREAKS = """
SELECT count(*) AS N FROM (
  SELECT FIRST_OFFSET, lag(NEXT_OFFSET) OVER (
    PARTITION BY CLUSTER, TOPIC_ID, PARTITION ORDER BY FIRST_OFFSET, NEXT_OFFSET) AS ENDED FROM LOADS
) WHERE FIRST_OFFSET <> ENDED
"""
_AWRY = """
SELECT count(*) AS N FROM OFFSETS AS O JOIN (
  SELECT CLUSTER, TOPIC_ID, TOPIC, PARTITION, max(NEXT_OFFSET) AS LAST FROM LOADS GROUP BY ALL
) AS L USING (CLUSTER, TOPIC_ID, TOPIC, PARTITION) WHERE O.NEXT_OFFSET <> L.LAST
"""


@dataclass(frozen=True, slots=True)
class Books:
    """`numbers`: those of the test's own bundles that are there, `numbered` their rows; `loaded`: what LOADS has.

    `breaks`: ranges of LOADS that do not begin where the one before ended; `awry`: offsets that are not the last one's.
    """

    rows: int
    numbers: int
    numbered: int
    loaded: int
    messages: int
    breaks: int
    awry: int

    @property
    def repeats(self) -> int:
        """Rows of our bundles that are there more than once."""
        return self.numbered - self.numbers

    def is_whole(self) -> bool:
        """Return whether it is a whole number of transactions, each behind the other."""
        return (self.rows, self.breaks, self.awry) == (self.loaded, 0, 0)


def asking(run: Consuming) -> Callable[[str], list[dict[str, Any]]]:
    """Questions to the warehouse of a run."""
    return lambda sql: run.warehouse.query(sql, limit_rows=1_000_000).table.to_pylist()


def books(ask: Callable[[str], list[dict[str, Any]]]) -> Books:
    """Look into a warehouse by its answers."""
    (sums,), (breaks,), (awry,) = ask(_SUMS), ask(_BREAKS), ask(_AWRY)
    return Books(
        rows=int(sums["ROWS"]),
        numbers=int(sums["NUMBERS"]),
        numbered=int(sums["NUMBERED"]),
        loaded=int(sums["LOADED"]),
        messages=int(sums["MESSAGES"]),
        breaks=int(breaks["N"]),
        awry=int(awry["N"]),
    )


def numbers(ask: Callable[[str], list[dict[str, Any]]]) -> set[int]:
    """The numbers of our bundles whose rows are there."""
    found = ask(
        'SELECT DISTINCT CAST(substr("instance", 3) AS BIGINT) AS N FROM ROW_EVENTS WHERE "instance" LIKE \'i-%\''
    )
    return {int(row["N"]) for row in found}
