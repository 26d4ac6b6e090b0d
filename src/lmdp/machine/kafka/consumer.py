"""Kafka as a source of the pipeline: one client with its partitions, from the offsets that the sink has.

Whatever a client cannot do while it lives (take up new certificates, follow a recreated topic) ends it with a
SourceInterruptedError, and the next one starts from the sink.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Thread

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from lmdp.errors import (
    BrokerFailedError,
    CertificatesChangedError,
    LmdpError,
    PartitionsLostError,
    StalledError,
    TopicGoneError,
    TopicReplacedError,
)
from lmdp.machine.kafka.access import REQUEST_SECONDS, ClientErrors, KafkaAccess, grant, is_away, translate
from lmdp.machine.kafka.group_offsets import GroupOffsets, owner_of, read_own
from lmdp.machine.kafka.positions import Drain, Positions, StallDetector, reset, truncated_at
from lmdp.machine.kafka.records import OUT_OF_RANGE, TOPIC_GONE, epoch_of, message_of, not_none, runs_of
from lmdp.machine.kafka.topic_watcher import TopicSnapshot, TopicWatcher
from lmdp.machine.metrics import PartitionOffsets, Progress
from lmdp.machine.offsets import Fetch
from lmdp.machine.settings import ConsumeSettings, Notify, StopEvents
from lmdp.machine.sink import Sink

_POLL_S = 0.02
_SNAPSHOT_S = 3.0
_FETCH = 500
_FETCH_BYTES = 8 * 2**20
_RETRY_S = 1.0
_STOP_S = 2.0  # how long the end waits for a broker

# https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
_CLIENT_SETTINGS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # a gap is found and reported here, never skipped in silence
    # What is fetched ahead is compressed on the wire and several times larger here; more of it is no faster.
    "queued.max.messages.kbytes": 4_096,
    "max.partition.fetch.bytes": 262_144,
    "fetch.max.bytes": 1_048_576,  # within the time of a request, also where a few tens of kB come a second
    "fetch.wait.max.ms": 100,
    # How long to fetch nothing once so much is there; librdkafka's second is ten times as long as that lasts.
    "fetch.queue.backoff.ms": 10,
    "isolation.level": "read_committed",
}
# A member that is gone is noticed within 10 s.
_SHARED_SETTINGS = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 2_000,
}


class KafkaSource:
    """The messages of one topic. Raises LmdpError when it cannot be opened. Not thread-safe."""

    def __init__(
        self,
        access: KafkaAccess,
        sink: Sink,
        settings: ConsumeSettings,
        progress: Progress,
        events: StopEvents,
        notify: Notify,
        drain: Drain,
    ) -> None:
        self._access = access
        self._settings = settings
        self._progress = progress
        self._stop = events.stop
        self._notify = notify
        self._drain = drain
        self._fingerprint = access.fingerprint()
        self._reasons = ClientErrors()
        self._stalls = StallDetector()
        self._lot = 1  # messages to take at once: as many as `_FETCH_BYTES` hold of the largest of late
        self._looked = time.monotonic()
        self._unanswered = ""  # a trouble that ends when the broker answers again, which may have nothing new
        self._sink = sink
        self._positions = Positions(settings.topic)
        self._release: Callable[[Collection[int]], None] | None = None
        self._is_assigned = not settings.shared
        self._is_closing = False
        shared = _SHARED_SETTINGS if settings.shared else {}
        with contextlib.ExitStack() as on_failure:
            self._watcher = TopicWatcher(access, settings.topic, settings.cluster)
            on_failure.callback(self._watcher.stop)
            self._watcher.start(_SNAPSHOT_S)
            snapshot = self._watcher.first(self._stop)
            self.identity = snapshot.identity
            partitions = snapshot.chosen(settings.partitions)
            self._owner = owner = owner_of(sink.name, self.identity.topic_id)
            with self._translating():
                group = {"group.id": settings.group, "error_cb": self._reasons}
                self._consumer = Consumer({**access.config(), **_CLIENT_SETTINGS, **shared, **group})
                self._group = GroupOffsets(
                    self._consumer, access, settings.topic, settings.group, owner, notify, counted=settings.from_group
                )
                on_failure.callback(self.close)
                if settings.shared:
                    self._consumer.subscribe(
                        [settings.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                    )
                else:
                    self._resume(partitions, snapshot)
                    self._assign()
                self._count_lag(snapshot)
            on_failure.pop_all()

    def on_release(self, release: Callable[[Collection[int]], None]) -> None:
        """Have `release` called with the partitions that the group gives to another process."""
        self._release = release

    def _on_assign(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        """Take the partitions that the group gives this process, each from where the sink is.

        A process that joins gets none at first, until others have given some back.

        None at the end: librdkafka hands out an assignment that has just come before it gives it back.
        """
        if self._is_closing:
            return
        snapshot = self._watcher.snapshot()
        if snapshot.identity != self.identity:
            raise TopicReplacedError(self._loss("was recreated"))
        taken = tuple(place.partition for place in places)
        self._is_assigned = self._is_assigned or bool(taken)
        if taken:
            self._notify(f"reading partitions {', '.join(map(str, sorted(taken)))} of {self._settings.topic}")
            self._resume(taken, snapshot)
        self._consumer.incremental_assign(self._positions.places(taken))
        self._progress.trouble = ""  # the broker answers, and lets this client use the group

    def _on_revoke(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        """Give partitions to another process; at the end of this one there is nothing left to commit of them."""
        given = [place.partition for place in places]
        if self._release is not None:
            self._release(given)
        self._positions.remove(given)
        self._group.forget(given)
        self._consumer.incremental_unassign(places)

    def _on_lost(self, _consumer: Consumer, places: list[TopicPartition]) -> None:
        self._group.forget(place.partition for place in places)
        if self._release is not None:
            text = f"the group {self._settings.group} has given this run's partitions to others: joining it again"
            raise PartitionsLostError(text)

    def _resume(self, partitions: tuple[int, ...], snapshot: TopicSnapshot) -> None:
        """Take each partition's position from the sink; one that was never read begins where its log does."""
        key, sink = (self.identity.cluster, self.identity.topic_id, self.identity.topic), self._sink
        behind = sink.offsets(*key, partitions)
        epochs = sink.epochs(*key)
        if self._settings.from_group:
            own = read_own(self._consumer, self._settings.topic, partitions, self._owner)
            ahead = {part: at for part, at in own.items() if at > behind.get(part, -1)}
            behind, epochs = behind | ahead, {part: at for part, at in epochs.items() if part not in ahead}
        if not behind and sink.has_other_offsets(self.identity.topic):
            self._notify(
                f"{self.identity.topic} is not the topic that this warehouse has read before: reading it from its start"
            )
        unread = [part for part in partitions if part not in behind]
        logs = snapshot.logs | self._watcher.logs([part for part in unread if part not in snapshot.logs], self._stop)
        for part in partitions:
            self._positions.set(part, behind[part] if part in behind else logs[part].first, epochs.get(part, -1))
        self._positions.begin(unread)

    def poll(self) -> Iterator[Fetch]:
        """Yield what has arrived, after a moment where nothing had; where a partition begins or is reset comes first.

        The wait is not librdkafka's: it would last until the wall clock says so, for hours when that is set back.
        """
        with self._interrupting():
            if time.monotonic() - self._looked >= _SNAPSHOT_S:
                self._looked = time.monotonic()
                self._follow()
            yield from self._positions.begun
            self._positions.begun.clear()
            records: list[Record] = self._consumer.consume(self._lot, 0)
            if self._settings.shared:  # some may be of a partition that was given up just now; no topic: of the client
                records = [one for one in records if one.topic() is None or one.partition() in self._positions.offsets]
            if not records:
                self._stop.wait(_POLL_S)
            again: set[int | None] = set()  # assigned again: what is behind in `records` comes again
            for run in runs_of(records):
                error = run[0].error()
                if run[0].topic() is not None and run[0].partition() in again:
                    continue
                if error is None:
                    yield self._fetched(run)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name
                    yield from self._end_reached(not_none(run[0].partition()), not_none(run[0].offset()))
                elif error.code() in OUT_OF_RANGE:
                    yield from self._reset(not_none(run[0].partition()), truncated_at(error.str()))
                    again |= {run[0].partition()} if self._settings.shared else {*self._positions.offsets}
                else:
                    self._handle(error)

    def verify_topic(self) -> None:
        """Raise TopicReplacedError when the topic was recreated; librdkafka continues in the new one without a word.

        BrokerFailedError where that cannot be known.
        """
        patience = _STOP_S if self._stop.is_set() else REQUEST_SECONDS
        with self._interrupting():
            if self._watcher.replaced(self.identity, patience, self._stop):
                raise TopicReplacedError(self._loss("was recreated"))

    def report_offsets(self, offsets: Mapping[int, int]) -> None:
        """Commit the next offset of each partition to the consumer group; not waited for."""
        self._group.commit(offsets)

    def is_drained(self) -> bool:
        """Return whether all is read that was there when the end was asked for."""
        if not (self._drain.asked() and self._is_assigned):
            return False
        snapshot = self._watcher.latest
        if not isinstance(snapshot, TopicSnapshot) or snapshot.identity != self.identity:
            return False
        if self._drain.needs_snapshot(snapshot):
            self._watcher.refresh()
            return False
        return self._drain.done(snapshot, self._positions.offsets)

    def close(self) -> None:
        """Close the client; a broker that does not take the group's offsets is not waited for (45 s, else)."""
        self._is_closing, self._release = True, None
        self._group.close(_STOP_S)
        self._watcher.stop()
        closing = Thread(target=self._group.close_client, name="close", daemon=True)
        closing.start()
        closing.join(_STOP_S)

    def _fetched(self, records: list[Record]) -> Fetch:
        """Return messages of one partition, and adapt how many to take at once."""
        partition, epoch = not_none(records[0].partition()), epoch_of(records[0])
        largest = max(map(len, records))
        self._lot = max(1, min(self._lot + len(records), _FETCH, _FETCH_BYTES // max(largest, 1)))
        first = min(self._positions.offsets[partition], not_none(records[0].offset()))
        end = not_none(records[-1].offset()) + 1
        self._positions.set(partition, end, epoch)
        return Fetch(partition, first, end, epoch, [message_of(record) for record in records])

    def _end_reached(self, partition: int, end: int) -> Iterator[Fetch]:
        """Take the end of a partition as its next offset: what is before it was read, also offsets without a message.

        Transaction markers, aborted messages and compacted ones have an offset each, and come to no consumer.
        """
        first = self._positions.offsets[partition]
        if end > first:
            (place,) = self._consumer.position([TopicPartition(self._settings.topic, partition)])
            # An older epoch would have the broker report a truncated log at the next start.
            epoch = place.leader_epoch if place.offset == end and place.leader_epoch is not None else -1
            self._positions.set(partition, end, epoch)
            yield Fetch(partition, first, end, epoch)
        elif not self._settings.from_group:  # what was read up to there may not be durable yet
            self._group.note({partition: end})

    def _reset(self, partition: int, truncated: int | None) -> Iterator[Fetch]:
        """Continue where the topic has messages, `truncated` or expired as it is."""
        snapshot = self._watcher.snapshot()
        if snapshot.identity != self.identity:  # offsets can only be compared within one topic
            raise TopicReplacedError(self._loss("was recreated"))
        log = snapshot.logs.get(partition) or self._watcher.logs([partition], self._stop)[partition]
        wanted = self._positions.offsets[partition]
        found = reset(f"{self.identity.topic}-{partition}", wanted, log.first, log.end, truncated)
        self._notify(found.text)
        self._positions.set(partition, found.offset)
        yield Fetch(partition, found.offset, found.offset, lost_from=found.lost_from)
        if found.offset == wanted:
            self._stop.wait(_RETRY_S)
        self._assign(partition)
        self._count_lag(snapshot)

    def _handle(self, error: KafkaError) -> None:
        is_denied = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        if is_denied and not self._settings.shared:
            self._group.deny()
        elif error.code() in TOPIC_GONE:
            raise TopicGoneError(self._loss("is gone"))
        else:
            text = str(translate(error, self._access, topic=self._settings.topic, group=self._settings.group))
            if is_denied:  # nothing is read: who may not join the group gets no partitions
                text = (
                    f"No rights on the group {self._settings.group}, so that no partition is read. To grant them: "
                    f"{grant(self._access, self._settings.topic, self._settings.group)}."
                )
            self._progress.block(text, self._notify)
            self._unanswered = text if is_away(error) or self._unanswered else ""

    def _follow(self) -> None:
        """Follow what changes alongside the messages: certificate files, the topic, its partitions, the group."""
        if self._access.fingerprint() != self._fingerprint:
            raise CertificatesChangedError("the certificate files changed; reconnecting with them")
        snapshot = self._watcher.latest
        if isinstance(snapshot, LmdpError):
            self._unanswered = str(snapshot)
            self._progress.block(self._unanswered, self._notify)
        elif snapshot is not None:
            if snapshot.identity != self.identity:
                raise TopicReplacedError(self._loss("was recreated"))
            if self._unanswered and self._progress.trouble == self._unanswered:
                self._progress.trouble = ""
            self._unanswered = ""
            self._add_partitions(snapshot)
            self._count_lag(snapshot)
            self._group.look()
            self._check_stalls(snapshot)

    def _add_partitions(self, snapshot: TopicSnapshot) -> None:
        added = [part for part in snapshot.chosen(self._settings.partitions) if part not in self._positions.offsets]
        if added and not self._settings.shared:
            self._notify(f"new partitions of {self._settings.topic}: {', '.join(map(str, added))}")
            for part in added:
                self._positions.set(part, 0)  # it began while its topic was read
            self._positions.begin(added)
            self._assign()

    def _check_stalls(self, snapshot: TopicSnapshot) -> None:
        if stalled := self._stalls.stalled(self._positions.offsets, snapshot.logs):
            raise StalledError(
                "\n".join(
                    f"{self._settings.topic}-{part} ends at {snapshot.logs[part].stable:,}, and gives nothing after "
                    f"{self._positions.offsets[part]:,}: reconnecting"
                    for part in stalled
                )
            )

    def _count_lag(self, snapshot: TopicSnapshot) -> None:
        """Count the offsets beyond each position: by the partition's last answer, before that by its log."""
        lag, places = {}, {}
        for part, position in self._positions.offsets.items():
            place = TopicPartition(self._settings.topic, part)
            _, high = self._consumer.get_watermark_offsets(place, cached=True)
            end = high if high >= 0 or part not in snapshot.logs else snapshot.logs[part].end
            lag[part] = max(0, end - position)
            first = snapshot.logs[part].first if part in snapshot.logs else 0
            places[part] = PartitionOffsets(min(first, position), max(end, position), position)
        self._progress.lag = lag
        self._progress.note_places(places)

    def _assign(self, changed: int | None = None) -> None:
        """Assign all partitions; in a group, whose assignment is not this process's to make, that one again."""
        if self._settings.shared and changed is not None:
            places = self._positions.places([changed])
            self._consumer.incremental_unassign(places)
            self._consumer.incremental_assign(places)
        else:
            self._consumer.assign(self._positions.places(self._positions.offsets))

    def _loss(self, how: str) -> str:
        """Return what became of the topic, and about how much of it was not read: that cannot come back."""
        unread = sum(self._progress.lag.values())
        lost = f", and with it some {unread:,} messages that had not been read: LOST" if unread else ""
        self._progress.lag = {}
        return f"the topic {self._settings.topic} {how}{lost}"

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            names = {"topic": self._settings.topic, "group": self._settings.group}
            raise translate(error, self._access, **names, reasons=self._reasons) from error

    @contextlib.contextmanager
    def _interrupting(self) -> Iterator[None]:
        """Turn a failed request into the end of this source."""
        try:
            with self._translating():
                yield
        except LmdpError as error:
            raise BrokerFailedError(str(error)) from error
