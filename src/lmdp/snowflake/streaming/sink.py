"""Snowflake as a sink of the pipeline: each row once, through one named channel a partition.

A load is taken when Snowflake has accepted its rows; it is durable when the channels' committed tokens are behind it,
some seconds later. No row is kept here meanwhile: what Snowflake loses is read again from Kafka.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from lmdp.errors import (
    ChannelBusyError,
    ChannelInvalidError,
    ChannelTakenError,
    LmdpError,
    PartitionsLostError,
    SettingsError,
    SinkRewoundError,
    UnreachableError,
)
from lmdp.machine.sink import Load, OffsetRange
from lmdp.snowflake.streaming.channel import MAX_CHANNELS, Channel, Channels, InFlight, Status
from lmdp.snowflake.streaming.parallel import in_parallel
from lmdp.snowflake.streaming.requests import Rows, cut
from lmdp.snowflake.streaming.token import Position
from lmdp.support.program import program

_MOST_REOPENS: Final = 5
_UNEXPLAINED: Final = 2  # reopenings without a cause of our own: more of them are another writer's doing
_REMEMBERED_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
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


class Key(NamedTuple):
    """A partition of a topic in a cluster."""

    cluster: str
    topic_id: str
    topic: str
    partition: int

    def channel(self) -> str:
        """Return the name of its channel, in lower case: Snowflake compares names now with case, now without it.

        A recreated topic has another id, so that no token of the old one counts for it.
        """
        return f"lmdp.{_lower(self.cluster)}.{_lower(self.topic_id or self.topic)}.{self.partition}"


def _lower(name: str) -> str:
    """Return an id of Kafka's in hexadecimal digits, any other name with what is not lower case as `~` and its code.

    https://kafka.apache.org/documentation/ (Uuid: 16 bytes in 22 characters of base64)
    """
    if re.fullmatch(r"[A-Za-z0-9_-]{22}", name):
        return base64.urlsafe_b64decode(f"{name}==").hex()
    return re.sub(r"[^a-z0-9_-]", lambda found: f"~{ord(found[0]):x}", name)


def writer_name() -> str:
    """Return this process's name in offset tokens: host, process, and chance, since a container's are alike."""
    return f"{socket.gethostname()[:60]}.{os.getpid()}.{secrets.token_hex(2)}"


@dataclass(slots=True)
class _Partition:
    """State of a partition: its channel, and the next offset of what was taken, and of what is durable.

    `refused`: rows that Snowflake had refused before this process. `reset`: the load whose offset reset was followed.
    """

    channel: Channel
    refused: int
    taken: int = 0
    durable: int = 0
    unexplained: list[float] = field(default_factory=list)
    reset: int = 0


class SnowflakeSink:
    """Writes loads to the channels of one pipe. `encode` makes a JSON object of each row."""

    def __init__(
        self,
        channels: Channels,
        encode: Callable[[Sequence[Any]], list[bytes]],
        name: str,
        *,
        writer: str,
        stop: threading.Event,
        notify: Callable[[str], None],
        limits: Limits = Limits(),
    ) -> None:
        self.name = name
        self.reopened = 0
        self._channels = channels
        self._encode = encode
        self._writer = writer
        self._stop = stop
        self._notify = notify
        self._limits = limits
        self._partitions: dict[Key, _Partition] = {}
        self._looked = 0.0
        self._refused = self._refused_before = 0

    def commit(self, load: Load, *, then: Callable[[int], None]) -> int:
        """Append the rows of `load`, each partition's to its channel, in the order of the offsets."""
        self._wait_for_commits()
        lines = self._encode(load.rows) if len(load.rows) else []
        work = _by_partition(load, lines)
        for key, part in _ranges(load):
            self._follow(self._opened(key), part, load.number)
        rewound: list[Key] = []
        in_parallel([partial(self._deliver, key, rows, rewound) for key, rows in work.items()], self._stop)
        for key, part in _ranges(load):
            if key not in rewound:
                self._partitions[key].taken = part.next
        size = sum(map(len, lines))
        then(size)
        if rewound:
            raise _rewound(*rewound)
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
                flight = known.channel.in_flight
                found[key.partition] = known.durable = flight[0].first.offset if flight else taken[key.partition]
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
                del self._partitions[other]  # the topic was recreated, or the cluster replaced
        in_parallel([partial(self._opened, key) for key in keys], self._stop)
        found = {key.partition: _resume(self._partitions[key]) for key in keys}
        return {partition: offset for partition, offset in found.items() if offset is not None}

    def release(self, partitions: Collection[int] | None) -> None:
        """Forget channels, which another process opens from now on: its rows are behind those of this one."""
        for key in [key for key in self._partitions if partitions is None or key.partition in partitions]:
            known = self._partitions.pop(key)
            self._refused_before += known.channel.status.refused - known.refused

    def epochs(self, cluster: str, topic_id: str, topic: str) -> dict[int, int]:
        """Return the leader epoch of the last row, by partition."""
        keys = ((key, known) for key, known in self._partitions.items() if key[:3] == (cluster, topic_id, topic))
        return {key.partition: known.channel.epoch for key, known in keys}

    def has_other_offsets(self, _topic: str) -> bool:
        """Return False: which topics were read into a pipe is not known."""
        return False

    def refused_rows(self) -> int:
        """Return how many rows Snowflake has refused since the channels were opened."""
        return self._refused_before + sum(
            known.channel.status.refused - known.refused for known in list(self._partitions.values())
        )

    def status(self) -> dict[str, Any]:
        """Return what is known of the channels, from memory alone."""
        channels = [known.channel for known in list(self._partitions.values())]
        return {
            "table": self.name,
            "writer": self._writer,
            "channels": len(channels),
            "rowsInserted": sum(channel.status.inserted for channel in channels),
            "rowsRefused": self.refused_rows(),
            "bytesInFlight": sum(flight.size for channel in channels for flight in list(channel.in_flight)),
            "reopened": self.reopened,
            "lastError": next((channel.status.error for channel in channels if channel.status.error), None),
        }

    def _opened(self, key: Key) -> _Partition:
        known = self._partitions.get(key)
        if known is None:
            channel = self._open(key, None)
            known = self._partitions[key] = _Partition(channel, channel.status.refused)
        return known

    def _open(self, key: Key, before: Channel | None) -> Channel:
        """Open a channel; what is in flight is waited for, at last discarded.

        `before`: the channel as this process had it. Raises ChannelTakenError when another has written to it since.
        """
        ends = time.monotonic() + self._limits.uncommitted_s
        while True:
            if before is not None:
                self._refuse_taken(key, before)
            try:
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

    def _deliver(self, key: Key, rows: Sequence[Rows], rewound: list[Key]) -> None:
        """Append one partition's rows; a channel that is invalid is opened again, and continued where it is."""
        for _ in range(_MOST_REOPENS):
            channel = self._partitions[key].channel
            try:
                for append in cut(rows, channel.position):
                    self._channels.append(channel, append)
            except ChannelInvalidError as error:
                if self._reopen(key, error, Position(rows[0].offset)):
                    rewound.append(key)
                    return
            else:
                return
        raise UnreachableError(f"the channel {key.channel()} was invalid {_MOST_REOPENS} times in a row.")

    def _reopen(self, key: Key, why: ChannelInvalidError, first: Position | None) -> bool:
        """Open a channel again; return whether rows before `first` (None: any) were lost, which Kafka still has."""
        known = self._partitions[key]
        if not why.is_in_doubt and "STALE" in str(why):
            now = time.monotonic()
            known.unexplained = [at for at in known.unexplained if now - at < _REMEMBERED_S] + [now]
            if len(known.unexplained) > (0 if self._limits.shared else _UNEXPLAINED):
                raise self._taken(key, "another writer")
        old = known.channel
        new = self._open(key, old)
        self.reopened += 1
        lost = [flight for flight in old.in_flight if not flight.is_committed(new.status.token)]
        new.epoch = max(new.epoch, old.epoch)
        known.channel = new
        if new.status.token is None:
            new.position = Position(known.durable)  # the channel had expired
        if lost:
            known.taken = known.durable
        return any(first is None or flight.first < first for flight in lost)

    def _look(self) -> None:
        """Ask for the status of the channels that have something in flight."""
        waiting = {key.channel(): key for key, known in self._partitions.items() if known.channel.in_flight}
        try:
            found = self._channels.statuses(list(waiting))
        except (LmdpError, ChannelInvalidError):
            return  # the next append reports it, or the next look finds out
        rewound = [key for name, key in waiting.items() if self._has_lost(key, found.get(name))]
        refused = self.refused_rows()
        if refused > self._refused:
            error = self.status()["lastError"] or "no reason given"
            self._notify(
                f"REFUSED: Snowflake refused {refused - self._refused:,} rows ({error}). Bring them back: "
                f"{program()} snowflake errors FOLDER"
            )
            self._refused = refused
        if rewound:
            raise _rewound(*rewound)

    def _has_lost(self, key: Key, status: Status | None) -> bool:
        """Take a newer status of a channel; return whether it lost rows that have to be read again."""
        channel = self._partitions[key].channel
        why = "Snowflake does not know it any more" if status is None else channel.note(status)
        if not why and channel.in_flight and time.monotonic() - channel.in_flight[0].since > self._limits.stalled_s:
            why = "its rows are not committed"
        return bool(why) and self._reopen(key, ChannelInvalidError(why), None)

    def _wait_for_commits(self) -> None:
        """Wait while too much is in flight. Raises UnreachableError where that lasts."""
        ends = time.monotonic() + self._limits.uncommitted_s
        while (
            size := sum(_size(known.channel.in_flight) for known in self._partitions.values())
        ) > self._limits.in_flight:
            self._look()
            if time.monotonic() > ends or self._stop.wait(self._limits.look_s):
                raise UnreachableError(f"Snowflake has accepted {size:,} bytes of {self.name} and not committed them.")

    def _follow(self, known: _Partition, part: OffsetRange, number: int) -> None:
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


def _resume(known: _Partition) -> int | None:
    """Return the offset at which to read on; None where neither Snowflake nor this process knows one."""
    position = known.channel.position
    return position.offset if position.rows else max(position.offset, known.taken, known.durable) or None


def _size(flights: Collection[InFlight]) -> int:
    return sum(flight.size for flight in flights)


def _rewound(*keys: Key) -> SinkRewoundError:
    names = ", ".join(f"{key.topic}-{key.partition}" for key in keys)
    return SinkRewoundError(
        f"Snowflake lost rows of {names} that it had accepted and not committed: reading them again"
    )
