"""Snowflake as a sink of the pipeline: each row once, through one named channel a partition.

A load is taken when Snowflake has accepted its rows; it is durable when the channels' committed tokens are behind it,
some seconds later. No row is kept here meanwhile: what Snowflake loses is read again from Kafka.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from lmdp.errors import (
    ChannelBusyError,
    ChannelInvalidError,
    ChannelTakenError,
    LmdpError,
    PartitionsLostError,
    SettingsError,
    SinkRewoundError,
    SinkTakenError,
    UnreachableError,
)
from lmdp.machine.offsets import OffsetRange
from lmdp.machine.sink import Load
from lmdp.snowflake.streaming.channel import MAX_CHANNELS, Channel, Channels, InFlight, Status
from lmdp.snowflake.streaming.parallel import in_parallel
from lmdp.snowflake.streaming.partition import Key, Partition
from lmdp.snowflake.streaming.requests import Rows, cut
from lmdp.snowflake.streaming.token import Position
from lmdp.support.program import program

_MOST_REOPENS: Final = 5
_UNEXPLAINED: Final = 2  # reopenings without a cause of our own: more of them are another writer's doing
_REMEMBERED_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class SinkLimits:
    """Limits of a sink: how often it asks what is committed, how long it waits for that, and how much may be open.

    `uncommitted_s`: before what somebody has in flight is discarded (others saw half a minute after a crash).
    `stalled_s`: before rows that are never committed are read again. `in_flight`: bytes that are accepted and not
    committed, beyond which nothing is sent; at most so much is read again. `shared`: a consumer group says whose a
    partition is, so that a run that was fenced gives its partitions up.
    """

    look_s: float = 1.0
    uncommitted_s: float = 60.0
    stalled_s: float = 300.0
    in_flight: int = 256 * 2**20
    shared: bool = False


def writer_name() -> str:
    """Return this process's name in offset tokens: host, process, and chance, since a container's are alike."""
    return f"{socket.gethostname()[:60]}.{os.getpid()}.{secrets.token_hex(2)}"


class SnowflakeSink:
    """Writes loads to the channels of one pipe; their rows are JSON objects, as bytes."""

    def __init__(
        self,
        channels: Channels,
        name: str,
        *,
        writer: str,
        stop: threading.Event,
        notify: Callable[[str], None],
        limits: SinkLimits = SinkLimits(),
    ) -> None:
        self.name = name
        self.reopened = 0
        self._channels = channels
        self._writer = writer
        self._stop = stop
        self._notify = notify
        self._limits = limits
        self._partitions: dict[Key, Partition] = {}
        self._looked = 0.0
        self._unanswered = ""  # why Snowflake does not say what is committed
        self._refused = 0  # reported so far
        self._released = Counter[str]()

    def commit(self, load: Load, *, then: Callable[[int], None]) -> int:
        """Append the rows of `load`, each partition's to its channel, in the order of the offsets."""
        self._refuse_lost()
        self._wait_for_commits()
        lines = cast("Sequence[bytes]", load.rows)
        work = _by_partition(load, lines)
        for key, part in _ranges(load):
            self._follow(self._opened(key), part, load.number)
        undelivered = set(work)
        self._in_parallel([partial(self._deliver, key, rows, undelivered) for key, rows in work.items()])
        for key, part in _ranges(load):
            if key not in undelivered:
                self._partitions[key].taken = part.next
        size = sum(map(len, lines))
        then(size)
        self._refuse_lost()
        return size

    def durable(self, taken: Mapping[int, int]) -> Mapping[int, int]:
        """Return how far each partition is committed, asked at most once a second."""
        if time.monotonic() - self._looked >= self._limits.look_s and any(
            one.channel.in_flight for one in self._partitions.values()
        ):
            self._looked = time.monotonic()
            self._look()
        found = {}
        for key, known in self._partitions.items():
            if key.partition in taken:
                uncommitted = [flight.first.offset for flight in list(known.channel.in_flight)[:1]]
                found[key.partition] = known.durable = min([taken[key.partition], *uncommitted])
        return {**taken, **found}

    def offsets(self, cluster: str, topic_id: str, topic: str, partitions: Collection[int] = ()) -> dict[int, int]:
        """Open the channels of `partitions` that are not open, and return the offset behind what each has."""
        if len(partitions) > MAX_CHANNELS:
            raise SettingsError(
                f"{topic} has {len(partitions):,} partitions, and a pipe {MAX_CHANNELS:,} channels. Divide them over "
                "several pipes: --partitions, and SNOWFLAKE_PIPE for each."
            )
        keys = [Key(cluster, topic_id, topic, partition) for partition in partitions]
        for other in self._partitions.keys() - set(keys):
            if other.topic == topic and other.partition in partitions:
                self._forget(other)  # the topic was recreated, or the cluster replaced
        in_parallel([partial(self._opened, key) for key in keys], self._stop)
        found = {}
        for key in keys:
            known = self._partitions[key]
            known.lost = False
            if known.taken or known.channel.position.rows:  # else neither Snowflake nor this process knows an offset
                found[key.partition] = known.taken
        return found

    def release(self, partitions: Collection[int] | None) -> None:
        """Forget channels, which another process opens from now on: its rows are behind those of this one."""
        for key in [key for key in self._partitions if partitions is None or key.partition in partitions]:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        known = self._partitions.pop(key)
        self._released.update(known.counts())

    def epochs(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """Return the leader epoch of the last row, by partition."""
        keys = ((key, known) for key, known in self._partitions.items() if key[:3] == (cluster, topic_id, topic))
        return {key.partition: known.channel.epoch for key, known in keys}

    def has_other_offsets(self, _topic: str) -> bool:
        """Return False: which topics were read into a pipe is not known."""
        return False

    def inserted_rows(self) -> int:
        """Return how many rows Snowflake has inserted through the channels since they were opened here."""
        return self._count()["inserted"]

    def refused_rows(self) -> int:
        """Return how many rows Snowflake has refused since the channels were opened here."""
        return self._count()["refused"]

    def _count(self) -> Counter[str]:
        return sum(map(Partition.counts, list(self._partitions.values())), self._released)

    def status(self) -> dict[str, Any]:
        """Return what is known of the channels, from memory alone."""
        channels = [known.channel for known in list(self._partitions.values())]
        return {
            "table": self.name,
            "writer": self._writer,
            "channels": len(channels),
            "rowsInserted": self.inserted_rows(),
            "rowsRefused": self.refused_rows(),
            "bytesInFlight": sum(flight.size for channel in channels for flight in list(channel.in_flight)),
            "reopened": self.reopened,
            "lastError": next((channel.status.error for channel in channels if channel.status.error), None),
        }

    def _opened(self, key: Key) -> Partition:
        known = self._partitions.get(key)
        if known is None:
            channel = self._open(key, None)
            offset = channel.position.offset
            known = self._partitions[key] = Partition(channel, channel.status, offset, offset)
        return known

    def _open(self, key: Key, before: Channel | None) -> Channel:
        """Open a channel; what is in flight is waited for, at last discarded.

        `before`: the channel as this process had it. Raises ChannelTakenError when another has written to it since.
        """
        ends = time.monotonic() + self._limits.uncommitted_s
        while True:
            try:
                if before is not None:
                    self._refuse_taken(key, before)
                return self._channels.open(key.channel(), discard=time.monotonic() >= ends)
            except ChannelBusyError as error:
                if self._stop.wait(self._limits.look_s):
                    raise UnreachableError(str(error)) from error
            except ChannelInvalidError as error:
                raise UnreachableError(f"the channel {key.channel()} cannot be opened: {error}") from error

    def _refuse_taken(self, key: Key, before: Channel) -> None:
        status = self._channels.statuses([key.channel()]).get(key.channel())
        token, last = status.token if status else None, before.status.token
        if token is not None and token.writer not in ("", self._writer) and token != last:
            raise self._taken(key, f"the writer {token.writer}")

    def _taken(self, key: Key, other: str) -> ChannelTakenError | PartitionsLostError:
        if self._limits.shared:
            return PartitionsLostError(f"{key.topic}-{key.partition} is {other}'s now: joining the group again")
        return ChannelTakenError(
            f"{key.topic}-{key.partition}: {other} writes to the channel {key.channel()} of {self.name} now, and "
            f"this run ({self._writer}) stops: two writers of a partition would fight over it. No row is lost or there "
            "twice. Stop one of them, or divide the partitions: --partitions."
        )

    def _in_parallel(self, calls: Sequence[Callable[[], object]]) -> None:
        """Make calls at a time. Where rows were lost, an error that will come again may not hide that."""
        try:
            in_parallel(calls, self._stop)
        except SinkTakenError:
            raise
        except LmdpError:
            if not self._lost():
                raise

    def _lost(self) -> list[Key]:
        return [key for key, known in self._partitions.items() if known.lost]

    def _refuse_lost(self) -> None:
        """Raise SinkRewoundError until what was lost is about to be read again."""
        if keys := self._lost():
            names = ", ".join(f"{key.topic}-{key.partition}" for key in keys)
            raise SinkRewoundError(
                f"Snowflake lost rows of {names} that it had accepted and not committed: reading them again"
            )

    def _deliver(self, key: Key, rows: Sequence[Rows], undelivered: set[Key]) -> None:
        """Append one partition's rows; a channel that is invalid is opened again, and continued where it is."""
        for _ in range(_MOST_REOPENS):
            channel = self._partitions[key].channel
            try:
                for append in cut(rows, channel.position):
                    self._channels.append(channel, append)
            except ChannelInvalidError as error:
                self._reopen(key, error, Position(rows[0].offset))
                if self._partitions[key].lost:
                    return
            else:
                undelivered.discard(key)
                return
        raise UnreachableError(f"the channel {key.channel()} was invalid {_MOST_REOPENS} times in a row.")

    def _reopen(self, key: Key, why: ChannelInvalidError, first: Position | None) -> None:
        """Open a channel again; note whether rows before `first` (None: any) were lost, which Kafka still has."""
        known, now = self._partitions[key], time.monotonic()
        is_unexplained = not why.is_in_doubt and "STALE" in str(why)
        known.unexplained = [at for at in known.unexplained if now - at < _REMEMBERED_S]
        if is_unexplained and len(known.unexplained) >= (0 if self._limits.shared else _UNEXPLAINED):
            raise self._taken(key, "another writer")
        old = known.channel
        new = self._open(key, old)
        if is_unexplained:  # not before: while it cannot be opened, one cause is seen again and again
            known.unexplained.append(now)
        self.reopened += 1
        lost = [flight for flight in old.in_flight if not flight.is_committed(new.status.token)]
        new.position = known.continued(new, lost)
        new.epoch = max(new.epoch, old.epoch)
        if new.status.token is None:  # its counts begin again, too
            self._released.update(known.counts())
            known.before = new.status
        known.channel = new
        if any(first is None or flight.first < first for flight in lost):
            known.taken = min(flight.first.offset for flight in lost)
            known.lost = True

    def _look(self) -> None:
        """Ask for the status of the channels that have something in flight."""
        waiting = {key.channel(): key for key, known in self._partitions.items() if known.channel.in_flight}
        found: dict[str, Status] = {}
        try:  # in a thread: the end of a run waits for no dead connection
            in_parallel([lambda: found.update(self._channels.statuses(list(waiting)))], self._stop)
        except (LmdpError, ChannelInvalidError) as error:
            self._unanswered = f"Snowflake does not say what is committed: {error}"
            if any(self._is_stalled(self._partitions[key].channel) for key in waiting.values()):
                raise UnreachableError(self._unanswered) from error
            return  # the next append reports it, or the next look finds out
        self._unanswered = ""
        invalid = {key: why for name, key in waiting.items() if (why := self._fault(key, found.get(name)))}
        self._in_parallel([partial(self._reopen, key, ChannelInvalidError(why), None) for key, why in invalid.items()])
        refused = self.refused_rows()
        if refused > self._refused:
            reason = self.status()["lastError"] or "no reason given"
            self._notify(
                f"REFUSED: Snowflake refused {refused - self._refused:,} rows ({reason}). Bring them back: "
                f"{program()} snowflake errors FOLDER"
            )
            self._refused = refused
        self._refuse_lost()

    def _fault(self, key: Key, status: Status | None) -> str:
        """Take a newer status of a channel; return why it has to be opened again, if it has."""
        channel = self._partitions[key].channel
        why = "Snowflake does not know it any more" if status is None else channel.note(status)
        return why or ("its rows are not committed" if self._is_stalled(channel) else "")

    def _is_stalled(self, channel: Channel) -> bool:
        """Return whether rows have waited for their commit for too long."""
        in_flight = channel.in_flight
        return bool(in_flight) and time.monotonic() - in_flight[0].since > self._limits.stalled_s

    def _wait_for_commits(self) -> None:
        """Wait while too much is in flight. Raises UnreachableError where that lasts."""
        ends = time.monotonic() + self._limits.uncommitted_s
        while (
            size := sum(_size(known.channel.in_flight) for known in self._partitions.values())
        ) > self._limits.in_flight:
            self._look()
            if time.monotonic() > ends or self._stop.wait(self._limits.look_s):
                why = self._unanswered or "It has not committed them."
                raise UnreachableError(f"Snowflake has accepted {size:,} bytes of {self.name}. {why}")

    def _follow(self, known: Partition, part: OffsetRange, number: int) -> None:
        """Follow epochs, and offsets that went back: a broker that lost its newest messages gives them to others."""
        channel = known.channel
        if part.first == part.next and known.reset != number:
            known.reset = number
            channel.position = min(channel.position, Position(part.first))
        channel.epoch = max(channel.epoch, part.epoch)


def _ranges(load: Load) -> list[tuple[Key, OffsetRange]]:
    return [(Key(part.cluster, part.topic_id, part.topic, part.partition), part) for part in load.ranges]


def _by_partition(load: Load, lines: Sequence[bytes]) -> dict[Key, list[Rows]]:
    """Return the messages that have rows, by partition."""
    topic = {part.partition: key for key, part in _ranges(load)}
    found: defaultdict[Key, list[Rows]] = defaultdict(list)
    begin = 0
    for partition, offset, end in load.messages:
        if end > begin:
            found[topic[partition]].append(Rows(offset, lines[begin:end]))
        begin = end
    return found


def _size(flights: Collection[InFlight]) -> int:
    return sum(flight.size for flight in flights)
