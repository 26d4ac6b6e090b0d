"""Doubles of what the pipeline on one machine is handed: a source that plays a script, and a sink in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

from lmdp.core.pipeline import Message, TransformSettings, transform
from lmdp.errors import LmdpError
from lmdp.machine.metrics import Progress
from lmdp.machine.offsets import Fetch, TopicIdentity
from lmdp.machine.pipeline import Pipeline
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.sink import Load, Sink
from lmdp.machine.transformer import InProcess

TOPIC = TopicIdentity("cluster", "id", "topic")


@dataclass(slots=True)
class ScriptedSource:
    """Plays `script`: each step is what one poll gives, in order.

    An exception in it is raised there, and partitions in it are released to another process.

    It is drained once the script is over. `verifying` has what the next checks of the topic do (None: it is the same).
    `reported` are the offsets that the consumer group got.
    """

    script: deque[Iterable[Fetch | frozenset[int] | Exception]] = field(default_factory=deque)
    identity: TopicIdentity = TOPIC
    verifying: deque[Exception | None] = field(default_factory=deque)
    reported: list[dict[int, int]] = field(default_factory=list)
    closed: bool = False
    release: Callable[[Collection[int]], None] = lambda _: None

    def on_release(self, release: Callable[[Collection[int]], None]) -> None:
        """Keep what is to be called."""
        self.release = release

    def poll(self) -> Iterator[Fetch]:
        """Play the next step."""
        for fetch in self.script.popleft() if self.script else ():
            if isinstance(fetch, Exception):
                raise fetch
            if isinstance(fetch, frozenset):
                self.release(fetch)
            else:
                yield fetch

    def verify_topic(self) -> None:
        """Raise what is next in `verifying`."""
        error = self.verifying.popleft() if self.verifying else None
        if error is not None:
            raise error

    def report_offsets(self, offsets: Mapping[int, int]) -> None:
        """Keep the offsets."""
        self.reported.append(dict(offsets))

    def is_drained(self) -> bool:
        """Return whether the script is over."""
        return not self.script

    def close(self) -> None:
        """Note that it is closed."""
        self.closed = True


@dataclass(slots=True)
class MemorySink:
    """Keeps loads. `failures` are raised by the next commits: before the load is kept, or after it (`in_doubt`)."""

    name: str = "memory"
    loads: list[Load] = field(default_factory=list)
    failures: deque[LmdpError] = field(default_factory=deque)
    in_doubt: deque[LmdpError] = field(default_factory=deque)
    durables: deque[Mapping[int, int] | Exception] = field(default_factory=deque)
    reopened: int = 0
    released: list[Collection[int] | None] = field(default_factory=list)

    def release(self, partitions: Collection[int] | None) -> None:
        """Keep what was released."""
        self.released.append(partitions)

    def commit(self, load: Load, *, then: Callable[[int], None]) -> int:
        """Keep `load`, unless it is there."""
        if self.failures:
            raise self.failures.popleft()
        if not self._has(load):
            self.loads.append(load)
            if self.in_doubt:
                raise self.in_doubt.popleft()
        then(load.size)
        return load.size

    def _has(self, load: Load) -> bool:
        ranges = [part for part in load.ranges if part.first < part.next]
        return bool(ranges) and any(ranges[0] in kept.ranges for kept in self.loads)

    def durable(self, taken: Mapping[int, int]) -> Mapping[int, int]:
        """Return how much is durable: all, or what `durables` has next; an exception in it is raised."""
        found = self.durables.popleft() if self.durables else taken
        if isinstance(found, Exception):
            raise found
        return found

    def offsets(self, cluster: str, topic_id: str, topic: str, _partitions: Collection[int] = ()) -> dict[int, int]:
        """Return the next offset to read, by partition."""
        return {part: at for part, (at, _) in self._ends(cluster, topic_id, topic).items()}

    def epochs(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """Return the leader epoch of the last message, by partition."""
        return {part: epoch for part, (_, epoch) in self._ends(cluster, topic_id, topic).items()}

    def has_other_offsets(self, topic: str) -> bool:
        """Return whether a topic of this name was read."""
        return any(part.topic == topic for load in self.loads for part in load.ranges)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows of all loads."""
        return [row for load in self.loads for row in load.rows]

    def _ends(self, *identity: str) -> dict[int, tuple[int, int]]:
        return {
            part.partition: (part.next, part.epoch)
            for load in self.loads
            for part in load.ranges
            if (part.cluster, part.topic_id, part.topic) == identity
        }


def fetched(messages: Iterable[Message], epoch: int = -1) -> list[Fetch]:
    """Return one fetch a message."""
    return [Fetch(one.partition, one.offset, one.offset + 1, epoch, [one]) for one in messages]


def write(
    sink: Sink, messages: Iterable[Message], settings: TransformSettings, *, epoch: int = -1, **given: Any
) -> Progress:
    """Take `messages` through the whole pipeline into `sink`, in one commit; returns the progress."""
    progress = Progress()
    source = ScriptedSource(deque([fetched(messages, epoch)]), **given)
    consume = ConsumeSettings(source.identity.topic, linger_s=0)
    Pipeline(
        lambda: source,
        InProcess(partial(transform, settings=settings)),
        sink,
        consume,
        progress,
        Event(),
        lambda _: None,
    ).run()
    return progress
