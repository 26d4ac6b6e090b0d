"""A sink that takes a batch before it is durable: what is reported, what is read again, and what is counted."""

from __future__ import annotations

from collections import Counter, deque
from functools import partial
from threading import Event

from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.errors import SinkRewoundError
from lmdp.machine.batch import Batch
from lmdp.machine.metrics import Progress
from lmdp.machine.offsets import Fetch
from lmdp.machine.pipeline import Offsets, Pipeline
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.transformer import InProcess
from lmdp.testing.pipeline import TOPIC, MemorySink, ScriptedSource, fetched
from running import bundle

SETTINGS = TransformSettings(org_id="acme")


def messages(first: int, end: int) -> list[Message]:
    """Return messages of partition 0."""
    return [Message(bundle(n), "topic", 0, n, 1_770_000_000_000) for n in range(first, end)]


def pipeline(sink: MemorySink, *sources: ScriptedSource) -> Pipeline:
    """Return a pipeline that commits whatever one poll gives, and connects to these sources in turn."""
    left = deque(sources)
    settings = ConsumeSettings("topic", linger_s=0)
    return Pipeline(
        left.popleft, InProcess(partial(transform, settings=SETTINGS)), sink, settings, Progress(), Event(), print
    )


def test_the_group_gets_what_is_durable_and_nothing_else() -> None:
    """Offsets are reported as they become durable, each once, and the run ends when all are."""
    source = ScriptedSource(deque([fetched(messages(0, 5)), [], []]))
    sink = MemorySink(durables=deque([{0: 0}, {0: 2}, {0: 2}]))
    run = pipeline(sink, source)
    run.run()
    assert source.reported == [{0: 0}, {0: 2}, {0: 5}]
    assert run.progress.latencies.quantile(1.0) is not None


def test_a_latency_ends_when_its_batch_is_durable() -> None:
    """Messages that are taken and not durable have no latency yet."""
    offsets = Offsets()
    offsets.waiting.extend([({0: 5, 1: 3}, Counter([7])), ({0: 9}, Counter([8]))])
    assert not offsets.landed({0: 9, 1: 2})
    assert len(offsets.waiting) == 2


def test_what_the_sink_lost_is_read_again_and_counted_once() -> None:
    """After a rewind messages come again, in other portions; every message is counted once, also within a fetch."""
    before = ScriptedSource(deque([fetched(messages(0, 4)), fetched(messages(4, 6))]))
    whole = Fetch(0, 2, 9, -1, messages(2, 9))
    after = ScriptedSource(deque([[whole]]))
    sink = MemorySink(durables=deque([{0: 0}, {0: 0}, SinkRewoundError("lost")]))
    run = pipeline(sink, before, after)
    run.run()
    assert run.progress.counts.messages == run.progress.counts.rows == 9
    assert [(part.first, part.next) for kept in sink.loads for part in kept.ranges] == [(0, 4), (4, 6), (2, 9)]


def test_offsets_that_go_back_are_new_messages() -> None:
    """A reset ends what was counted before: behind it are other messages, also at lower offsets."""
    before = ScriptedSource(deque([fetched(messages(0, 4))]))
    after = ScriptedSource(deque([[Fetch(0, 1, 1), *fetched(messages(1, 3))]]))
    run = pipeline(MemorySink(durables=deque([SinkRewoundError("lost")])), before, after)
    run.run()
    assert run.progress.counts.messages == 4 + 2


def test_another_topic_is_counted_from_its_start() -> None:
    """What was counted of a topic says nothing of one that was recreated."""
    offsets = Offsets(TOPIC, {0: 5}, {0: 5})
    offsets.rewind()
    assert (offsets.counted, offsets.taken) == ({0: 5}, {})
    offsets.follow(TOPIC)
    assert (offsets.counted, offsets.reported) == ({0: 5}, {})
    offsets.follow(type(TOPIC)("cluster", "other", "topic"))
    assert offsets.counted == {}


def test_a_fetch_is_split_at_an_offset() -> None:
    """Each message is in one half; what expired before it belongs to the first."""
    fetch = Fetch(0, 3, 9, 2, [message for message in messages(3, 9) if message.offset != 5], lost_from=1)
    first, second = fetch.split(6)
    assert (first.first, first.next, first.lost_from, [one.offset for one in first.messages]) == (3, 6, 1, [3, 4])
    assert (second.first, second.next, second.lost_from, [one.offset for one in second.messages]) == (
        6,
        9,
        None,
        [6, 7, 8],
    )
    assert (first.epoch, second.epoch) == (2, 2)
    assert fetch.split(3) == fetch.split(9) == fetch.split(0) == (fetch,)


def test_a_load_says_where_each_message_ends() -> None:
    """Rows up to each message's last, by partition and offset, also for messages without rows."""
    batch = Batch(TOPIC)
    three = [Message(bundle(0), offset=7), Message(b"", offset=8), Message(bundle(1), offset=9)]
    batch.add(Fetch(2, 7, 10, -1, three), transform(three, SETTINGS), 0.0)
    one = [Message(bundle(5), partition=1, offset=4)]
    batch.add(Fetch(1, 4, 5, -1, one), transform(one, SETTINGS), 0.0)
    assert batch.messages == [(2, 7, 1), (2, 8, 1), (2, 9, 2), (1, 4, 3)]
    assert Batch(TOPIC).number != batch.number
