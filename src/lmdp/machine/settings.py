"""Settings of the consumer, and the events that end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from lmdp.core.specification import Spec
from lmdp.support.reject_files import RejectPlace

Notify = Callable[[str], None]
"""Shows a text to the operator."""


@dataclass(frozen=True, slots=True)
class ConsumeSettings:
    """Settings of a consumer: what to read, and when a batch is committed.

    `partitions` is None for all. `group` is the consumer group. `cluster` names a cluster that cannot name itself.
    A batch is committed when it holds `batch_rows` rows, or about `batch_bytes` of them as JSON, or is `linger_s` old.
    Its rejects also go to `rejects`, before its rows. `patient`: an unreachable broker is waited for at the start, too.
    `workers` is how many processes transform a backlog; up to 1, it is this one alone.
    `row_spec`: the sink takes a row as a JSON object, with the fields named as here. `shared`: the group divides the
    partitions among the processes that are in it.
    `from_group`: the group's offsets count where they are ahead of the sink's, which has none of messages without rows.
    """

    topic: str
    partitions: tuple[int, ...] | None = None
    group: str = "lmdp"
    cluster: str = ""
    batch_rows: int = 50_000
    batch_bytes: int = 64 * 2**20
    linger_s: float = 0.5
    rejects: RejectPlace | None = None
    patient: bool = False
    workers: int = 0
    from_group: bool = False
    shared: bool = False
    row_spec: Spec | None = None


@dataclass(frozen=True, slots=True)
class StopEvents:
    """End a consumer: `stop` at once; `drain` once everything that the topic had when it was set has been read."""

    stop: Event = field(default_factory=Event)
    drain: Event = field(default_factory=Event)
