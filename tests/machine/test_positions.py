"""When a run ends by itself, and when a partition is stalled."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from lmdp.machine.kafka.positions import Drain, Positions, StallDetector
from lmdp.machine.kafka.topic_watcher import Log, TopicSnapshot
from lmdp.machine.offsets import Fetch, TopicIdentity

TOPIC = TopicIdentity("c", "id", "t")


def snapshot(*logs: Log, identity: TopicIdentity = TOPIC) -> TopicSnapshot:
    """A topic as it is seen now."""
    return TopicSnapshot(identity, tuple(range(len(logs))), dict(enumerate(logs)), time.monotonic())


def drain(said: list[str] | None = None) -> Drain:
    """One whose end is asked for."""
    wanted = threading.Event()
    wanted.set()
    return Drain(wanted, (said if said is not None else []).append)


def test_it_ends_at_the_first_ends() -> None:
    """What comes later is left to the next run; every partition counts, and an empty one is read."""
    end = drain()
    assert not end.done(snapshot(Log(0, 10, 10), Log(0, 5, 5), Log(0, 0, 0)), {0: 9, 1: 5, 2: 0})
    assert end.done(snapshot(Log(0, 99, 99), Log(0, 50, 50), Log(0, 3, 3)), {0: 10, 1: 5, 2: 0})


def test_ends_that_were_seen_before_it_was_asked_for_do_not_count() -> None:
    """A publisher that has just finished put messages behind them."""
    before, wanted = snapshot(Log(0, 1, 1)), threading.Event()
    end = Drain(wanted, print)
    assert not end.asked()
    wanted.set()
    assert end.asked()
    assert end.needs_snapshot(before)
    assert not end.done(before, {0: 1})
    assert not end.done(snapshot(Log(0, 5, 5)), {0: 1})
    assert end.done(snapshot(Log(0, 5, 5)), {0: 5})


def test_a_partition_without_a_leader_is_waited_for() -> None:
    """Nobody knows where it ends."""
    assert not drain().done(replace(snapshot(Log(0, 1, 1)), partitions=(0, 1)), {0: 1, 1: 0})


def test_another_topic_has_other_ends() -> None:
    """A topic that was created again is read to its own ends."""
    end = drain()
    assert not end.done(snapshot(Log(0, 10, 10)), {0: 2})
    again = replace(TOPIC, topic_id="other")
    assert end.done(snapshot(Log(0, 3, 3), identity=again), {0: 3})


def test_an_open_transaction_ends_it_with_a_message() -> None:
    """Not at once: a broker that has just begun lets its last stable offset lag. A cut log needs no message."""
    said: list[str] = []
    end, blocked = drain(said), (Log(0, 4, 9), Log(0, 2, 2))
    assert not end.done(snapshot(*blocked), {0: 4, 1: 2})
    later = replace(snapshot(*blocked), begun=time.monotonic() + 2.5)
    assert not end.done(replace(later, logs={**later.logs, 0: Log(0, 6, 9)}), {0: 4, 1: 2})
    assert said == []
    assert end.done(later, {0: 4, 1: 2})
    assert [line.partition(" are")[0] for line in said] == ["t-0: offsets 4 to 8"]
    cut = drain(said)
    assert not cut.done(snapshot(Log(0, 9, 9)), {0: 4})
    assert cut.done(replace(snapshot(Log(0, 4, 4)), begun=time.monotonic() + 2.5), {0: 4})
    assert len(said) == 1


def test_a_partition_is_stalled_when_it_is_behind_at_one_place_for_long() -> None:
    """One that moves, one that is at its end, and one behind an open transaction are not."""
    now = [0.0]
    stalls, logs = StallDetector(60, lambda: now[0]), {part: Log(0, 10, 20) for part in range(4)}
    assert stalls.stalled({0: 5, 1: 5, 2: 10, 3: 9, 4: 0}, logs) == []
    now[0] = 30.0
    assert stalls.stalled({0: 5, 1: 6, 2: 10, 3: 10, 4: 0}, logs) == []
    now[0] = 59.9
    assert stalls.stalled({0: 5, 1: 6, 2: 10, 3: 10, 4: 0}, logs) == []
    now[0] = 60.0
    assert stalls.stalled({0: 5, 1: 6, 2: 10, 3: 10, 4: 0}, logs) == [0]
    now[0] = 90.0
    assert stalls.stalled({0: 6, 1: 6, 2: 10, 3: 10, 4: 0}, logs) == [1]


def test_a_time_in_which_nobody_read_does_not_count() -> None:
    """While a commit waits for an hour, say, no partition moves; afterwards each has its time again."""
    now = [0.0]
    stalls = StallDetector(60, lambda: now[0])
    for at, found in ((0.0, []), (3.0, []), (3_600.0, []), (3_630.0, []), (3_659.9, []), (3_660.0, [0])):
        now[0] = at
        assert stalls.stalled({0: 5}, {0: Log(0, 10, 20)}) == found


def test_the_time_begins_when_messages_are_there() -> None:
    """A partition may be quiet for hours."""
    now = [0.0]
    stalls = StallDetector(60, lambda: now[0])
    for at, end, found in ((0.0, 10, []), (100.0, 11, []), (130.0, 11, []), (159.0, 11, []), (160.0, 11, [0])):
        now[0] = at
        assert stalls.stalled({0: 10}, {0: Log(0, end, end)}) == found


def test_what_begins_is_handed_out_unless_it_is_given_away() -> None:
    """A partition that another process has now is neither read nor committed."""
    positions = Positions("t")
    positions.set(0, 7)
    positions.set(1, 5, 3)
    positions.begin([0, 1])
    positions.remove([0, 9])
    assert positions.begun == [Fetch(1, 5, 5)]
    (place,) = positions.places(positions.offsets)
    assert (place.topic, place.partition, place.offset, place.leader_epoch) == ("t", 1, 5, 3)
