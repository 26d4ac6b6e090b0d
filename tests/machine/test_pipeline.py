"""The whole local pipeline without a broker: a source that plays a script, a sink in memory, a clock that is set."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from lmdp.core.pipeline import Message, Transformed, TransformSettings, transform
from lmdp.core.specification import load_spec
from lmdp.errors import (
    BrokerFailedError,
    CertificatesChangedError,
    DiskFullError,
    LmdpError,
    PartitionsLostError,
    SettingsError,
    SourceInterruptedError,
    StalledError,
    TopicGoneError,
    TopicReplacedError,
    UnreachableError,
    WarehouseReplacedError,
)
from lmdp.machine.batch import Batch
from lmdp.machine.metrics import Progress
from lmdp.machine.offsets import Fetch, TopicIdentity
from lmdp.machine.pipeline import Clock, Offsets, Pipeline, Source
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.sink import Sink
from lmdp.machine.transformer import InProcess, Transformer
from lmdp.support.reject_files import reject_folder
from lmdp.testing.pipeline import TOPIC, MemorySink, ScriptedSource, fetched
from new_warehouse import open_warehouse
from running import bundle, expected

START = datetime(2026, 1, 2, tzinfo=UTC)
FULL = "no space to write in /w: No space left on device"


def messages(*numbers: int, partition: int = 0) -> list[Fetch]:
    """One message for each number, at the offset of that number."""
    return fetched(Message(bundle(number), "topic", partition, number, 1_767_312_000_000) for number in numbers)


def full(free: int) -> DiskFullError:
    """A full disk, whose text changes with what is free."""
    return DiskFullError(f"{FULL} ({free} bytes free)", Path("/w"), 1, FULL)


@dataclass
class Run:
    """A pipeline with its parts. Each source of `sources` is opened in turn; the last one's end ends the run."""

    sources: Sequence[ScriptedSource | LmdpError]
    sink: MemorySink = field(default_factory=MemorySink)
    settings: ConsumeSettings = field(default_factory=lambda: ConsumeSettings("topic", linger_s=0))
    stop: Event = field(default_factory=Event)
    progress: Progress = field(default_factory=Progress)
    notices: list[str] = field(default_factory=list)
    waits: list[float | str] = field(default_factory=list)
    seconds: float = 0.0
    in_a_wait: Callable[[], object] = lambda: None
    core: Callable[[Callable[[Sequence[Message]], Transformed]], Transformer] = InProcess

    def go(self) -> Run:
        """Run it to its end."""
        opening = iter(self.sources)

        def connect() -> Source:
            opened = next(opening)
            if isinstance(opened, LmdpError):
                raise opened
            return opened

        clock = Clock(
            lambda: self.seconds, lambda: START + timedelta(seconds=self.seconds), self._wait, self._wait_for_space
        )
        core = self.core(partial(transform, settings=TransformSettings(org_id="acme")))
        Pipeline(
            *(connect, core, self.sink, self.settings, self.progress, self.stop, self.notices.append), clock=clock
        ).run()
        return self

    def instances(self) -> list[str]:
        """Each row's instance, sorted."""
        names = [one.name for one in load_spec().fields]
        return sorted(row[names.index("instance")] for row in self.sink.rows())

    def ranges(self) -> list[list[tuple[int, int, int]]]:
        """Partition, first and next offset of each range, by commit."""
        return [[(part.partition, part.first, part.next) for part in load.ranges] for load in self.sink.loads]

    def _wait(self, stop: Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.in_a_wait()
        return stop.is_set()

    def _wait_for_space(self, error: LmdpError, stop: Event) -> bool:
        self.waits.append(type(error).__name__)
        self.in_a_wait()
        return not stop.is_set()


def playing(*steps: Sequence[Fetch | frozenset[int] | Exception], **given: Any) -> ScriptedSource:
    """A source that gives one of these steps with each poll."""
    return ScriptedSource(deque(steps), **given)


def test_what_is_polled_is_committed_and_then_reported() -> None:
    """Rows, rejects and offsets are one commit; the consumer group gets the offsets behind it, and the source ends."""
    source = playing(messages(1, 2), fetched([Message(b"{", "topic", 3, 7)]))
    run = Run([source]).go()
    assert run.instances() == expected([1, 2])
    assert run.ranges() == [[(0, 1, 3)], [(3, 7, 8)]]
    assert [len(load.rejects) for load in run.sink.loads] == [0, 1]
    assert source.reported == [{0: 3}, {3: 8}]
    assert source.closed
    assert (run.progress.counts.messages, run.progress.commits, run.progress.latencies.quantile(0.5)) == (3, 2, 1)
    assert run.notices == []


def test_offsets_are_reported_only_once_they_are_committed() -> None:
    """A commit that failed reports nothing, and the same batch is committed later."""
    source = playing(messages(1))
    run = Run([source], MemorySink(failures=deque([LmdpError("no"), LmdpError("no")])))
    seen: list[object] = []
    run.in_a_wait = lambda: seen.append((source.reported.copy(), run.sink.loads.copy(), run.progress.trouble))
    run.go()
    assert seen == [([], [], "no"), ([], [], "no")]
    assert (source.reported, run.instances(), run.progress.counts.rows) == ([{0: 2}], ["i-1"], 1)
    assert run.notices == ["no Reading resumes by itself from where it was.", "recovered; consuming again"]
    assert run.progress.trouble == ""


def test_a_commit_in_doubt_is_written_once() -> None:
    """It may be durable although it failed; the sink knows the load when it comes again."""
    run = Run([playing(messages(1, 2))], MemorySink(in_doubt=deque([LmdpError("lost the answer")]))).go()
    assert (run.instances(), run.progress.counts.rows, run.progress.commits) == (expected([1, 2]), 2, 1)


def test_a_full_disk_is_waited_for_and_reported_once() -> None:
    """Its text changes with every byte that is free; that is no news."""
    run = Run([playing(messages(1))], MemorySink(failures=deque([full(3), full(2), full(1)]))).go()
    assert run.waits == ["DiskFullError"] * 3
    assert run.notices == [
        f"{FULL} (3 bytes free) Reading resumes by itself from where it was.",
        "recovered; consuming again",
    ]
    assert run.instances() == ["i-1"]


def test_a_stop_during_a_full_disk_raises_the_error() -> None:
    """Nothing was committed or reported: Kafka still has the messages."""
    source = playing(messages(1), messages(2))
    run = Run([source], MemorySink(failures=deque([full(2), full(1)])))
    run.in_a_wait = run.stop.set
    with pytest.raises(DiskFullError):
        run.go()
    assert (run.sink.loads, source.reported, source.closed, len(source.script)) == ([], [], True, 1)


def test_a_sink_that_was_opened_again_is_reported() -> None:
    """An operator may wonder about what was in it."""
    run = Run([playing(messages(1))], MemorySink(failures=deque([LmdpError("no")])))
    run.in_a_wait = lambda: setattr(run.sink, "reopened", 1)
    assert "the warehouse was opened again; what is in it is not written twice" in run.go().notices


def test_a_replaced_warehouse_ends_the_run() -> None:
    """No retry can help, at whatever time."""
    run = Run([playing(messages(1))], MemorySink(failures=deque([WarehouseReplacedError("moved")])))
    with pytest.raises(WarehouseReplacedError):
        run.go()
    assert run.waits == []
    with pytest.raises(WarehouseReplacedError):
        Run([playing([StalledError("stalled")]), WarehouseReplacedError("moved")]).go()


@pytest.mark.parametrize(
    ("changed", "commits"),
    [
        ({"batch_rows": 2}, [[(0, 1, 3)], [(0, 3, 5)], [(0, 5, 6)]]),
        ({"batch_bytes": 1}, [[(0, n, n + 1)] for n in range(1, 6)]),
        ({}, [[(0, 1, 6)]]),
    ],
)
def test_a_batch_ends_by_its_limits(changed: dict[str, Any], commits: object) -> None:
    """Rows and bytes are looked at with every fetch."""
    run = Run([playing(messages(1, 2, 3, 4, 5))], settings=ConsumeSettings("topic", linger_s=0, **changed)).go()
    assert run.ranges() == commits


def test_a_batch_lingers() -> None:
    """It is committed when its first message is so old, and not with every poll."""
    run = Run([], settings=ConsumeSettings("topic", linger_s=10))

    def step(seconds: float, *numbers: int) -> Iterator[Fetch]:
        run.seconds = seconds
        yield from messages(*numbers)

    steps = deque([step(0, 1), step(9.9, 2), step(10.0, 3), step(19.9, 4), step(30.0)])
    run.sources = [ScriptedSource(steps)]  # type: ignore[arg-type]  # iterated once
    assert run.go().ranges() == [[(0, 1, 4)], [(0, 4, 5)]]
    assert [load.at for load in run.sink.loads] == [START + timedelta(seconds=s) for s in (10, 30)]


def test_a_reset_is_a_commit_of_its_own() -> None:
    """What was read is committed before, where reading continues at once, and what expired is counted by then."""
    steps = [*messages(1, 2), Fetch(0, 9, 9, lost_from=3), *messages(9)]
    run = Run([playing(steps)], settings=ConsumeSettings("topic", linger_s=3600))
    run.sources[0].script.append([TopicGoneError("gone")])  # type: ignore[union-attr]
    run.sources = [*run.sources, playing()]
    run.go()
    assert run.ranges() == [[(0, 1, 3)], [(0, 9, 9), (0, 9, 10)]]
    assert [[(gap.first, gap.next) for gap in load.gaps] for load in run.sink.loads] == [[], [(3, 9)]]
    assert (run.progress.gaps, run.instances()) == (6, expected([1, 2, 9]))


def test_where_partitions_begin_is_committed_together_and_at_once() -> None:
    """However long a batch may linger: what retention takes from then on is a loss, and known as one."""
    run = Run([], settings=ConsumeSettings("topic", linger_s=3600))
    run.sources = [playing([Fetch(part, 5, 5) for part in range(3)])]
    assert run.go().ranges() == [[(0, 5, 5), (1, 5, 5), (2, 5, 5)]]
    assert run.sink.offsets("cluster", "id", "topic") == {0: 5, 1: 5, 2: 5}


def test_a_source_that_is_drained_at_once_is_polled_once() -> None:
    """A first run on an empty topic keeps where it began, so that the next one knows what expired meanwhile."""

    class Drained(ScriptedSource):
        def is_drained(self) -> bool:
            return True

    run = Run([Drained(deque([[Fetch(0, 5, 5)]]))]).go()
    assert run.sink.offsets("cluster", "id", "topic") == {0: 5}


@pytest.mark.parametrize(
    ("error", "kept", "waits", "notice"),
    [
        (TopicGoneError("the topic t is gone"), True, [], "the topic t is gone"),
        (StalledError("t-0 gives nothing: reconnecting"), True, [], "t-0 gives nothing: reconnecting"),
        (CertificatesChangedError("the files changed"), True, [], "the files changed"),
        (TopicReplacedError("the topic t was recreated"), False, [], "the topic t was recreated"),
        (BrokerFailedError("no answer."), False, [1.0], "no answer. Reading resumes by itself from where it was."),
    ],
)
def test_a_source_that_ends_is_followed_by_another(
    error: SourceInterruptedError, kept: bool, waits: list[float], notice: str
) -> None:
    """What it gave is committed where it may be, and never what may be of another topic; the next one reads on."""
    first, second = playing([*messages(1, 2), error]), playing(messages(*([3] if kept else [1, 2, 3])))
    run = Run([first, second], settings=ConsumeSettings("topic", linger_s=0)).go()
    assert first.reported == ([{0: 3}] if kept else [])
    assert (run.instances(), run.waits, run.notices[0]) == (expected([1, 2, 3]), waits, notice)
    assert first.closed
    assert second.closed
    assert run.progress.trouble == ""


def test_a_replaced_topic_drops_the_batch() -> None:
    """It is asked before each commit: the old topic's offsets must not get the new one's rows."""
    other = TopicIdentity("cluster", "other", "topic")
    first = playing(messages(1), messages(2), verifying=deque([None, TopicReplacedError("recreated")]))
    run = Run([first, playing(messages(0), identity=other)]).go()
    assert (first.reported, run.instances()) == ([{0: 2}], expected([0, 1]))
    assert run.sink.offsets("cluster", "id", "topic") == {0: 2}
    assert run.sink.offsets("cluster", "other", "topic") == {0: 1}


def test_a_topic_that_cannot_be_verified_is_read_again() -> None:
    """At the end of a run that is no error either: Kafka still has the messages."""
    first = playing(messages(1), verifying=deque([BrokerFailedError("no answer.")]))
    run = Run([first, playing(messages(1))]).go()
    assert (first.reported, run.instances(), run.waits) == ([], ["i-1"], [1.0])
    last = playing(messages(1), verifying=deque([BrokerFailedError("no answer.")]))
    stopped = Run([last], settings=ConsumeSettings("topic", linger_s=0))
    stopped.in_a_wait = stopped.stop.set
    assert stopped.go().sink.loads == []


def test_a_stop_commits_what_was_read() -> None:
    """Nothing more is polled."""
    run = Run([], settings=ConsumeSettings("topic", linger_s=3600))

    def step() -> Iterator[Fetch]:
        yield from messages(1)
        run.stop.set()

    source = ScriptedSource(deque([step(), messages(2)]))  # iterated once
    run.sources = [source]
    assert run.go().instances() == ["i-1"]
    assert (source.reported, len(source.script), source.closed) == ([{0: 2}], 1, True)


@pytest.mark.parametrize(
    ("first", "patient", "raises"),
    [
        (UnreachableError("no broker"), False, True),
        (UnreachableError("no broker"), True, False),
        (SettingsError("no topic"), True, True),
        (WarehouseReplacedError("moved"), True, True),
    ],
)
def test_the_first_source_has_to_open(first: LmdpError, patient: bool, raises: bool) -> None:
    """A patient run waits for an unreachable broker; wrong settings are refused by any."""
    run = Run([first, playing(messages(1))], settings=ConsumeSettings("topic", linger_s=0, patient=patient))
    if raises:
        with pytest.raises(type(first)):
            run.go()
    else:
        assert run.go().instances() == ["i-1"]
        assert run.notices[0] == "no broker Reading resumes by itself from where it was."


def test_a_later_source_is_waited_for() -> None:
    """Once a run has begun, a topic or broker that is not there for a while does not end it."""
    sources: list[ScriptedSource | LmdpError] = [
        playing([TopicGoneError("gone")]),
        SettingsError("no topic"),
        UnreachableError("no broker"),
        playing(),
    ]
    run = Run(sources).go()
    assert run.waits == [1.0, 1.0]
    assert run.progress.trouble == ""
    assert run.progress.last_trouble is not None


def test_a_trouble_lasts_until_a_source_is_past_it() -> None:
    """A sink that fails with each new source is reported once, and is no trouble as soon as one gets on."""
    sink = MemorySink(durables=deque([UnreachableError("no status.")] * 3))
    run = Run([playing(messages(1)), playing(), playing(), playing()], sink)
    seen: list[str] = []
    run.in_a_wait = lambda: seen.append(run.progress.trouble)
    run.go()
    assert run.notices == ["no status. Reading resumes by itself from where it was."]
    assert seen == ["no status."] * 3
    assert run.progress.trouble == ""


def test_latencies_do_not_wait_for_a_log_that_was_set_back() -> None:
    """A batch whose offsets are above a partition's newer ones is waited for no longer, and holds up no other."""
    offsets = Offsets()
    offsets.take({0: 1000, 1: 5}, Counter({7: 2}))
    offsets.take({1: 6}, Counter({8: 1}))
    offsets.take({0: 500}, Counter({9: 3}))
    assert offsets.taken == {0: 500, 1: 6}
    assert offsets.landed({0: 499, 1: 6}) == {8: 1}
    assert offsets.landed({0: 500, 1: 6}) == {9: 3}


def test_a_stop_while_connecting_is_no_error() -> None:
    """Ctrl-C before the broker has answered."""
    run = Run([UnreachableError("had not answered yet")])
    connect_error = run.sources[0]

    def stopping() -> Iterator[ScriptedSource | LmdpError]:
        run.stop.set()
        yield connect_error

    run.sources = stopping()  # type: ignore[assignment]  # iterated once
    assert run.go().notices == []


def test_rejects_are_written_to_their_folder_first(tmp_path: Path) -> None:
    """A batch that is tried again writes the same files."""
    sink = MemorySink(failures=deque([LmdpError("no")]))
    settings = ConsumeSettings("topic", linger_s=0, rejects=reject_folder(tmp_path))
    run = Run([playing(fetched([Message(b"{", "topic", 0, 7)]))], sink, settings)
    seen: list[int] = []
    run.in_a_wait = lambda: seen.append(len(list(tmp_path.rglob("*.gz"))))
    run.go()
    assert (seen, len(list(tmp_path.rglob("*.gz"))), len(run.sink.loads)) == ([1], 1, 1)


def test_partitions_that_another_process_takes_over_are_committed_first() -> None:
    """What was read of them is in the sink before they are released, and nothing is reported for them later."""
    source = playing([*messages(1, 2), frozenset({0})], [*messages(3, partition=1), Fetch(1, 4, 4)])
    run = Run([source], settings=ConsumeSettings("topic", linger_s=60, shared=True)).go()
    assert run.ranges() == [[(0, 1, 3)], [(1, 3, 4), (1, 4, 4)]]
    assert run.sink.released == [None, frozenset({0})]
    assert source.reported == [{0: 3}, {1: 4}]


def test_what_cannot_be_committed_is_left_to_the_next_owner() -> None:
    """A sink that refuses while partitions are taken over ends the source; the next one reads what it is given."""
    first = playing([*messages(1, 2), frozenset({0})])
    sink = MemorySink(failures=deque([UnreachableError("Snowflake is away")]))
    run = Run([first, playing()], sink, ConsumeSettings("topic", linger_s=60, shared=True))
    run.go()
    assert (run.sink.loads, run.sink.released, first.closed) == ([], [None, None], True)
    assert run.progress.counts.messages == 0


@pytest.mark.parametrize("batch_rows", [1, 500])
def test_a_hand_over_never_waits_for_the_sink(batch_rows: int) -> None:
    """What is still being transformed is committed at most once, too, also where it fills a batch."""
    first = playing([*messages(1, 2), frozenset({0})])
    sink = MemorySink(failures=deque([UnreachableError("Snowflake is away")]))
    settings = ConsumeSettings("topic", linger_s=60, batch_rows=batch_rows, shared=True)
    run = Run([first, playing()], sink, settings, core=_AtTheEnd).go()
    assert (run.sink.loads, run.sink.released, first.closed) == ([], [None, None], True)
    assert "UnreachableError" not in run.waits


class _AtTheEnd(InProcess):
    """Has results once they are waited for, as busy worker processes do."""

    def results(self, *, finish: bool = False) -> Iterator[tuple[Fetch, Transformed]]:
        return super().results(finish=finish) if finish else iter(())


def test_a_run_that_was_fenced_joins_its_group_again() -> None:
    """What it had read is another's to write: it is not tried again, and the next source reads what it is given."""
    given: list[Exception] = [PartitionsLostError("topic-0 is another's now")]
    run = Run([playing([*messages(1), *given]), playing()], settings=ConsumeSettings("topic", linger_s=9, shared=True))
    assert (run.go().sink.loads, run.notices) == ([], ["topic-0 is another's now"])


@pytest.fixture(params=["memory", "warehouse"])
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sink]:
    """Each sink that the pipeline can have."""
    if request.param == "memory":
        yield MemorySink()
    else:
        with open_warehouse(tmp_path / "w.duckdb") as warehouse:
            yield warehouse


def test_every_sink_keeps_offsets_with_the_rows(sink: Sink) -> None:
    """By cluster, topic id, topic and partition, with the leader's epoch; `then` is called once a load is durable."""
    done = transform((), TransformSettings())
    assert (sink.offsets("cluster", "id", "topic"), sink.has_other_offsets("topic"), sink.reopened) == ({}, False, 0)
    batch, called = Batch(TOPIC), list[int]()
    for fetch in (Fetch(0, 0, 0), Fetch(1, 4, 9, 2), Fetch(1, 9, 11, 3)):
        batch.add(fetch, done, 0.0)
    for _ in range(2):
        sink.commit(batch.load(START), then=called.append)
    assert sink.offsets("cluster", "id", "topic") == {0: 0, 1: 11}
    assert sink.epochs("cluster", "id", "topic") == {0: -1, 1: 3}
    assert sink.offsets("cluster", "other", "topic") == {}
    assert (sink.has_other_offsets("topic"), sink.has_other_offsets("another")) == (True, False)
    assert len(called) == 2
    assert sink.name
