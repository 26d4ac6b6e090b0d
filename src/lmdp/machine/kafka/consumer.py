"""From Kafka into the warehouse, each message once.

The offsets are in the warehouse, in the same transaction as the rows, so that there is nothing to agree on between the
two: whatever ends this process, the next one goes on behind the last row that is there. Kafka's own group gets the
offsets too, but only for those who watch its lag.

A *session* is one client with its partitions. Whatever a client cannot do while it lives (take up new certificates,
follow a topic that was made anew) ends the session, and the next one starts from the warehouse.
"""

from __future__ import annotations

import time
from threading import Thread

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from lmdp.core.pipeline import TransformSettings
from lmdp.errors import DiskFullError, LmdpError, UnreachableError, WarehouseReplacedError
from lmdp.machine.batch import Batch
from lmdp.machine.kafka.access import REQUEST_SECONDS, KafkaAccess, Reasons, is_away, translate
from lmdp.machine.kafka.consumer_settings import ConsumeSettings, Ends, Say
from lmdp.machine.kafka.drain import Drain
from lmdp.machine.kafka.group_offsets import GroupOffsets, owner_of
from lmdp.machine.kafka.messages import (
    CONSUMER_SETTINGS,
    OUT_OF_RANGE,
    TOPIC_GONE,
    epoch_of,
    lag_of,
    message_of,
    offset_of,
    partition_of,
    runs_of,
)
from lmdp.machine.kafka.offset_reset import cut_at, turn
from lmdp.machine.kafka.stalled import Stalled
from lmdp.machine.kafka.topic_identity import Sighting, Watch
from lmdp.machine.metrics import Progress
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.disk_space import waited_out

__all__ = ["ConsumeSettings", "Ends", "Say", "consume"]

_POLL_S = 0.02
_LOOK_S = 3.0
_FETCH = 500
_FETCH_BYTES = 8 * 2**20
_RETRY_S = 1.0
_STOP_S = 2.0  # how long the end waits for a broker


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
    first, drain = True, Drain(ends.drain, say)
    while not ends.stop.is_set():
        try:
            session = _Session(access, warehouse, transform, settings, progress, ends, say, drain=drain)
        except LmdpError as error:
            if ends.stop.is_set():
                return
            if isinstance(error, WarehouseReplacedError) or (
                first and not (settings.patient and isinstance(error, UnreachableError))
            ):
                raise
            _trouble(progress, say, str(error))
            ends.stop.wait(_RETRY_S)
            continue
        progress.trouble = ""
        try:
            if session.run():
                return
        finally:
            session.close()
        first = False


class _Session:
    """One client, from its first message to the reason that ends it."""

    def __init__(  # noqa: PLR0913 - what `consume` was given
        self,
        access: KafkaAccess,
        warehouse: Warehouse,
        transform: TransformSettings,
        settings: ConsumeSettings,
        progress: Progress,
        ends: Ends,
        say: Say,
        *,
        drain: Drain,
    ) -> None:
        self._access = access
        self._warehouse = warehouse
        self._settings = settings
        self._progress = progress
        self._ends = ends
        self._drain = drain
        self._say = say
        self._fingerprint = access.fingerprint()
        self._watch = Watch(access, settings.topic, settings.cluster)
        self._watch.start(_LOOK_S)
        try:
            sighting = self._watch.first(ends.stop)
            wanted = sighting.chosen(settings.partitions)
        except LmdpError:
            self._watch.stop()
            raise
        self._identity = sighting.identity
        self._batch = Batch(sighting.identity, transform, settings.rejects)
        self._lot = 1  # messages to take at once: as many as `_FETCH_BYTES` hold of the largest of late
        self._stalled = Stalled()
        self._assigned: tuple[int, ...] = ()
        self._over = self._was_away = False  # whether this client cannot go on, and did not reach the broker
        self._reasons = Reasons()
        config = {**access.config(), **CONSUMER_SETTINGS, "group.id": settings.group, "error_cb": self._reasons}
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            self._watch.stop()
            raise translate(error, access, topic=settings.topic) from error
        self._group = GroupOffsets(
            *(self._consumer, settings.topic, settings.group),
            owner=owner_of(warehouse.path),
            say=say,
        )
        try:
            self._assign(wanted, sighting)
        except KafkaException as error:
            self.close()
            raise translate(error, access, topic=settings.topic, reasons=self._reasons) from error
        except LmdpError:
            self.close()
            raise

    def run(self) -> bool:
        """Consume; True when done, False when a new session has to go on behind what is in the warehouse."""
        try:
            return self._run()
        except KafkaException as error:
            self._trouble(str(translate(error, self._access, topic=self._settings.topic, reasons=self._reasons)))
        except LmdpError as error:
            if self._ends.stop.is_set() or isinstance(error, WarehouseReplacedError):
                raise
            self._trouble(str(error))
        self._ends.stop.wait(_RETRY_S)
        return False

    def _run(self) -> bool:
        looked = time.monotonic()
        while not self._ends.stop.is_set() and not self._is_drained():
            ended = self._take(self._next())
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
        self._group.close(_STOP_S)
        self._watch.stop()
        closing = Thread(target=self._group.close_client, name="close", daemon=True)
        closing.start()
        closing.join(_STOP_S)

    def _next(self) -> list[Record]:
        """What has come, after a moment where nothing had.

        The wait is not librdkafka's: it would last until the wall clock says so, for hours when that is set back.
        """
        records: list[Record] = self._consumer.consume(self._lot, 0)
        if not records:
            self._ends.stop.wait(_POLL_S)
        return records

    def _take(self, records: list[Record]) -> bool:
        """Put records into the batch; True when the session cannot go on."""
        for run in runs_of(records):
            record = run[0]
            error = record.error()
            if error is None:
                self._add(run)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
                self._reached(partition_of(record), offset_of(record))
            elif error.code() in OUT_OF_RANGE:
                # What comes behind it in `records` is read again: the partitions are assigned anew.
                return not self._over_the_gap(partition_of(record), cut_at(error.str()))
            elif error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                self._group.deny()
            elif error.code() in TOPIC_GONE:
                self._say_gone("is gone")
                return True
            else:
                self._trouble(str(translate(error, self._access, topic=self._settings.topic)))
                self._was_away = self._was_away or is_away(error)
        return False

    def _add(self, records: list[Record]) -> None:
        """Put messages of one partition into the batch, and write it when it is large."""
        self._batch.add([message_of(record) for record in records], epoch_of(records[0]))
        largest = max(map(len, records))
        self._lot = max(1, min(self._lot + len(records), _FETCH, _FETCH_BYTES // max(largest, 1)))
        if self._batch.rows >= self._settings.batch_rows or self._batch.size >= self._settings.batch_bytes:
            self._write()

    def _reached(self, partition: int, end: int) -> None:
        """Take the end of a partition as its next offset: what is before it was read, also offsets without a message.

        Transaction markers, aborted messages and compacted ones have an offset each, and come to no consumer.
        """
        if end > self._batch.positions.get(partition, end):
            (place,) = self._consumer.position([TopicPartition(self._settings.topic, partition)])
            # An older epoch would have the broker report a truncated log at the next start.
            known = place.offset == end and place.leader_epoch is not None
            self._batch.read_to(partition, end, place.leader_epoch if known else -1)
        elif self._assigned:
            self._group.note({partition: end})

    def _write(self) -> bool:
        """Commit the batch to the warehouse; from then on it is there, whatever happens. False: this client is over.

        While the warehouse cannot be written (a full disk, say) nothing is read either: it is tried until it can be,
        or until the end, when the error is raised and Kafka still has the messages.
        """
        while not self._batch.empty() and self._is_of_this_topic():
            reopened = self._warehouse.reopened
            try:
                self._batch.commit(self._warehouse, self._progress)
            except WarehouseReplacedError:
                raise
            except LmdpError as error:
                self._trouble(str(error), place=error.place if isinstance(error, DiskFullError) else "")
                if not waited_out(error, self._ends.stop):
                    raise
                if self._warehouse.reopened != reopened:
                    self._say("the warehouse was opened again; what is in it is not written twice")
            else:
                if self._assigned:  # librdkafka assigns nothing while a commit waits for a group that is denied
                    self._group.commit(self._batch.next_offsets())
                self._batch = self._batch.next()
                if self._progress.trouble:
                    self._say("what stood in the way is gone: going on")
                self._progress.trouble = ""
        return not self._over

    def _is_of_this_topic(self) -> bool:
        """Whether the batch is of the topic that it is taken for; else it is let go, for the next session to read.

        librdkafka goes on in a topic that was made anew, at the offset where it was in the old one.
        """
        patience = _STOP_S if self._ends.stop.is_set() else REQUEST_SECONDS
        try:
            if not self._over and self._watch.replaced(self._identity, patience, self._ends.stop):
                self._say_gone("was made anew")
                self._over = True
        except LmdpError as error:
            self._trouble(str(error))
            self._over = True
        if self._over:
            self._batch = self._batch.next()
        return not self._over

    def _look(self) -> bool:
        """See to what changes beside the messages; True when only a new session can follow it."""
        if self._access.fingerprint() != self._fingerprint:
            self._say("the certificate files changed; connecting anew with them")
            return True
        sighting = self._watch.latest()
        if isinstance(sighting, LmdpError):
            self._trouble(str(sighting))
            self._was_away = True
        elif sighting is not None:
            if sighting.identity != self._identity:
                self._say_gone("was made anew")
                return True
            if self._was_away:  # it answers again, and may have nothing new
                self._was_away = False
                self._progress.trouble = ""
            added = tuple(part for part in sighting.chosen(self._settings.partitions) if part not in self._assigned)
            if added:
                self._say(f"new partitions of {self._settings.topic}: {', '.join(map(str, added))}")
                self._assign((*self._assigned, *added), sighting)
            self._count_lag(sighting)
            self._group.look()
            return self._is_stuck(sighting)
        return False

    def _count_lag(self, sighting: Sighting) -> None:
        self._progress.lag = lag_of(self._consumer, self._settings.topic, self._batch.positions, sighting.logs)

    def _is_stuck(self, sighting: Sighting) -> bool:
        """Tell whether a partition has given nothing for long, though it has messages."""
        stuck = self._stalled.look(self._batch.positions, sighting.logs)
        for part in stuck:
            self._say(
                f"{self._settings.topic}-{part} ends at {sighting.logs[part].stable:,}, and gives nothing after "
                f"{self._batch.positions[part]:,}: connecting again"
            )
        return bool(stuck)

    def _assign(self, partitions: tuple[int, ...], sighting: Sighting) -> None:
        """Read `partitions`, each from where the warehouse ends, or from its start."""
        self._write()
        identity = self._identity
        known = self._warehouse.offsets(identity.cluster, identity.topic_id, identity.topic)
        if not known and not self._assigned and self._warehouse.has_other_offsets(identity.topic):
            self._say(
                f"{identity.topic} is not the topic that this warehouse has read before: reading it from its start"
            )
        known |= self._starts([part for part in partitions if part not in known], sighting)
        epochs = self._warehouse.epochs(identity.cluster, identity.topic_id, identity.topic)
        # By the leader's epoch the broker tells whether it still has what was read.
        self._consumer.assign(
            [TopicPartition(identity.topic, at, known[at], leader_epoch=epochs.get(at, -1)) for at in partitions]
        )
        self._assigned = partitions
        self._batch.positions |= {part: known[part] for part in partitions}
        self._count_lag(sighting)

    def _starts(self, partitions: list[int], sighting: Sighting) -> dict[int, int]:
        """Where partitions begin that were never read; kept, so that what retention takes from then on is missed."""
        if self._assigned:  # one that was added while its topic was read began then
            starts = dict.fromkeys(partitions, 0)
        else:
            unseen = [part for part in partitions if part not in sighting.logs]
            logs = sighting.logs | self._watch.logs(unseen, self._ends.stop)
            starts = {part: logs[part].first for part in partitions}
        for part, offset in starts.items():
            self._batch.go_on(part, offset)
        self._write()
        return starts

    def _over_the_gap(self, partition: int, cut: int | None) -> bool:
        """Go on where the topic has messages, `cut` or gone as it is; False when it is another topic by now."""
        identity = self._identity
        # Offsets can only be compared within one topic.
        if not self._write():
            return False
        sighting = self._watch.look()
        if sighting.identity != identity:
            return False
        log = sighting.logs.get(partition) or self._watch.logs([partition], self._ends.stop)[partition]
        wanted = self._batch.positions[partition]
        turned = turn(f"{identity.topic}-{partition}", wanted, log.first, log.end, cut)
        self._say(turned.text)
        self._batch.go_on(partition, turned.offset, lost_from=turned.lost_from)
        if not self._write():
            return False
        self._progress.gaps += turned.lost()
        if turned.offset == wanted:
            self._ends.stop.wait(_RETRY_S)
        self._assign(self._assigned, sighting)
        return True

    def _say_gone(self, how: str) -> None:
        """Say that the topic is not there any more, and about how much of it was not read: that cannot come back."""
        unread = sum(self._progress.lag.values())
        lost = f", and with it some {unread:,} messages that had not been read: LOST" if unread else ""
        self._say(f"the topic {self._settings.topic} {how}{lost}")
        self._progress.lag = {}

    def _is_drained(self) -> bool:
        """Tell whether to end because all that was there when the end was asked for is read and written."""
        if not self._drain.asked() or not self._batch.empty():
            return False
        sighting = self._watch.latest()
        if not isinstance(sighting, Sighting) or sighting.identity != self._identity:
            return False
        if self._drain.needs_a_look(sighting):
            self._watch.hurry()
            return False
        return self._drain.done(sighting, self._batch.positions)

    def _trouble(self, text: str, *, place: str = "") -> None:
        _trouble(self._progress, self._say, text, place)


def _trouble(progress: Progress, say: Say, text: str, place: str = "") -> None:
    """Say what stands in the way, once; `place` begins the texts that differ in numbers alone."""
    before, progress.trouble = progress.trouble, text
    progress.last_trouble = (time.time_ns() // 1_000_000, text)
    if before != text and not (place and before.startswith(place)):
        say(f"{text} Reading goes on by itself from where it was.")
