"""Snowflake as a sink: each row once, whatever a channel does."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from lmdp.core.pipeline import Message, TransformSettings
from lmdp.errors import (
    ChannelTakenError,
    LmdpError,
    PartitionsLostError,
    SettingsError,
    SinkRewoundError,
    UnreachableError,
)
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.machine.transform_worker import transform_for_sink
from lmdp.snowflake.streaming.partition import Key
from lmdp.snowflake.streaming.sink import SnowflakeSink
from lmdp.testing.snowpipe import Fault, RandomFaults, SnowpipeDouble
from running import bundle
from snowpipe_parts import sink_of

TOPIC = ("cluster", "id", "topic")
STALE = "STALE_CONTINUATION_TOKEN_SEQUENCER"
_numbers = count(1)


def load(first: int, end: int, *, partition: int = 0, epoch: int = -1, copies: int = 1, at: Sequence[int] = ()) -> Load:
    """Return the messages `first` up to `end`, each with `copies` rows; only those at `at` have any, if given."""
    rows, messages, settings = [], [], TransformSettings(org_id="acme")
    for offset in range(first, end):
        if not at or offset in at:
            done = transform_for_sink([Message(bundle(offset))], settings, settings.spec)
            rows += done.rows * copies
        messages.append((partition, offset, len(rows)))
    part = OffsetRange(*TOPIC, partition, first, end, len(rows), 0, epoch)
    return Load(rows, [], [part], datetime.now(UTC), messages=messages, number=next(_numbers))


def commit(sink: SnowflakeSink, given: Load) -> int:
    """Commit a load, and return how often it was reported as taken."""
    taken: list[int] = []
    try:
        sink.commit(given, then=taken.append)
    except SinkRewoundError:
        assert len(taken) == 1
        raise
    return len(taken)


def together(*loads: Load) -> Load:
    """Return loads of different partitions as one."""
    rows: list[Any] = []
    messages: list[tuple[int, int, int]] = []
    for one in loads:
        messages += [(part, offset, len(rows) + end) for part, offset, end in one.messages]
        rows += one.rows
    ranges = [part for one in loads for part in one.ranges]
    return Load(rows, [], ranges, datetime.now(UTC), messages=messages, number=next(_numbers))


def in_flight(double: SnowpipeDouble, sink: SnowflakeSink, *partitions: int) -> None:
    """Commit the messages 0 to 4 of each partition, and send 5 to 7, which are lost: their channels are invalid."""
    sink.offsets(*TOPIC, partitions)
    commit(sink, together(*(load(0, 5, partition=part) for part in partitions)))
    until(lambda: sink.durable(dict.fromkeys(partitions, 5)) == dict.fromkeys(partitions, 5))
    double.commit_s = 3600.0
    commit(sink, together(*(load(5, 8, partition=part) for part in partitions)))
    for part in partitions:
        double.channels[channel(part)].code = "ERR_CHANNEL_MUST_BE_REOPENED"


def untaken(_size: int) -> None:
    """Fail: nothing of a load may be reported as taken."""
    pytest.fail("it was taken")


def stored(double: SnowpipeDouble) -> Counter[int]:
    """Return how often each message's row is in Snowflake."""
    return Counter(int(json.loads(row)["instance"].removeprefix("i-")) for row in double.committed())


def channel(partition: int = 0) -> str:
    """Return the name of a partition's channel."""
    return Key(*TOPIC, partition).channel()


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_load_is_in_snowflake_once_it_is_durable(double: SnowpipeDouble) -> None:
    """Durable is what is committed, not what is accepted; a partition with nothing in flight is as far as it was."""
    double.commit_s = 1.2
    sink = sink_of(double)
    assert sink.offsets(*TOPIC, [0, 1]) == {}
    commit(sink, load(5, 8))
    commit(sink, load(0, 3, partition=1, at=[99]))
    assert sink.durable({0: 8, 1: 3}) == {0: 5, 1: 3}
    assert stored(double) == {}
    until(lambda: sink.durable({0: 8, 1: 3}) == {0: 8, 1: 3})
    assert stored(double) == {5: 1, 6: 1, 7: 1}
    assert sink.offsets(*TOPIC, [0, 1]) == {0: 8, 1: 3}
    assert double.channels[channel()].token == "7@one"


def test_the_next_process_resumes_behind_what_is_committed(double: SnowpipeDouble) -> None:
    """Offset and epoch come from the token; what was never committed is read again."""
    commit(sink_of(double), load(0, 3, epoch=4))
    following = sink_of(double, "two")
    assert following.offsets(*TOPIC, [0]) == {0: 3}
    assert following.epochs(*TOPIC) == {0: 4}
    commit(following, load(0, 5))
    assert stored(double) == dict.fromkeys(range(5), 1)


def test_messages_without_rows_move_no_token(double: SnowpipeDouble) -> None:
    """What has no rows is durable at once where nothing is in flight: the group's offset keeps it."""
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(0, 9, at=[3]))
    commit(sink, load(9, 12, at=[99]))
    until(lambda: sink.durable({0: 12}) == {0: 12})
    assert double.channels[channel()].token == "3@one"
    assert [request.operation for request in double.requests].count("append") == 1


def test_a_message_that_does_not_fit_is_cut_and_continued(double: SnowpipeDouble) -> None:
    """A process that ended within a message continues behind the rows of it that are committed."""
    whole = load(0, 2, copies=16_000)
    double.script = [Fault("append"), Fault("append", 400, "ERR_MALFORMED_REQUEST")]
    first = sink_of(double)
    with pytest.raises(LmdpError, match="ERR_MALFORMED_REQUEST"):
        commit(first, whole)
    assert stored(double)[0] > 0
    token = double.channels[channel()].token or ""
    assert token.startswith("0:")
    assert token.endswith("@one")
    second = sink_of(double, "two")
    assert second.offsets(*TOPIC, [0]) == {0: 0}
    commit(second, load(0, 2, copies=16_000))
    assert stored(double) == {0: 16_000, 1: 16_000}
    assert all(len(request.body) < 3_000_001 for request in double.requests)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("append", 400, STALE),
        Fault("append", 400, STALE, bare=True),
        Fault("append", 409, "ERR_CHANNEL_MUST_BE_REOPENED"),
        Fault("append", 404, "ERR_CHANNEL_DOES_NOT_EXIST_OR_IS_NOT_AUTHORIZED"),
        Fault("append", 410, "ERR_PIPE_FAILED_OVER"),
        Fault("append", 429, "ERR_TOO_MANY_REQUESTS"),
        Fault("append", 500, "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"),
        Fault("append", 401, "ERR_TOKEN_EXPIRED"),
        Fault("append", drop=True),
        Fault("append", lose=True),
        Fault("append", garble=True),
        Fault("append", hollow=True),
        Fault("append", seconds=0.3),
    ],
    ids=str,
)
def test_every_row_is_there_once_after_a_fault(double: SnowpipeDouble, fault: Fault) -> None:
    """A fault of one append in the middle of a load costs nothing and doubles nothing."""
    double.commit_s = 0.2
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0, 1])
    for first in (0, 10, 20):
        double.script = [fault] if first == 10 else []
        commit(sink, load(first, first + 10))
    until(lambda: sink.durable({0: 30}) == {0: 30})
    assert not double.script
    assert stored(double) == dict.fromkeys(range(30), 1)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("open", 409, "ERR_OPEN_CHANNEL_IN_PROGRESS"),
        Fault("open", 500, "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"),
        Fault("open", lose=True),
        Fault("open", drop=True),
        Fault("open", garble=True),
        Fault("open", 429, "ERR_TOO_MANY_REQUESTS"),
    ],
    ids=str,
)
def test_a_channel_opens_in_the_end(double: SnowpipeDouble, fault: Fault) -> None:
    """What hinders an opening for a moment is waited out."""
    double.script = [fault]
    sink = sink_of(double)
    assert sink.offsets(*TOPIC, [0]) == {}
    commit(sink, load(0, 3))
    assert stored(double) == dict.fromkeys(range(3), 1)


def test_what_a_killed_process_had_in_flight_is_waited_for(double: SnowpipeDouble) -> None:
    """Rows that an earlier process sent are committed first; none of them is sent again."""
    double.commit_s = 1.0
    commit(sink_of(double), load(0, 5))
    assert sink_of(double, "two").offsets(*TOPIC, [0]) == {0: 5}
    assert stored(double) == dict.fromkeys(range(5), 1)


def test_what_is_never_committed_is_discarded_and_read_again(double: SnowpipeDouble) -> None:
    """After a while uncommitted rows are given up: the channel opens before them."""
    double.commit_s = 3600.0
    commit(sink_of(double), load(0, 5))
    following = sink_of(double, "two", uncommitted_s=0.5)
    assert following.offsets(*TOPIC, [0]) == {}
    double.commit_s = 0.0
    commit(following, load(0, 5))
    assert stored(double) == dict.fromkeys(range(5), 1)


def test_rows_that_snowflake_lost_are_read_again(double: SnowpipeDouble) -> None:
    """A channel that was invalidated with rows in flight is opened before them, and the source has to go back."""
    sink = sink_of(double, uncommitted_s=0.5)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(0, 5))
    until(lambda: sink.durable({0: 5}) == {0: 5})
    double.commit_s = 3600.0
    commit(sink, load(5, 8))
    double.channels[channel()].code = "ERR_CHANNEL_MUST_BE_REOPENED"
    with pytest.raises(SinkRewoundError, match="topic-0"):
        commit(sink, load(8, 10))
    assert sink.offsets(*TOPIC, [0]) == {0: 5}
    double.commit_s = 0.0
    commit(sink, load(5, 10))
    assert stored(double) == dict.fromkeys(range(10), 1)


@pytest.mark.parametrize("fault", ["append", "open"])
def test_what_one_channel_lost_is_read_again_though_another_fails(double: SnowpipeDouble, fault: str) -> None:
    """The failure of one partition does not hide that another was rewound; the failed one is read again, too."""
    sink = sink_of(double, uncommitted_s=0.3, retry_s=0.0)
    in_flight(double, sink, 0)
    sink.offsets(*TOPIC, [0, 1])
    double.script = [Fault(fault, 500, channel=channel(1)), Fault("append", 400, STALE, channel=channel(1))]
    with pytest.raises(SinkRewoundError, match="rows of topic-0 that"):
        commit(sink, together(load(8, 10), load(20, 22, partition=1)))
    double.script, double.commit_s = [], 0.0
    with pytest.raises(SinkRewoundError, match="rows of topic-0 that"):
        sink.commit(load(8, 10), then=untaken)
    assert sink.offsets(*TOPIC, [0, 1]) == {0: 5}
    commit(sink, together(load(5, 10), load(20, 22, partition=1)))
    assert stored(double) == dict.fromkeys([*range(10), 20, 21], 1)


def test_a_look_finds_all_that_is_lost_before_it_fails(double: SnowpipeDouble) -> None:
    """Rows in flight of one channel are read again where another cannot be opened."""
    sink = sink_of(double, uncommitted_s=0.3, retry_s=0.0)
    in_flight(double, sink, 0, 1)
    double.script = [Fault("open", 500, channel=channel(1))]
    with pytest.raises(SinkRewoundError, match="rows of topic-0 that"):
        until(lambda: sink.durable({0: 8, 1: 8}) == {0: 8, 1: 8})
    with pytest.raises(SinkRewoundError, match="rows of topic-0 that"):
        sink.commit(load(8, 10), then=untaken)
    assert sink.offsets(*TOPIC, [0, 1]) == {0: 5, 1: 8}
    with pytest.raises(SinkRewoundError, match="rows of topic-1 that"):
        until(lambda: sink.durable({0: 5, 1: 8}) == {0: 5, 1: 8})
    assert sink.offsets(*TOPIC, [0, 1]) == {0: 5, 1: 5}


def test_an_idle_channel_that_was_invalidated_is_noticed(double: SnowpipeDouble) -> None:
    """Rows in flight are found to be lost without another append."""
    double.commit_s = 3600.0
    sink = sink_of(double, uncommitted_s=0.3)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(0, 5))
    double.channels[channel()].code = "ERR_CHANNEL_HAS_INVALID_CLIENT_SEQUENCER"
    with pytest.raises(SinkRewoundError):
        until(lambda: sink.durable({0: 5}) == {0: 5})
    assert sink.offsets(*TOPIC, [0]) == {}


def test_a_second_writer_stops_the_first(double: SnowpipeDouble) -> None:
    """The one that was fenced reports both names, and does not open the channel again."""
    first, second = sink_of(double, "one"), sink_of(double, "two")
    first.offsets(*TOPIC, [0])
    commit(first, load(0, 5))
    assert second.offsets(*TOPIC, [0]) == {0: 5}
    commit(second, load(5, 8))
    opened = double.channels[channel()].client
    with pytest.raises(ChannelTakenError, match=r"the writer two .*\(one\)"):
        commit(first, load(5, 9))
    assert double.channels[channel()].client == opened
    commit(second, load(8, 10))
    assert stored(double) == dict.fromkeys(range(10), 1)


def test_two_writers_that_say_nothing_do_not_fight_for_long(double: SnowpipeDouble) -> None:
    """A channel that is taken again and again by someone who writes nothing is given up."""
    sink = sink_of(double, "one")
    sink.offsets(*TOPIC, [0])
    double.script = [Fault("append", 400, STALE)] * 5
    with pytest.raises(ChannelTakenError, match="another writer"):
        commit(sink, load(0, 1))
    assert len(double.script) == 2


def test_one_refusal_counts_once_while_the_channel_cannot_be_opened(double: SnowpipeDouble) -> None:
    """Whoever appends to the same old channel again and again is refused each time, and has no second writer."""
    sink = sink_of(double, retry_s=0.0)
    sink.offsets(*TOPIC, [0])
    given = load(0, 3)
    double.script = [Fault("append", 400, STALE), Fault("open", 500)] * 4
    for _ in range(4):
        with pytest.raises(UnreachableError, match="PUT"):
            commit(sink, given)
    assert commit(sink, given) == 1
    assert stored(double) == dict.fromkeys(range(3), 1)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("status", 410, "ERR_PIPE_FAILED_OVER")] * 2,
        [Fault("status", 409, "STALE_PIPE_CACHE")],
        [Fault("status", garble=True)],
        [Fault("open", hollow=True)],
    ],
    ids=str,
)
def test_a_channel_that_cannot_be_opened_again_is_tried_later(double: SnowpipeDouble, faults: list[Fault]) -> None:
    """Whatever hinders the opening is an error for the pipeline to wait out, and the load is then continued."""
    sink = sink_of(double, retry_s=0.0)
    sink.offsets(*TOPIC, [0])
    given = load(0, 3)
    double.script = [Fault("append", 409, "ERR_CHANNEL_MUST_BE_REOPENED"), *faults]
    with pytest.raises(UnreachableError):
        commit(sink, given)
    assert commit(sink, given) == 1
    assert stored(double) == dict.fromkeys(range(3), 1)


def test_a_released_partition_is_another_process_s_until_it_comes_back(double: SnowpipeDouble) -> None:
    """The next owner opens behind what this one sent, and this one later behind the other's; each row is there once."""
    double.refuses = lambda row: b"i-1" in row
    first, second = sink_of(double, "one"), sink_of(double, "two")
    first.offsets(*TOPIC, [0])
    commit(first, load(0, 5))
    until(lambda: first.durable({0: 5}) == {0: 5})
    first.release([0])
    assert (first.status()["channels"], first.inserted_rows(), first.refused_rows()) == (0, 4, 1)
    assert second.offsets(*TOPIC, [0]) == {0: 5}
    commit(second, load(5, 8))
    second.release(None)
    assert first.offsets(*TOPIC, [0]) == {0: 8}
    commit(first, load(8, 10))
    assert stored(double) == {number: 1 for number in range(10) if number != 1}


def test_in_a_group_one_refusal_is_enough(double: SnowpipeDouble) -> None:
    """Who is fenced there opens nothing again by itself: the group says whose the partition is."""
    sink = sink_of(double, "one", shared=True)
    sink.offsets(*TOPIC, [0])
    opened = double.channels[channel()].client
    double.script = [Fault("append", 400, STALE)]
    with pytest.raises(PartitionsLostError, match="topic-0 is another writer's now"):
        commit(sink, load(0, 1))
    assert double.channels[channel()].client == opened


def test_a_recreated_topic_has_channels_of_its_own(double: SnowpipeDouble) -> None:
    """No token of the old topic counts for the new one, whose offsets begin again."""
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(100, 103))
    assert sink.offsets("cluster", "other", "topic", [0]) == {}
    assert sink.offsets(*TOPIC, [0]) == {0: 103}


def test_an_expired_channel_continues_where_this_process_was(double: SnowpipeDouble) -> None:
    """Snowflake forgets an idle channel after 30 days; what this process knows to be durable counts."""
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(0, 5))
    until(lambda: sink.durable({0: 5}) == {0: 5})
    double.expire()
    commit(sink, load(5, 8))
    assert sink.offsets(*TOPIC, [0]) == {0: 8}
    assert stored(double) == dict.fromkeys(range(8), 1)
    until(lambda: sink.durable({0: 8}) == {0: 8})
    assert sink.inserted_rows() == 8


def test_a_log_that_was_set_back_is_followed(double: SnowpipeDouble) -> None:
    """Offsets that a broker gives to other messages, with a higher epoch, are written again behind a reset."""
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(0, 10, epoch=1))
    until(lambda: sink.durable({0: 10}) == {0: 10})
    commit(sink, Load([], [], [OffsetRange(*TOPIC, 0, 6, 6, 0, 0)], datetime.now(UTC), number=next(_numbers)))
    double.commit_s = 1.5
    commit(sink, load(6, 9, epoch=2))
    assert sink.durable({0: 9}) == {0: 6}
    until(lambda: sink.durable({0: 9}) == {0: 9})
    assert stored(double) == {**dict.fromkeys(range(6), 1), 6: 2, 7: 2, 8: 2, 9: 1}
    assert double.channels[channel()].token == "8/2@one"


def test_a_log_that_was_set_back_is_followed_by_a_channel_that_is_opened_again(double: SnowpipeDouble) -> None:
    """The committed token is of the messages that the broker lost: those at the same offsets are not there yet."""
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(0, 10, epoch=1))
    until(lambda: sink.durable({0: 10}) == {0: 10})
    commit(sink, Load([], [], [OffsetRange(*TOPIC, 0, 6, 6, 0, 0)], datetime.now(UTC), number=next(_numbers)))
    double.script = [Fault("append", 409, "ERR_CHANNEL_MUST_BE_REOPENED")]
    commit(sink, load(6, 9, epoch=2))
    assert stored(double) == {**dict.fromkeys(range(6), 1), 6: 2, 7: 2, 8: 2, 9: 1}


def test_a_load_that_failed_is_continued_not_repeated(double: SnowpipeDouble) -> None:
    """What one partition's channel took before another failed is not written again with the same load."""
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0, 1])
    given = together(load(0, 3), load(3, 5, partition=1))
    double.script = [Fault("append", 400, "ERR_MALFORMED_REQUEST")]
    with pytest.raises(LmdpError, match="ERR_MALFORMED_REQUEST"):
        commit(sink, given)
    assert commit(sink, given) == 1
    assert stored(double) == dict.fromkeys(range(5), 1)


def test_what_was_not_reported_as_taken_comes_again(double: SnowpipeDouble) -> None:
    """A source that ends before a load is whole leaves no message uncounted: the next one gives them all again."""
    sink = sink_of(double)
    sink.offsets(*TOPIC, [0, 1])
    commit(sink, together(load(0, 2), load(10, 12, partition=1)))
    double.script = [Fault("append", 400, "ERR_MALFORMED_REQUEST", channel=channel(1))]
    with pytest.raises(LmdpError, match="ERR_MALFORMED_REQUEST"):
        commit(sink, together(load(2, 5), load(12, 14, partition=1)))
    until(lambda: len(stored(double)) == 7)
    assert sink.durable({0: 2, 1: 12}) == {0: 2, 1: 12}
    assert sink.offsets(*TOPIC, [0, 1]) == {0: 2, 1: 12}
    commit(sink, together(load(2, 7), load(12, 14, partition=1)))
    assert stored(double) == dict.fromkeys([*range(7), *range(10, 14)], 1)


def test_refused_rows_are_counted_and_reported_once(double: SnowpipeDouble) -> None:
    """The token is behind a row that Snowflake refuses; an earlier process's are not this one's."""
    double.refuses = lambda row: b"i-1" in row
    commit(sink_of(double), load(0, 3))
    said: list[str] = []
    sink = sink_of(double, "two", said.append)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(10, 13))
    until(lambda: sink.durable({0: 13}) == {0: 13})
    assert sink.refused_rows() == 3
    assert said == [
        "REFUSED: Snowflake refused 3 rows (Failed to cast a value). Bring them back: lmdp snowflake errors FOLDER"
    ]


def test_nothing_is_sent_while_too_much_is_in_flight(double: SnowpipeDouble) -> None:
    """What is accepted and not committed is bounded: the source waits."""
    double.commit_s = 1.0
    stop = threading.Event()
    sink = sink_of(double, stop=stop, in_flight=500)
    sink.offsets(*TOPIC, [0])
    begun = time.monotonic()
    commit(sink, load(0, 5))
    commit(sink, load(5, 6))
    assert time.monotonic() - begun >= 1.0
    double.commit_s = 3600.0
    commit(sink, load(6, 10))
    stop.set()
    with pytest.raises(UnreachableError, match="It has not committed them"):
        commit(sink, load(10, 12))


def test_a_status_that_never_comes_is_an_error(double: SnowpipeDouble) -> None:
    """Where appends work and the status does not, the cause is named once rows have waited for too long."""
    double.random_faults = RandomFaults((Fault("status", 404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"),), 1.0)
    sink = sink_of(double, stalled_s=0.5, in_flight=500, uncommitted_s=0.2)
    sink.offsets(*TOPIC, [0])
    commit(sink, load(0, 5))
    assert sink.durable({0: 5}) == {0: 0}
    cause = "Snowflake does not say what is committed: .*ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"
    with pytest.raises(UnreachableError, match=rf"^Snowflake has accepted [\d,]+ bytes of snowflake://.*\. {cause}"):
        commit(sink, load(5, 8))
    with pytest.raises(UnreachableError, match=rf"^{cause}"):
        until(lambda: sink.durable({0: 5}) == {0: 5})
    double.random_faults = RandomFaults()
    until(lambda: sink.durable({0: 5}) == {0: 5})


def test_more_partitions_than_channels_are_refused(double: SnowpipeDouble) -> None:
    """A pipe has 2,000 channels; the error says how to divide them."""
    with pytest.raises(SettingsError, match="--partitions"):
        sink_of(double).offsets(*TOPIC, range(2_001))


def test_a_channels_name_is_lower_case_and_unambiguous() -> None:
    """Names are compared with case in one call and without it in another; topics that differ in case differ."""
    ids = Key("MkU3OEVBNTcwNTJENDM2Qg", "AAAAAAAAAAAAAAAAAAAAAw", "t", 3)
    assert ids.channel() == "lmdp.32453738454135373035324434333642.00000000000000000000000000000003.3"
    assert Key("clusterA", "aB", "t", 3).channel() == "lmdp.cluster~41.a~42.3"
    assert Key("c", "", "T.x", 0).channel() == "lmdp.c.~54~2ex.0"
