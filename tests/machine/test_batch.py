"""Messages on their way into one transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lmdp.core.pipeline import Message, TransformSettings
from lmdp.core.specification import load_spec
from lmdp.errors import LmdpError
from lmdp.machine.batch import Batch
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.kafka.consumer import ConsumeSettings
from lmdp.machine.kafka.topic_identity import Identity
from lmdp.machine.metrics import Progress
from lmdp.machine.warehouse.warehouse import Warehouse
from running import bundle, consuming, publish, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = Identity("cluster", "id", "topic")


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty one."""
    with Warehouse.open(tmp_path / "w.duckdb", load_spec()) as opened:
        yield opened


def batch(*messages: Message) -> Batch:
    """A batch of these, with a tenant."""
    made = Batch(HERE, TransformSettings(org_id="acme"))
    for message in messages:
        made.add([message])
    return made


def message(value: bytes | None, partition: int = 0, offset: int = 0) -> Message:
    """A message as it comes from Kafka."""
    return Message(value, "topic", partition, offset, 1_764_000_000_000, b"\xff\x00")


def told(warehouse: Warehouse, sql: str) -> list[dict[str, Any]]:
    """The rows of an answer."""
    found: list[dict[str, Any]] = warehouse.query(sql).table.to_pylist()
    return found


def test_rows_rejects_offsets_and_loads_are_one_write(warehouse: Warehouse) -> None:
    """Each partition has its line in LOADS, with what its messages became, and goes on behind them."""
    made = batch(
        message(bundle(1), 0, 10),
        message(b"{", 0, 11),
        message(bundle(2), 3, 7),
        message(None, 3, 8),
        message(b"", 3, 9),
    )
    progress = Progress()
    made.commit(warehouse, progress)
    assert warehouse.offsets("cluster", "id", "topic") == {0: 12, 3: 10}
    assert made.next_offsets() == {0: 12, 3: 10}
    loads = "SELECT PARTITION AS P, FIRST_OFFSET AS A, NEXT_OFFSET AS Z, ROWS AS R, REJECTS AS X FROM LOADS ORDER BY 1"
    assert told(warehouse, loads) == [
        {"P": 0, "A": 10, "Z": 12, "R": 1, "X": 1},
        {"P": 3, "A": 7, "Z": 10, "R": 1, "X": 0},
    ]
    counts = progress.counts
    assert (counts.messages, counts.rows, counts.rejected_messages, counts.dropped["empty"]) == (5, 2, 1, 2)
    assert progress.reasons == {"Decode.Malformed": 1}
    assert told(warehouse, "SELECT SOURCE_OFFSET AS O FROM REJECTS") == [{"O": 11}]


def test_a_skip_moves_the_offset_and_brings_no_row(warehouse: Warehouse) -> None:
    """Where to go on behind a gap is kept like everything else, and is no duplicate."""
    made = batch(message(bundle(1), 0, 10))
    made.commit(warehouse, Progress())
    gap = made.next()
    gap.go_on(0, 500, lost_from=11)
    assert not gap.empty()
    gap.commit(warehouse, Progress())
    assert warehouse.offsets("cluster", "id", "topic") == {0: 500}
    assert told(warehouse, "SELECT PARTITION AS P, FIRST_OFFSET AS A, NEXT_OFFSET AS Z FROM GAPS") == [
        {"P": 0, "A": 11, "Z": 500}
    ]
    assert (warehouse.gaps(), warehouse.duplicates()) == (489, 0)


@pytest.mark.parametrize(("epoch", "duplicates"), [(1, 0), (0, 2)])
def test_offsets_that_come_again_with_another_epoch_are_others(
    warehouse: Warehouse, epoch: int, duplicates: int
) -> None:
    """A broker that lost its newest messages gives their offsets again: no duplicates, but for the same epoch."""
    made = batch()
    for offset in range(10):
        made.add([message(bundle(offset), 0, offset)], 0)
    made.commit(warehouse, Progress())
    again = made.next()
    for offset in (8, 9):
        again.add([message(bundle(100 + offset), 0, offset)], epoch)
    again.add([message(bundle(110), 0, 10)], epoch + 1)
    again.commit(warehouse, Progress())
    assert warehouse.offsets("cluster", "id", "topic") == {0: 11}
    assert warehouse.epochs("cluster", "id", "topic") == {0: epoch + 1}
    assert warehouse.duplicates() == duplicates


def test_a_batch_begins_empty_and_ages_from_its_first_message() -> None:
    """An empty batch has no age, so nothing is written for it."""
    made = batch()
    assert (made.empty(), made.rows, made.age()) == (True, 0, 0.0)
    made.add([message(bundle(1))])
    assert not made.empty()
    assert made.rows == 1
    assert made.age() >= 0.0
    assert made.next().empty()


def test_a_batch_that_could_not_be_written_stays_whole(warehouse: Warehouse) -> None:
    """A failed commit counts nothing, and the same batch can be written later."""
    made, progress = batch(message(bundle(1))), Progress()
    warehouse.close()
    with pytest.raises(LmdpError, match=r"closed|could not be written"):
        made.commit(warehouse, progress)
    assert (progress.commits, progress.counts.messages, made.rows) == (0, 0, 1)


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
    progress = Progress()
    batch(message(value, 0, 5)).commit(warehouse, progress)
    held = warehouse.counts()
    assert held.rows + held.rejects == progress.counts.rows + progress.counts.rejected_messages >= 1
    assert told(warehouse, "SELECT count(*) AS N FROM METRICS") == [{"N": held.rows}]
    assert warehouse.offsets("cluster", "id", "topic") == {0: 6}


def test_a_batch_knows_about_how_large_it_is() -> None:
    """Every row repeats its resource, and a reject is held in several forms at once."""
    assert batch().size == 0
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
