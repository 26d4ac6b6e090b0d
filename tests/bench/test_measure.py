"""How the benchmark compares, and what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import table
from benchmarks.measure import LMDP, Contender, Cost, UnequalError, compare
from benchmarks.table import Line


class Clock:
    """A clock that work moves on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The seconds so far."""
        return self.seconds

    def taking(self, seconds: float, rows: int = 2) -> Contender:
        """A contender that takes so long a message."""

        def work(messages: list[bytes]) -> int:
            self.seconds += seconds * len(messages)
            return rows * len(messages)

        return Contender(work)


def test_costs_are_a_row_and_ratios_to_lmdp() -> None:
    """A peer that takes three times as long costs three times as much; the first round only warms up."""
    clock = Clock()
    contenders = {LMDP: clock.taking(1.0), "peer": clock.taking(3.0)}
    costs = compare(contenders, [[b""] * 9, [b""], [b"", b""]], clock=clock)
    assert costs == {LMDP: Cost(0.5, 0.0, 1.0), "peer": Cost(1.5, 0.0, 3.0)}


def test_other_rows_are_refused() -> None:
    """A peer that makes fewer rows of the same messages has no place in the table."""
    clock = Clock()
    with pytest.raises(UnequalError, match="'peer': 1"):
        compare({LMDP: clock.taking(1.0), "peer": clock.taking(1.0, rows=1)}, [[b""]], clock=clock)


def test_the_block_of_a_page_is_rewritten(tmp_path: Path) -> None:
    """What is around the markers stays; a page without them is refused before anything is measured."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    line = Line("decode", "small", "µs", "1.00 ±2%", "9 rows", "copy 0.50 (0.50x)", "plain 4.00 (4.00x)")
    table.rewrite(page, table.markdown([line], ["skipped: bento: not here"], "a machine"))
    text = page.read_text(encoding="utf-8")
    assert "| decode | small | µs | 1.00 ±2% | 9 rows | copy 0.50 (0.50x) | plain 4.00 (4.00x) |" in text
    assert (text[:7], text[-7:]) == ("before\n", "\nafter\n")
    assert "old" not in text
    with pytest.raises(ValueError, match="has no lines"):
        table.check(Path(__file__))
