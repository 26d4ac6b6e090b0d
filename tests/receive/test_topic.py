"""The receiver's topic: how large its messages may be, and delivery reports at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from lmdp.errors import LmdpError, UnreachableError
from lmdp.machine.kafka.topics import TopicDetails
from lmdp.receive.topic import TopicWriter
from running import until

if TYPE_CHECKING:
    from lmdp.machine.embedded_kafka.broker import MemoryBroker
    from lmdp.machine.kafka.access import KafkaAccess

SHAPE = TopicDetails("t", "id", 1, 1, 1, (), 1, -1, 2_000_000, "delete", unclean_election=False)


@pytest.mark.parametrize(
    ("answers", "limit", "left"),
    [
        ([SHAPE], 2_000_000, 0),
        ([UnreachableError("no partitions yet"), UnreachableError("no partitions yet"), SHAPE], 2_000_000, 0),
        ([LmdpError("no such setting"), SHAPE], None, 1),
    ],
    ids=["at once", "later", "never"],
)
def test_the_limit_of_a_message_is_learnt(
    broker: MemoryBroker, answers: list[TopicDetails | LmdpError], limit: int | None, left: int
) -> None:
    """A topic that is not ready is asked again; one that cannot say leaves the limit unknown."""
    waiting = list(answers)

    def describe(_access: KafkaAccess, _topic: str) -> TopicDetails:
        answer = waiting.pop(0)
        if isinstance(answer, LmdpError):
            raise answer
        return answer

    async def scene() -> int | None:
        writer = TopicWriter(broker.access, "t", print, describe=describe, pauses_s=(0.0, 0.0))
        writer.start()
        await asyncio.to_thread(until, lambda: len(waiting) == left and writer.limit == limit)
        writer.close()
        return writer.limit

    assert asyncio.run(scene()) == limit
    assert len(waiting) == left


def test_a_report_after_the_end_of_the_loop_is_dropped(broker: MemoryBroker) -> None:
    """After a second Ctrl-C nobody waits for it, and no thread prints a traceback."""
    writer = TopicWriter(broker.access, "t", print)

    async def scene() -> None:
        writer.start()
        writer._stop.set()
        writer._thread.join()  # so that the report comes after the loop
        writing = asyncio.create_task(writer.write(b"x", {}))
        await asyncio.sleep(0)
        writing.cancel()

    asyncio.run(scene())
    assert not writer._done
    writer.close()
    assert len(writer._done) == 1
