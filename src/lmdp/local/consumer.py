"""From Kafka into the warehouse, each message once.

The offsets are in the warehouse, in the same transaction as the rows, so that there is nothing to agree on between the
two: whatever ends this process, the next one goes on behind the last row that is there. Kafka's own group gets the
offsets too, but only for those who watch its lag.

A *session* is one client with its partitions. Whatever a client cannot do while it lives (take up new certificates,
follow a topic that was made anew) ends the session, and the next one starts from the warehouse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from lmdp.errors import LmdpError, SettingsError
from lmdp.local.batch import Batch
from lmdp.local.kafka import REQUEST_SECONDS, KafkaAccess, Reasons, translate
from lmdp.local.progress import Progress
from lmdp.local.warehouse import Warehouse
from lmdp.local.watch import Sighting, Watch
from lmdp.pipeline import Message, TransformSettings

# https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
CONSUMER_SETTINGS = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # a gap is found and said here, never jumped over in silence
    # What is fetched ahead is compressed on the wire and several times larger here; more of it is no faster.
    "queued.max.messages.kbytes": 4_096,
    "max.partition.fetch.bytes": 262_144,
    "fetch.wait.max.ms": 100,
    "isolation.level": "read_committed",
}
_POLL_S = 0.1
_LOOK_S = 3.0
_FETCH = 500
_RETRY_S = 1.0
_IDLE_S = 2.0
_STOP_S = 2.0  # how long the end waits for a broker
_TOPIC_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})  # noqa: SLF001 - the library's public names
_OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001 - as above


@dataclass(frozen=True, slots=True)
class ConsumeSettings:
    """What to consume, and in which portions it is written.

    `partitions` is None for all. `group` is where lag monitors look. `cluster` names a cluster that cannot name itself.
    A batch is written when it holds `batch_rows` rows or is `linger_s` old. Its rejects also go
    below the folder `rejects`.
    """

    topic: str
    partitions: tuple[int, ...] | None = None
    group: str = "lmdp"
    cluster: str = ""
    batch_rows: int = 50_000
    linger_s: float = 0.5
    rejects: Path | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """What ends a consumer: `stop` at once; `drain` when every partition has been at its end for two seconds."""

    stop: Event = field(default_factory=Event)
    drain: Event = field(default_factory=Event)


Say = Callable[[str], None]


def consume(
    access: KafkaAccess,
    warehouse: Warehouse,
    transform: TransformSettings,
    settings: ConsumeSettings,
    progress: Progress,
    ends: Ends,
    say: Say,
) -> None:
    """Consume until one of `ends`. `say` is told what a person must know.

    Raises LmdpError at the start, when the broker, the topic or a partition is not there; later faults are waited out.
    """
    first = True
    while not ends.stop.is_set():
        try:
            session = _Session(access, warehouse, transform, settings, progress, ends, say)
        except LmdpError as error:
            if first:
                raise
            _trouble(progress, say, str(error))
            ends.stop.wait(_RETRY_S)
            continue
        try:
            if session.run():
                return
        finally:
            session.close()
        first = False


class _Session:
    """One client, from its first message to the reason that ends it."""

    def __init__(
        self,
        access: KafkaAccess,
        warehouse: Warehouse,
        transform: TransformSettings,
        settings: ConsumeSettings,
        progress: Progress,
        ends: Ends,
        say: Say,
    ) -> None:
        self._access = access
        self._warehouse = warehouse
        self._settings = settings
        self._progress = progress
        self._ends = ends
        self._say = say
        self._fingerprint = access.fingerprint()
        self._watch = Watch(access, settings.topic, settings.cluster)
        sighting = self._watch.look()
        self._identity = sighting.identity
        self._batch = Batch(sighting.identity, transform, settings.rejects)
        self._at_end: set[int] = set()
        self._idle_since: float | None = None
        self._assigned: tuple[int, ...] = ()
        self._tells_group = True
        self._over = False  # this client cannot go on
        self._reasons = Reasons()
        wanted = self._wanted(sighting)
        config = {**access.config(), **CONSUMER_SETTINGS, "group.id": settings.group, "error_cb": self._reasons}
        try:
            self._consumer = Consumer(config)
            self._assign(wanted)
        except KafkaException as error:
            raise translate(error, access, topic=settings.topic) from error
        self._watch.start(_LOOK_S)

    def run(self) -> bool:
        """Consume; True when done, False when a new session has to go on behind what is in the warehouse."""
        try:
            return self._run()
        except KafkaException as error:
            self._trouble(str(translate(error, self._access, topic=self._settings.topic, reasons=self._reasons)))
            self._ends.stop.wait(_RETRY_S)
            return False

    def _run(self) -> bool:
        looked = time.monotonic()
        while not self._ends.stop.is_set() and not self._idle():
            ended = self._take(self._consumer.consume(_FETCH, _POLL_S))
            if self._batch.age() >= self._settings.linger_s:
                self._write()
            if time.monotonic() - looked >= _LOOK_S:
                looked = time.monotonic()
                ended = self._look() or ended
            if ended or self._over:
                self._write()
                return False
        self._write()
        return not self._over or self._ends.stop.is_set()

    def close(self) -> None:
        """Let go of the client; a broker that does not take the group's offsets is not waited for (45 s, else)."""
        self._watch.stop()
        closing = Thread(target=self._consumer.close, name="close", daemon=True)
        closing.start()
        closing.join(_STOP_S)

    def _take(self, records: Iterable[Record]) -> bool:
        """Put records into the batch; True when the session cannot go on."""
        for record in records:
            error = record.error()
            if error is None:
                self._at_end.discard(record.partition())
                self._batch.add(_message(record))
                if self._batch.rows >= self._settings.batch_rows:
                    self._write()
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
                self._at_end.add(_partition(record))
            elif error.code() in _OUT_OF_RANGE:
                # What comes behind it in `records` is read again: the partitions are assigned anew.
                return not self._over_the_gap(_partition(record))
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                self._stop_telling_group()
            elif error.code() in _TOPIC_GONE:
                self._trouble(f"the topic {self._settings.topic} is gone; waiting for it")
                return True
            else:
                self._trouble(str(translate(error, self._access, topic=self._settings.topic)))
        return False

    def _write(self) -> None:
        """Commit the batch to the warehouse; from then on it is there, whatever happens.

        While the warehouse cannot be written (a full disk, say) nothing is read either: it is tried until it can be,
        or until the end, when the error is raised and Kafka still has the messages.
        """
        while not self._batch.empty() and self._is_of_this_topic():
            try:
                self._batch.commit(self._warehouse, self._progress)
            except LmdpError as error:
                self._trouble(str(error))
                if self._ends.stop.wait(_RETRY_S):
                    raise
            else:
                self._tell_group()
                self._batch = self._batch.next()
                self._progress.trouble = ""

    def _is_of_this_topic(self) -> bool:
        """Whether the batch is of the topic that it is taken for; else it is let go, for the next session to read.

        librdkafka goes on in a topic that was made anew, at the offset where it was in the old one.
        """
        patience = _STOP_S if self._ends.stop.is_set() else REQUEST_SECONDS
        try:
            self._over = self._over or self._watch.replaced(self._identity, patience)
        except LmdpError as error:
            self._trouble(str(error))
            self._over = True
        if self._over:
            self._batch = self._batch.next()
        return not self._over

    def _stop_telling_group(self) -> None:
        if self._tells_group:
            self._tells_group = False
            self._say(
                f"no rights on the group {self._settings.group}: lag monitors will not see this consumer, and the rows "
                f"come all the same. To grant them: lmdp topic acls --reader NAME --group {self._settings.group}"
            )

    def _tell_group(self) -> None:
        if not self._tells_group:
            return
        offsets = [TopicPartition(self._settings.topic, part, offset) for part, offset in self._batch.next_offsets()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException:  # lag monitors see it later; the warehouse knows
            return

    def _look(self) -> bool:
        """See to what changes beside the messages; True when only a new session can follow it."""
        self._progress.lag = self._lag()
        if self._access.fingerprint() != self._fingerprint:
            self._say("the certificate files changed; connecting anew with them")
            return True
        sighting = self._watch.latest()
        if isinstance(sighting, LmdpError):
            self._trouble(str(sighting))
        elif sighting is not None:
            if sighting.identity != self._identity:
                return True
            added = tuple(part for part in self._wanted(sighting) if part not in self._assigned)
            if added:
                self._say(f"new partitions of {self._settings.topic}: {', '.join(map(str, added))}")
                self._assign((*self._assigned, *added))
        return False

    def _wanted(self, sighting: Sighting) -> tuple[int, ...]:
        chosen = self._settings.partitions
        missing = [part for part in chosen or () if part not in sighting.partitions]
        if missing:
            raise SettingsError(
                f"--partitions: {self._settings.topic} has no partition {', '.join(map(str, missing[:10]))}; "
                f"it has {len(sighting.partitions)}, from 0 to {sighting.partitions[-1]}"
            )
        return chosen or sighting.partitions

    def _assign(self, partitions: tuple[int, ...]) -> None:
        """Read `partitions`, each from where the warehouse ends, or from its start."""
        self._write()
        identity = self._identity
        known = self._warehouse.offsets(identity.cluster, identity.topic_id, identity.topic)
        if not known and not self._assigned and self._warehouse.has_other_offsets(identity.topic):
            self._say(
                f"{identity.topic} is not the topic that this warehouse has read before: reading it from its start"
            )
        self._consumer.assign(
            [TopicPartition(identity.topic, part, known.get(part, OFFSET_BEGINNING)) for part in partitions]
        )
        self._assigned = partitions
        self._at_end.clear()

    def _over_the_gap(self, partition: int) -> bool:
        """Go on behind messages that the topic no longer has; False when it is another topic by now."""
        self._write()
        identity = self._identity
        place = TopicPartition(identity.topic, partition)
        try:
            # Offsets can only be compared within one topic.
            if self._watch.look().identity != identity:
                return False
            low, high = self._consumer.get_watermark_offsets(place, timeout=REQUEST_SECONDS)
        except (LmdpError, KafkaException) as error:
            self._trouble(f"{identity.topic}-{partition} cannot be read on: {error}")
            return False
        known = self._warehouse.offsets(identity.cluster, identity.topic_id, identity.topic)
        wanted = known.get(partition, 0)
        if wanted < low:
            self._progress.gaps += low - wanted
            self._say(
                f"LOST: {low - wanted:,} messages of {identity.topic}-{partition} (offsets {wanted:,} to {low - 1:,}) "
                "had passed the topic's retention before they were read. Raise its retention above the longest outage."
            )
        else:
            self._say(
                f"{identity.topic}-{partition} ends at offset {high:,}, before {wanted:,} where the warehouse is: "
                "the broker has lost its newest messages. Going on from its end."
            )
        self._batch.skip(partition, low if wanted < low else high)
        self._assign(self._assigned)
        return True

    def _idle(self) -> bool:
        """Whether to end because there is nothing more to read."""
        quiet = self._batch.empty() and len(self._at_end) == len(self._assigned)
        if not quiet or not self._ends.drain.is_set():
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or time.monotonic()
        return time.monotonic() - self._idle_since >= _IDLE_S

    def _lag(self) -> dict[int, int]:
        lag = {}
        for place in self._consumer.position(self._consumer.assignment()):
            low, high = self._consumer.get_watermark_offsets(place, cached=True)
            lag[place.partition] = max(0, high - (place.offset if place.offset >= 0 else low)) if high > 0 else 0
        return lag

    def _trouble(self, text: str) -> None:
        _trouble(self._progress, self._say, text)


def _trouble(progress: Progress, say: Say, text: str) -> None:
    """Say what stands in the way, once."""
    if progress.trouble != text:
        progress.trouble = text
        say(f"{text} Nothing is lost: it goes on from where it was.")


def _partition(record: Record) -> int:
    partition = record.partition()
    assert partition is not None  # only a message that was not sent yet has none
    return partition


def _message(record: Record) -> Message:
    kind, timestamp = record.timestamp()
    offset = record.offset()
    assert offset is not None  # as above
    return Message(
        record.value(), record.topic() or "", _partition(record), offset, timestamp if kind else None, record.key()
    )
