"""The order of the path on one machine: 1 poll, 2 transform, 3 commit rows, rejects, offsets, 4 report what is durable.

Offsets are in the sink, in the same commit as the rows, so that there is nothing to agree on between the two: however
this process ends, the next one resumes behind the last row that is there. The consumer group gets the offsets too, once
what is before them is durable.

A sink may take a batch some seconds before it is durable. What it loses of that is read again, and not counted twice.

A source lasts until it cannot continue: new certificates, a recreated topic, a partition that gives nothing. The next
one then resumes from the sink's offsets. Source, core, sink and clock are handed in.

Several processes may share a topic. What was read of a partition that another one takes over is committed first; what
cannot be committed is read again, by whoever has the partition then.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Protocol

from lmdp.errors import (
    BrokerFailedError,
    DiskFullError,
    LmdpError,
    PartitionsLostError,
    SinkRewoundError,
    SinkTakenError,
    SourceInterruptedError,
    TopicReplacedError,
    UnreachableError,
)
from lmdp.machine.batch import Batch
from lmdp.machine.metrics import Progress
from lmdp.machine.offsets import Fetch, TopicIdentity
from lmdp.machine.settings import ConsumeSettings, Notify
from lmdp.machine.sink import Load, Sink
from lmdp.machine.transformer import Transformer
from lmdp.support.disk_space import wait_for_space

_RETRY_S = 1.0
_GLANCE_S = 0.1
_STOP_S = 9.0  # how long the end waits for what the sink has taken to be durable


class Source(Protocol):
    """Messages of one topic, from the sink's offsets on. Every method raises SourceInterruptedError when it ends."""

    @property
    def identity(self) -> TopicIdentity:
        """The topic that is read."""

    def poll(self) -> Iterable[Fetch]:
        """Return what has arrived, in order; wait a moment where nothing has."""

    def on_release(self, release: Callable[[Collection[int]], None]) -> None:
        """Have `release` called during a poll with the partitions that another process is about to take over."""

    def verify_topic(self) -> None:
        """Raise TopicReplacedError when the topic was recreated, so that nothing read since is committed as its."""

    def report_offsets(self, offsets: Mapping[int, int]) -> None:
        """Report the next offset of each partition to the consumer group; never waits for the answer."""

    def is_drained(self) -> bool:
        """Return whether everything was read that was there when the end was asked for."""

    def close(self) -> None:
        """Release the source."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the pipeline sees it.

    Waits are an event's: librdkafka's end by the wall clock, so they last for hours when that is set back.
    """

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    wait: Callable[[Event, float], bool] = Event.wait
    wait_for_space: Callable[[LmdpError, Event], bool] = wait_for_space


@dataclass(slots=True)
class Offsets:
    """The next offset by partition of one topic: what the sink has taken, and what was reported as durable.

    Below `counted` everything was counted before: the sink lost it, and it is read again. `waiting`: batches that are
    not durable, by their next offsets, with their messages by Kafka's timestamp.
    """

    identity: TopicIdentity | None = None
    taken: dict[int, int] = field(default_factory=dict)
    reported: dict[int, int] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)
    waiting: deque[tuple[dict[int, int], Counter[int]]] = field(default_factory=deque)

    def follow(self, identity: TopicIdentity) -> None:
        """Forget what is known of another topic; report everything again to a new source's group."""
        if identity != self.identity:
            self.identity, self.taken, self.counted = identity, {}, {}
            self.waiting.clear()
        self.reported = {}

    def rewind(self) -> None:
        """Note that what was taken may come again."""
        self.counted, self.taken = {**self.counted, **self.taken}, {}
        self.waiting.clear()

    def forget(self, partitions: Collection[int]) -> None:
        """Forget partitions that are another process's from now on."""
        for known in (self.taken, self.reported, self.counted):
            for partition in partitions:
                known.pop(partition, None)

    def take(self, following: dict[int, int], timestamps: Counter[int]) -> None:
        """Note the next offsets of a batch; those of a log that was set back since are waited for no longer."""
        self.taken.update(following)
        kept = [one for one in self.waiting if all(following.get(part, at) >= at for part, at in one[0].items())]
        self.waiting = deque([*kept, (following, timestamps)])

    def landed(self, durable: Mapping[int, int]) -> Counter[int]:
        """Return the messages, by timestamp, of the batches that are durable by now."""
        found: Counter[int] = Counter()
        while self.waiting and all(durable.get(part, at) >= at for part, at in self.waiting[0][0].items()):
            found += self.waiting.popleft()[1]
        return found


@dataclass(frozen=True, slots=True)
class Pipeline:
    """From a source, through a transformer, into a sink. `connect` opens the source behind what the sink has."""

    connect: Callable[[], Source]
    transformer: Transformer
    sink: Sink
    settings: ConsumeSettings
    progress: Progress
    stop: Event
    notify: Notify
    clock: Clock = Clock()
    offsets: Offsets = field(default_factory=Offsets)

    def run(self) -> None:
        """Consume until `stop`, or until the source is drained.

        Raises LmdpError when the first source cannot be opened, when the sink fails at the end, and
        SinkTakenError at any time; later faults are waited out.
        """
        survivable: type[LmdpError] | tuple[()] = UnreachableError if self.settings.patient else ()
        while not self.stop.is_set():
            try:
                source = self.connect()
            except LmdpError as error:
                if not self.stop.is_set():
                    self._survive(error, survivable)
                continue
            survivable = LmdpError
            try:
                with contextlib.closing(source):
                    self._read(source)
            except BrokerFailedError as error:
                self._wait_out(str(error))
            except SinkRewoundError as error:
                self.offsets.rewind()
                self.notify(str(error))
            except SourceInterruptedError as error:
                self.notify(str(error))
            except LmdpError as error:
                if self.stop.is_set():
                    raise
                self._survive(error, survivable)
            else:
                return

    def _read(self, source: Source) -> None:
        """Take one source from its first message to its end."""
        batch, trouble = Batch(source.identity), self.progress.trouble

        def release(partitions: Collection[int]) -> None:
            """Commit what was read, once, and forget the partitions. Raises LmdpError: then the source has to end."""
            nonlocal batch
            batch = self._commit_once(source, self._collect(source, batch, finish=True, once=True))
            self._report(source)
            self.offsets.forget(partitions)
            self.sink.release(partitions)

        source.on_release(release)
        self.transformer.discard()  # the source before was asked for it; this one reads it again
        self.offsets.follow(source.identity)
        if self.settings.shared:  # nobody knows what others did meanwhile
            self.offsets.rewind()
            self.sink.release(None)
        try:
            while not self.stop.is_set():
                for fetch in self._fetches(source):  # 1. poll
                    self.transformer.submit(fetch)  # 2. transform
                    batch = self._collect(source, batch)
                batch = self._collect(source, batch)
                if batch.is_due(self.settings, self.clock.monotonic()):
                    batch = self._commit(source, batch)
                is_durable = self._report(source)
                if trouble and self.progress.trouble == trouble:  # what ended the source before does not end this one
                    self.progress.trouble = ""
                trouble = ""
                if is_durable and batch.is_empty() and self.transformer.is_idle() and source.is_drained():
                    break
        except (BrokerFailedError, TopicReplacedError, SinkRewoundError, PartitionsLostError):
            raise  # the next source reads it again, or it may be of another topic
        except SourceInterruptedError:
            # Of a topic that is gone, nobody could read it again.
            self._commit(source, self._collect(source, batch, finish=True))
            raise
        self._commit(source, batch)
        self._finish(source)

    def _fetches(self, source: Source) -> Iterator[Fetch]:
        """Poll; a fetch of which a part was counted before comes in two."""
        counted = self.offsets.counted
        if not counted:
            yield from source.poll()
            return
        for fetch in source.poll():
            if fetch.first == fetch.next:
                counted.pop(fetch.partition, None)  # a reset: what follows is new, also at lower offsets
            yield from fetch.split(counted.get(fetch.partition, 0))

    def _collect(self, source: Source, batch: Batch, *, finish: bool = False, once: bool = False) -> Batch:
        """Put what is transformed into the batch, and commit it where it is full; `finish` waits for all.

        `once`: a commit that fails is not tried again.
        """
        commit = self._commit_once if once else self._commit
        for fetch, done in self.transformer.results(finish=finish):
            if not batch.adjoins(fetch):
                batch = commit(source, batch)
            counted = fetch.first < self.offsets.counted.get(fetch.partition, 0)
            batch.add(fetch, done, self.clock.monotonic(), counted=counted)
            if batch.is_full(self.settings):
                batch = commit(source, batch)
        return batch

    def _commit(self, source: Source, batch: Batch) -> Batch:
        """Commit a batch, and return an empty one for what comes next.

        While the sink cannot be written (a full disk, say) nothing is read either: it is tried until it can be, or
        until the end, when the error is raised and Kafka still has the messages.
        """
        while not batch.is_empty():
            source.verify_topic()
            reopened = self.sink.reopened
            try:
                self._write(batch)  # 3. commit rows, rejects and offsets
            except SinkTakenError:
                raise
            except LmdpError as error:
                self.progress.block(str(error), self.notify, error.place if isinstance(error, DiskFullError) else "")
                if not self.clock.wait_for_space(error, self.stop):
                    raise
                if self.sink.reopened != reopened:
                    self.notify("the warehouse was opened again; what is in it is not written twice")
            else:
                self._report(source)
                break
        return Batch(source.identity)

    def _commit_once(self, source: Source, batch: Batch) -> Batch:
        if not batch.is_empty():
            source.verify_topic()
            self._write(batch)
        return Batch(source.identity)

    def _report(self, source: Source) -> bool:
        """Report to the consumer group what has become durable; return whether everything is that was taken."""
        taken, reported = self.offsets.taken, self.offsets.reported
        if taken == reported and not self.offsets.waiting:
            return True
        durable = self.sink.durable(taken)
        now_ms = self.clock.now().timestamp() * 1000
        for timestamp, messages in self.offsets.landed(durable).items():
            self.progress.latencies.add(now_ms - timestamp, messages)
        if changed := {part: at for part, at in durable.items() if reported.get(part) != at}:
            source.report_offsets(changed)  # 4. report what is durable
            reported.update(changed)
        return taken == reported

    def _finish(self, source: Source) -> None:
        """Wait for what was taken to be durable; when the end is wanted soon, the next run finds out instead."""
        ends = self.clock.monotonic() + _STOP_S
        while not self._report(source) and self.clock.monotonic() < ends:
            self.clock.wait(Event(), _GLANCE_S)

    def _write(self, batch: Batch) -> None:
        now = self.clock.now()
        load: Load = batch.load(now)
        if self.settings.rejects is not None:
            # A batch that comes again overwrites them.
            self.settings.rejects.write(batch.rejects, int(now.timestamp() * 1000), self.stop)
        self.sink.commit(load, then=partial(self._taken, batch))
        if self.progress.trouble:
            self.notify("recovered; consuming again")
        self.progress.trouble = ""

    def _taken(self, batch: Batch, bytes_out: int) -> None:
        self.offsets.take(batch.next_offsets, batch.timestamps)
        self.progress.gaps += batch.lost()
        self.progress.committed(batch.counts, batch.counted_rejects, bytes_out)

    def _survive(self, error: LmdpError, survivable: type[LmdpError] | tuple[()]) -> None:
        """Wait out an error, unless no retry can help."""
        if isinstance(error, SinkTakenError) or not isinstance(error, survivable):
            raise error
        self._wait_out(str(error))

    def _wait_out(self, text: str) -> None:
        self.progress.block(text, self.notify)
        self.clock.wait(self.stop, _RETRY_S)
