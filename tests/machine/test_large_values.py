"""Values so large that a checkpoint needs more memory than the warehouse may use: it takes more, and goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lmdp.core.rejects import Reject, envelope
from lmdp.errors import LmdpError
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.connection import EngineLimits, lacks_memory
from lmdp.machine.warehouse.warehouse import Warehouse
from new_warehouse import open_warehouse

SMALL = EngineLimits(memory="60MB")
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def take(warehouse: Warehouse, offset: int) -> bool:
    """Write a reject of 4 MB, 5.3 MB in base64; False when that failed for want of memory."""
    reject = Reject("Row.TooLarge", "why", bytes(4_000_000), "t", 0, offset, None, None, 1)
    try:
        warehouse.commit(
            Load([], [envelope(reject, 0)], [OffsetRange("c", "i", "t", 0, offset, offset + 1, 0, 1)], NOW)
        )
    except LmdpError as error:
        if not lacks_memory(error.__cause__):
            raise
        return False
    return True


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse that was asked to hold more large rejects at once than its memory."""
    path = tmp_path_factory.mktemp("large") / "w.duckdb"
    with open_warehouse(path, limits=SMALL) as warehouse:
        failures = there = 0
        for offset in range(16):
            while not take(warehouse, offset):
                failures += 1
                there += warehouse.offsets("c", "i", "t").get(0, 0) > offset
        assert 2 <= failures <= 8
        assert there >= 1  # a commit that failed is there all the same, and was not written twice
        assert warehouse.reopened >= 1
        assert (warehouse.tally.exact().rejects.total(), warehouse.duplicates()) == (16, 0)
    return path


def test_it_is_opened_again_with_as_little(path: Path) -> None:
    """The next start takes what it needs, too."""
    with open_warehouse(path, limits=SMALL) as warehouse:
        assert warehouse.tally.exact().rejects.total() == 16
        assert take(warehouse, 16) or take(warehouse, 16) or take(warehouse, 16)


def test_more_memory_is_twice_as_much_up_to_half_of_the_machine() -> None:
    """Then there is none."""
    limits, steps = EngineLimits(memory="128MB"), 0
    while more := limits.more():
        assert int(more.memory[:-2]) == 2 * int(limits.memory[:-2])
        limits, steps = more, steps + 1
    assert 0 < steps < 20
