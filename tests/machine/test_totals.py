"""Totals in memory are those of SQL, and the numbers that check a file let no fault hide another."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from lmdp.core.specification import load_spec
from lmdp.errors import LmdpError
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.warehouse.schema import MIGRATIONS
from lmdp.machine.warehouse.totals import RowAgeBounds, Totals, days_left
from lmdp.machine.warehouse.warehouse import Warehouse
from new_warehouse import open_warehouse
from running import remove_older

SPEC = load_spec()
NOW = datetime.now(UTC).replace(microsecond=0)
NOW_MS = int(NOW.timestamp() * 1000)
DAY = 86_400_000


def rows(count: int, ms: int = NOW_MS) -> list[tuple[object, ...]]:
    """Rows of one moment, which differ in their value."""
    return [("o", "1", None, "CPU", None, "m", None, "gauge", "", ms, n, "{}", "{}", "{}") for n in range(count)]


def part(first: int, end: int, count: int, partition: int = 0, epoch: int = -1) -> OffsetRange:
    """A range of the one topic of these tests."""
    return OffsetRange("c", "id", "t", partition, first, end, count, 0, epoch)


def envelope(code: str) -> dict[str, object]:
    """A reject."""
    source = {"topic": "t", "partition": 0, "offset": 0, "timestamp": None, "key": None}
    return {
        "errorCode": code, "errorMessage": "no", "attemptsMade": 1, "arrivalTimestamp": NOW_MS,
        "attemptEndingTimestamp": NOW_MS, "rawData": "", "source": source, "datapoints": 0,
    }  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of six messages with ten rows each, of two partitions."""
    path = tmp_path / "w.duckdb"
    with open_warehouse(path) as opened:
        for at in range(3):
            opened.commit(Load(rows(20), [], [part(100 * at, 100 * at + 100, 10), part(at, at + 1, 10, 1)], NOW))
    return path


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty one that keeps 30 days."""
    with open_warehouse(tmp_path / "empty.duckdb", keep_days=30) as opened:
        opened.tally.count()
        yield opened


_DELETE = "DELETE FROM ROW_EVENTS WHERE rowid IN (SELECT rowid FROM ROW_EVENTS LIMIT {n})"
_AGAIN = "INSERT INTO ROW_EVENTS SELECT * FROM ROW_EVENTS LIMIT {n}"


@pytest.mark.parametrize(
    ("faults", "numbers"),
    [
        ([], (0, 0, 0)),
        ([_DELETE.format(n=5)], (0, 5, 0)),
        ([_AGAIN.format(n=5)], (5, 0, 0)),
        (["INSERT INTO LOADS SELECT * FROM LOADS WHERE PARTITION = 0 AND FIRST_OFFSET = 0"], (10, 10, 0)),
        (["DELETE FROM LOADS WHERE PARTITION = 0 AND FIRST_OFFSET = 100"], (10, 0, 100)),
        (["DELETE FROM LOADS WHERE PARTITION = 0 AND FIRST_OFFSET = 200"], (10, 0, 100)),
        (["UPDATE OFFSETS SET NEXT_OFFSET = 500 WHERE PARTITION = 0"], (0, 0, 200)),
        (["UPDATE LOADS SET FIRST_OFFSET = 50 WHERE PARTITION = 0 AND FIRST_OFFSET = 100"], (10, 0, 0)),
        (["UPDATE LOADS SET FIRST_OFFSET = 150 WHERE PARTITION = 0 AND FIRST_OFFSET = 100"], (0, 0, 50)),
        (["INSERT INTO REMOVALS VALUES (now(), now(), 7, 0)"], (7, 0, 0)),
        (
            [
                _DELETE.format(n=4),
                "INSERT INTO LOADS SELECT * FROM LOADS WHERE PARTITION = 0 AND FIRST_OFFSET = 0",
                "UPDATE OFFSETS SET NEXT_OFFSET = 500 WHERE PARTITION = 0",
            ],
            (10, 14, 200),
        ),
    ],
)
def test_each_fault_has_its_number(path: Path, faults: list[str], numbers: tuple[int, int, int]) -> None:
    """Duplicates, missing rows and holes: none is negative, and none cancels another; merging changes none."""
    with duckdb.connect(str(path)) as opened:
        opened.execute("USE PIPELINE")
        for sql in faults:
            opened.execute(sql)
    with Warehouse.open(path, SPEC, read_only=True) as reader:
        found = reader.tally.exact()
        assert (found.duplicates, found.missing, found.holes) == numbers
    with open_warehouse(path) as writer:
        remove_older(writer, None, NOW + timedelta(days=2))
        found = writer.tally.count()
        assert (found.duplicates, found.missing, found.holes) == numbers


def test_what_is_read_on_after_an_offset_was_set_ahead_is_a_hole(path: Path) -> None:
    """The next range begins where the offset stands, and the messages before it stay to be seen."""
    with duckdb.connect(str(path)) as opened:
        opened.execute("UPDATE PIPELINE.OFFSETS SET NEXT_OFFSET = 500 WHERE PARTITION = 0")
    with open_warehouse(path) as writer:
        writer.tally.count()
        writer.commit(Load(rows(1), [], [part(500, 501, 1)], NOW))
        assert (writer.tally.exact().holes, writer.tally.exact().duplicates) == (200, 0)


_GAP = OffsetRange("c", "id", "t", 0, 20, 50, 0, 0)


@pytest.mark.parametrize(
    ("ranges", "gaps", "count", "numbers"),
    [
        ([part(10, 20, 10)], [], 10, (20, 0, 0)),
        ([part(50, 50, 0)], [_GAP], 0, (10, 30, 0)),
        ([part(10, 20, 5), part(50, 50, 0), part(50, 60, 5)], [_GAP], 10, (20, 30, 0)),
        ([part(5, 10, 5)], [], 5, (15, 0, 5)),
    ],
    ids=["messages", "a gap alone", "both", "offsets that were read before"],
)
@pytest.mark.parametrize("is_durable", [True, False])
def test_a_load_that_failed_is_written_once(
    warehouse: Warehouse,
    ranges: list[OffsetRange],
    gaps: list[OffsetRange],
    count: int,
    numbers: tuple[int, int, int],
    is_durable: bool,
) -> None:
    """Whether or not it was durable, and lines of LOADS merged since; a line of before its first attempt is none."""
    late = NOW.replace(hour=23, minute=59)
    warehouse.commit(Load(rows(10), [], [part(0, 10, 10)], late - timedelta(minutes=1), number=1))

    def load(at: datetime) -> Load:
        return Load(rows(count), [], ranges, at, gaps, number=2)

    def fail(_: object) -> Counter[str]:
        raise LmdpError("no answer")

    with pytest.raises(LmdpError):
        warehouse.commit(load(late), **{"then" if is_durable else "also": fail})  # type: ignore[arg-type]  # one of them
    remove_older(warehouse, None, late + timedelta(minutes=2))
    warehouse.commit(load(late + timedelta(minutes=3)))
    found = warehouse.tally.count()
    assert (found.rows, found.gaps, found.duplicates) == numbers


def test_a_gap_and_a_broker_that_went_back_are_no_holes(warehouse: Warehouse) -> None:
    """What retention took is in GAPS; offsets that were given again have another leader epoch."""
    warehouse.commit(Load(rows(5), [], [part(0, 100, 5, epoch=1)], NOW))
    warehouse.commit(Load([], [], [part(150, 150, 0)], NOW, gaps=[part(100, 150, 0)]))
    warehouse.commit(Load(rows(5), [], [part(150, 200, 5, epoch=1)], NOW))
    warehouse.commit(Load([], [], [part(180, 180, 0)], NOW))
    warehouse.commit(Load(rows(5), [], [part(180, 220, 5, epoch=2)], NOW))
    found = warehouse.tally.exact()
    assert (found.gaps, found.duplicates, found.missing, found.holes) == (50, 0, 0, 0)


def test_totals_in_memory_are_those_of_sql(warehouse: Warehouse) -> None:
    """After loads, rejects, impossible times and a removal, both are the same."""

    def both() -> tuple[Totals, Totals]:
        with warehouse.tally.moment() as totals:
            remembered = totals.copy()
        return remembered, warehouse.tally.count()

    warehouse.commit(Load(rows(10), [], [part(0, 1, 10)], NOW))
    warehouse.commit(Load(rows(3, NOW_MS + 2 * DAY), [envelope("a"), envelope("b")], [part(1, 2, 3)], NOW))
    warehouse.commit(Load(rows(4, 0), [envelope("b")], [part(2, 3, 4)], NOW))
    warehouse.commit(Load([], [], [part(3, 3, 0)], NOW))
    remembered, counted = both()
    assert remembered == counted
    assert (counted.rows, dict(counted.rejects), counted.ahead, counted.expired) == (17, {"a": 1, "b": 2}, 3, 4)
    assert (counted.oldest, counted.newest) == (0, NOW_MS)
    assert warehouse.tally.clock() == {"ahead": 3, "expired": 4}
    assert remove_older(warehouse, 30, NOW).rows == 4
    remembered, counted = both()
    assert (remembered.rows, remembered.is_exact) == (13, False)
    assert (counted.expired, counted.oldest, counted.missing) == (0, NOW_MS, 0)
    assert warehouse.tally.clock() == {"ahead": 3, "expired": 4}, "what has come stays counted"


def test_a_count_beside_loads_misses_none(warehouse: Warehouse) -> None:
    """What is committed during a count is in it once."""
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            found = warehouse.tally.count()
            assert (found.duplicates, found.missing, found.holes) == (0, 0, 0)

    thread = threading.Thread(target=count)
    thread.start()
    for at in range(40):
        warehouse.commit(Load(rows(10), [], [part(at, at + 1, 10)], NOW))
    done.set()
    thread.join()
    with warehouse.tally.moment() as totals:
        assert (totals.rows, totals.loaded) == (400, 400)


def test_a_load_is_taken_up_in_one_moment(warehouse: Warehouse) -> None:
    """What a run counts and what its file holds are never seen apart."""
    seen: list[int] = []

    def then(_: int) -> None:
        seen.append(10)

    warehouse.commit(Load(rows(10), [], [part(0, 1, 10)], NOW), then=then)
    with warehouse.tally.moment() as totals:
        assert totals.rows == sum(seen) == 10


@pytest.mark.parametrize(
    ("now", "days", "kept", "ahead"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), 30, datetime(2026, 1, 1), datetime(2026, 2, 1, 12)),  # noqa: DTZ001
        (datetime(2026, 1, 31, 12, tzinfo=UTC), None, datetime.min, datetime(2026, 2, 1, 12)),  # noqa: DTZ001, DTZ901
        (datetime(2026, 1, 31, tzinfo=UTC), 800_000, datetime.min, datetime(2026, 2, 1)),  # noqa: DTZ001, DTZ901
        (datetime.max.replace(tzinfo=UTC), 10**9, datetime.min, datetime.max),  # noqa: DTZ901
        (datetime.min.replace(tzinfo=UTC), 1, datetime.min, datetime(1, 1, 2)),  # noqa: DTZ001, DTZ901
    ],
)
def test_limits_are_within_time(now: datetime, days: int | None, kept: datetime, ahead: datetime) -> None:
    """No clock and no number of days leads beyond the years 1 to 9999."""
    assert RowAgeBounds.at(now, days) == RowAgeBounds(kept, ahead)


# a file of an earlier version


def _as_before(path: Path) -> None:
    """Take back the last migrations, and let LOADS have spaces as markers left them."""
    with duckdb.connect(str(path)) as opened:
        opened.execute("USE PIPELINE")
        opened.execute("ALTER TABLE LOADS DROP COLUMN IS_COMPLETE")
        opened.execute("ALTER TABLE REJECTS DROP COLUMN SOURCE_TENANT")
        opened.execute(f"DELETE FROM MIGRATIONS WHERE VERSION > {len(MIGRATIONS) - 2}")
        opened.execute("UPDATE LOADS SET FIRST_OFFSET = FIRST_OFFSET + 1 WHERE PARTITION = 0")


def test_a_file_of_the_version_before_goes_on(path: Path) -> None:
    """It opens, its lines merge though markers lie between them, and only new ranges have holes."""
    _as_before(path)
    with Warehouse.open(path, SPEC, read_only=True) as reader:
        found = reader.tally.exact()
        assert (found.rows, found.duplicates, found.missing, found.holes) == (60, 0, 0, 0)
    with open_warehouse(path) as writer:
        assert writer.offsets("c", "id", "t") == {0: 300, 1: 3}
        writer.commit(Load(rows(1), [], [part(300, 301, 1)], NOW))
        writer.commit(Load(rows(1), [], [part(305, 306, 1)], NOW))
        remove_older(writer, None, NOW + timedelta(days=2))
        found = writer.tally.count()
        assert (found.duplicates, found.missing, found.holes) == (0, 0, 4)
        lines = writer.query("SELECT PARTITION, FIRST_OFFSET, NEXT_OFFSET, ROWS, IS_COMPLETE FROM LOADS ORDER BY ALL")
        assert [tuple(line.values()) for line in lines.table.to_pylist()] == [
            (0, 1, 300, 30, False), (0, 300, 301, 1, True), (0, 305, 306, 1, True), (1, 0, 3, 30, False),
        ]  # fmt: skip


def test_loads_is_merged_by_the_day_with_forever_too(warehouse: Warehouse) -> None:
    """Today stays as it is; each day before is a line a partition, and what is older than 30 days one in all."""
    for age, at in [(50, 0), (45, 1), (9, 2), (9, 3), (1, 4), (1, 5), (0, 6), (0, 7)]:
        moment = NOW - timedelta(days=age)
        warehouse.commit(Load(rows(1), [], [part(at, at + 1, 1)], moment))
    remove_older(warehouse, None, NOW)
    lines = warehouse.query("SELECT FIRST_OFFSET, NEXT_OFFSET, ROWS FROM LOADS ORDER BY ALL").table.to_pylist()
    assert [tuple(line.values()) for line in lines] == [(0, 2, 2), (2, 4, 2), (4, 6, 2), (6, 7, 1), (7, 8, 1)]
    found = warehouse.tally.count()
    assert (found.rows, found.duplicates, found.missing, found.holes) == (8, 0, 0, 0)


@pytest.mark.parametrize(
    ("grown", "free", "running_s", "keep_days", "days"),
    [
        (1_000, 240_000, 3_600, 30, 10.0),
        (1_000, 240_000, 3_599, 30, None),  # no hour of growth yet
        (1_000, 240_000, None, 30, None),  # no run
        (0, 240_000, 3_600, 30, None),
        (-5, 240_000, 3_600, 30, None),  # a removal made the file smaller
        (1_000, 720_000, 3_600, 30, 30.0),
        (1_000, 744_000, 3_600, 30, None),  # the oldest rows leave first
        (1_000, 744_000, 3_600, None, 31.0),
    ],
)
def test_a_full_disk_is_foretold_from_an_hour_of_growth(
    grown: int, free: int, running_s: float | None, keep_days: int | None, days: float | None
) -> None:
    """And only where --keep does not remove rows before."""
    assert days_left(grown, free, running_s, keep_days) == days
