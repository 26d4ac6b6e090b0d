"""A batch: what it holds, when it is committed, and what that leaves in the warehouse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.machine.batch import Batch
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.offsets import Fetch
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.testing.pipeline import TOPIC, fetched, write
from new_warehouse import open_warehouse
from running import bundle, consuming, publish, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = TransformSettings(org_id="acme")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty one."""
    with open_warehouse(tmp_path / "w.duckdb") as opened:
        yield opened


def batch(*messages: Message) -> Batch:
    """A batch of these, read at second 5."""
    made = Batch(TOPIC)
    for fetch in fetched(messages):
        made.add(fetch, transform(fetch.messages, SETTINGS), 5.0)
    return made


def message(value: bytes | None, partition: int = 0, offset: int = 0) -> Message:
    """A message as it comes from Kafka."""
    return Message(value, "topic", partition, offset, 1_764_000_000_000, b"\xff\x00")


def told(warehouse: Warehouse, sql: str) -> list[dict[str, Any]]:
    """The rows of an answer."""
    found: list[dict[str, Any]] = warehouse.query(sql).table.to_pylist()
    return found


def test_rows_rejects_offsets_and_loads_are_one_write(warehouse: Warehouse) -> None:
    """Each partition has its line in LOADS, with what its messages became, and continues behind them."""
    messages = [
        message(bundle(1), 0, 10),
        message(b"{", 0, 11),
        message(bundle(2), 3, 7),
        message(None, 3, 8),
        message(b"", 3, 9),
    ]
    progress = write(warehouse, messages, SETTINGS)
    assert warehouse.offsets("cluster", "id", "topic") == {0: 12, 3: 10}
    assert batch(*messages).next_offsets == {0: 12, 3: 10}
    loads = "SELECT PARTITION AS P, FIRST_OFFSET AS A, NEXT_OFFSET AS Z, ROWS AS R, REJECTS AS X FROM LOADS ORDER BY 1"
    assert told(warehouse, loads) == [
        {"P": 0, "A": 10, "Z": 12, "R": 1, "X": 1},
        {"P": 3, "A": 7, "Z": 10, "R": 1, "X": 0},
    ]
    counts = progress.counts
    assert (counts.messages, counts.rows, counts.rejected_messages, counts.dropped["empty"]) == (5, 2, 1, 2)
    assert progress.reasons == {"Decode.Malformed": 1}
    assert told(warehouse, "SELECT SOURCE_OFFSET AS O FROM REJECTS") == [{"O": 11}]


@pytest.mark.parametrize(("epoch", "duplicates"), [(1, 0), (0, 2)])
def test_offsets_that_come_again_with_another_epoch_are_others(
    warehouse: Warehouse, epoch: int, duplicates: int
) -> None:
    """A broker that lost its newest messages gives their offsets again: no duplicates, but for the same epoch."""
    write(warehouse, [message(bundle(offset), 0, offset) for offset in range(10)], SETTINGS, epoch=0)
    write(warehouse, [message(bundle(100 + offset), 0, offset) for offset in (8, 9)], SETTINGS, epoch=epoch)
    write(warehouse, [message(bundle(110), 0, 10)], SETTINGS, epoch=epoch + 1)
    assert warehouse.offsets("cluster", "id", "topic") == {0: 11}
    assert warehouse.epochs("cluster", "id", "topic") == {0: epoch + 1}
    assert warehouse.duplicates() == duplicates


def test_an_empty_batch_is_never_due() -> None:
    """Nothing is committed where nothing was read."""
    made = Batch(TOPIC)
    assert (made.is_empty(), made.is_full(ConsumeSettings("t")), made.is_due(ConsumeSettings("t"), 1e9)) == (
        *(True, False, False),
    )


@pytest.mark.parametrize(
    ("changed", "full"),
    [({}, False), ({"batch_rows": 2}, True), ({"batch_rows": 3}, False), ({"batch_bytes": 400}, True)],
)
def test_a_batch_is_full_by_rows_or_bytes(changed: dict[str, int], full: bool) -> None:
    """Whichever comes first."""
    made = batch(message(bundle(1), 0, 0), message(bundle(2), 0, 1))
    assert made.is_full(ConsumeSettings("t", **changed)) == full  # type: ignore[arg-type]  # integers alone


def test_a_batch_is_due_by_the_age_of_its_first_message() -> None:
    """Later ones make it no younger."""
    made, settings = batch(message(bundle(1), 0, 0)), ConsumeSettings("t", linger_s=2.0)
    (late,) = fetched([message(bundle(2), 0, 1)])
    made.add(late, transform(late.messages, SETTINGS), 6.9)
    assert [made.is_due(settings, now) for now in (5.0, 6.9, 7.0)] == [False, False, True]


def test_a_reset_is_due_at_once_and_adjoins_nothing_else() -> None:
    """Where a partition begins must not be forgotten; what expired is no row, and a gap."""
    made, nothing = Batch(TOPIC), transform((), SETTINGS)
    made.add(Fetch(0, 500, 500, lost_from=11), nothing, 5.0)
    assert made.is_due(ConsumeSettings("t"), 5.0)
    assert [made.adjoins(Fetch(part, first, 900)) for part, first in ((0, 500), (0, 501), (1, 7))] == [
        *(True, False, True),
    ]
    load = made.load(datetime.now(UTC))
    assert made.lost() == 489
    assert [(part.partition, part.first, part.next, part.epoch) for part in load.ranges] == [(0, 500, 500, -1)]
    assert [(part.first, part.next) for part in load.gaps] == [(11, 500)]


def test_offsets_without_a_message_belong_to_the_range() -> None:
    """Lines of LOADS adjoin, whatever markers and holes are between the messages; a new leader begins a new line."""
    made, nothing = batch(message(bundle(1), 0, 0)), transform((), SETTINGS)
    made.add(Fetch(0, 1, 4), nothing, 5.0)
    made.add(Fetch(0, 4, 6, 3), nothing, 5.0)
    ranges = made.load(datetime.now(UTC)).ranges
    assert [(part.first, part.next, part.rows, part.epoch) for part in ranges] == [(0, 4, 1, -1), (4, 6, 0, 3)]


_READ_IN_ONE_COMMIT = {
    "marker within": ([(0, 10, 3), (10, 11, -1), (11, 20, 3)], [(0, 20, 3)]),
    "new leader": ([(0, 10, 3), (10, 11, -1), (11, 20, 4)], [(0, 10, 3), (10, 11, -1), (11, 20, 4)]),
    "marker at the end": ([(0, 10, 3), (10, 11, -1)], [(0, 10, 3), (10, 11, -1)]),
    "same offset": ([(0, 10, 3), (10, 10, -1), (10, 20, 3)], [(0, 10, 3), (10, 20, 3)]),
    "no epochs": ([(0, 10, -1), (10, 10, -1), (10, 20, -1)], [(0, 10, -1), (10, 20, -1)]),
    "second leader": ([(0, 10, 3), (10, 20, 4), (20, 21, -1), (21, 30, 4)], [(0, 10, 3), (10, 30, 4)]),
}


def test_the_next_offset_is_behind_what_was_read_last(warehouse: Warehouse) -> None:
    """Whatever leaders, markers and resets one commit has: nothing is read twice, and lines of LOADS adjoin."""
    made, ends = Batch(TOPIC), {}
    for partition, (fetches, _) in enumerate(_READ_IN_ONE_COMMIT.values()):
        for first, following, epoch in fetches:
            read = [message(bundle(offset), partition, offset) for offset in range(first, following) if epoch != -1]
            fetch = Fetch(partition, first, following, epoch, read)
            assert made.adjoins(fetch)
            made.add(fetch, transform(read, SETTINGS), 5.0)
            ends[partition] = following, epoch
    warehouse.commit(made.load(datetime.now(UTC)))
    assert warehouse.offsets("cluster", "id", "topic") == {part: at for part, (at, _) in ends.items()}
    assert warehouse.epochs("cluster", "id", "topic") == {part: epoch for part, (_, epoch) in ends.items()}
    found = told(warehouse, "SELECT PARTITION, FIRST_OFFSET, NEXT_OFFSET, LEADER_EPOCH FROM LOADS ORDER BY 1, 2")
    assert [tuple(line.values()) for line in found] == [
        (partition, *line) for partition, (_, lines) in enumerate(_READ_IN_ONE_COMMIT.values()) for line in lines
    ]
    held = warehouse.tally.count()
    assert (held.duplicates, held.missing, held.holes) == (0, 0, 0)


def test_a_reset_stays_before_the_messages_behind_it() -> None:
    """A sink has to know of it, also where a broker gives no epochs and both are of one commit."""
    made, nothing = Batch(TOPIC), transform((), SETTINGS)
    made.add(Fetch(0, 8, 8), nothing, 5.0)
    made.add(Fetch(0, 8, 10), nothing, 5.0)
    ranges = made.load(datetime.now(UTC)).ranges
    assert [(part.first, part.next) for part in ranges] == [(8, 8), (8, 10)]


def _odd(**changed: Any) -> bytes:
    """A bundle with odd attributes, or with another value or time."""
    made = json.loads(bundle(1))
    point = made["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["gauge"]["dataPoints"][0]
    for key, value in changed.pop("attributes", {}).items():
        point["attributes"].append({"key": key, "value": {"stringValue": value}})
    point |= changed
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    "value",
    [
        _odd(attributes={"half": "\ud800", "\udfff": "x"}),
        _odd(attributes={"nul": "a\x00b", "\x00": ""}),
        _odd(attributes={"emoji": "📈", "quote": "'\"\\;--"}),
        _odd(attributes={"long": "x" * 2_000_000}),
        _odd(asInt=str(2**63 - 1), asDouble=None),
        _odd(asInt=str(2**63), asDouble=None),
        _odd(asDouble=1.7e308),
        _odd(asDouble=5e-324),
        _odd(timeUnixNano="0"),
        _odd(timeUnixNano=str(2**64 - 1)),
        _odd(timeUnixNano="-1"),
        _odd(timeUnixNano="253402300799999000000"),
        b"\x0a\x02\xff\xff",
        b"\x1f\x8b\x08\x00",
        b"\x28\xb5\x2f\xfd\x00",
        b"[" * 100_000,
        b'{"resourceMetrics":' + b"[" * 50_000,
        "🙂".encode("utf-16"),
    ],
    ids=range(18),
)
def test_no_message_is_too_odd_to_be_written(warehouse: Warehouse, value: bytes) -> None:
    """Whatever a message holds, it becomes rows or rejects in the file; nothing raises, for it would come again."""
    progress = write(warehouse, [message(value, 0, 5)], SETTINGS)
    held = warehouse.tally.exact()
    assert held.rows + held.rejects.total() == progress.counts.rows + progress.counts.rejected_messages >= 1
    assert told(warehouse, "SELECT count(*) AS N FROM METRICS") == [{"N": held.rows}]
    assert warehouse.offsets("cluster", "id", "topic") == {0: 6}


def test_a_batch_knows_about_how_large_it_is() -> None:
    """Every row repeats its resource, and a reject is held in several forms at once."""
    assert Batch(TOPIC).size == 0
    small, wide = message(bundle(1)), message(bundle(1).replace(b"web-1", b"w" * 10_000))
    assert 200 < batch(small).size < 2_000
    assert 10_000 < batch(wide).size < 12_000
    assert 40_000 < batch(message(b"x" * 10_000)).size < 42_000


def test_a_batch_is_written_when_it_is_large(tmp_path: Path) -> None:
    """However few rows it has."""
    broker = MemoryBroker()
    broker.create_topic("t")
    publish(broker.access, "t", map(bundle, range(20)), partition=0)
    settings = ConsumeSettings("t", cluster="one", batch_bytes=1, linger_s=60)
    with consuming(broker.access, tmp_path / "w.duckdb", settings) as at_work:
        until(lambda: at_work.rows() == 20)
        assert at_work.progress.commits >= 3  # portions begin small, and grow
