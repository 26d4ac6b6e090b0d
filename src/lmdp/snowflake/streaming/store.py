"""Snowflake as the store of a run: the sink, and its part of status and report."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from lmdp.errors import ChannelInvalidError
from lmdp.machine.metrics import Progress
from lmdp.machine.settings import Notify
from lmdp.machine.store import OpenStore
from lmdp.machine.warehouse.totals import Totals, by_reason
from lmdp.snowflake.streaming.channel import Channels
from lmdp.snowflake.streaming.parallel import in_parallel
from lmdp.snowflake.streaming.session import Session
from lmdp.snowflake.streaming.settings import WriterSettings
from lmdp.snowflake.streaming.sink import SinkLimits, SnowflakeSink, writer_name


@dataclass(slots=True)
class SnowflakeStore:
    """A pipe in Snowflake. What is counted is what this run did: the table is not asked."""

    sink: SnowflakeSink
    name: str
    progress: Progress
    place: str
    warehouse: None = None

    @property
    def rejects(self) -> str:
        """The place of this run's rejects, and Snowflake, for a replay."""
        return f"{shlex.quote(self.place)} --to snowflake"

    @contextlib.contextmanager
    def moment(self) -> Iterator[Totals]:
        """The counts of this run."""
        yield self.count()

    def count(self) -> Totals:
        """Return the rows that Snowflake has inserted through this run's channels, and its rejects and gaps."""
        return Totals(rows=self.sink.inserted_rows(), rejects=self.progress.reasons.copy(), gaps=self.progress.gaps)

    def status(self, totals: Totals, _running_s: float) -> dict[str, Any]:
        """Return what is known here; what only the table knows is null."""
        return {
            "warehouse": self.name,
            "rows": totals.rows,
            "rejects": totals.rejects.total(),
            "rejectsByReason": by_reason(totals),
            "gaps": totals.gaps,
            **_UNKNOWN,
            "missing": self.sink.refused_rows(),
            "oldest": None,
            "newest": None,
            "freshnessSeconds": None,
            "sizeBytes": None,
            "freeBytes": None,
            "daysLeftOnDisk": None,
            "snowflake": {**self.sink.status(), "rejectsIn": self.place},
        }

    def figures(self, _totals: Totals) -> dict[str, Any]:
        """Return the report's part: rows that Snowflake refused are missing in the table, the rest is null."""
        refused = self.sink.refused_rows()
        return {**_UNKNOWN, "missing": refused, "warehouse": self.name, "snowflake": self.sink.status()}

    def check(self) -> None:
        """Do nothing: a channel that was taken is noticed at the next append."""

    def maintain(self, stop: threading.Event, _notify: Notify, first: threading.Event) -> None:
        """Do nothing: Snowflake removes old rows by a task of its own."""
        first.set()
        stop.wait()

    def end_maintenance(self) -> None:
        """Do nothing."""


_UNKNOWN: Final[Mapping[str, Any]] = {
    "duplicates": None,
    "holes": None,
    "clock": {"ahead": None, "expired": None},
}


def opening(settings: WriterSettings, rejects: str, *, shared: bool = False) -> OpenStore:
    """Return what opens the store for a run, whose `rejects` are written to that place, and whose rows are JSON.

    `shared`: others write too; channels are opened only once the group gives partitions, so that key, role and pipe are
    tried before. Opening raises LmdpError.
    """

    @contextlib.contextmanager
    def opened(progress: Progress, stop: threading.Event, notify: Notify) -> Iterator[SnowflakeStore]:
        session, writer = Session(settings.account, stop), writer_name()
        channels = Channels(session, settings.place, writer)
        sink = SnowflakeSink(
            channels,
            settings.name,
            writer=writer,
            stop=stop,
            notify=notify,
            limits=SinkLimits(shared=shared),
        )
        try:
            if shared:
                _try_pipe(channels, stop)
            yield SnowflakeStore(sink, settings.name, progress, rejects)
        finally:
            session.close()

    return opened


def _try_pipe(channels: Channels, stop: threading.Event) -> None:
    """Raise what a wrong key, role or pipe leads to."""
    with contextlib.suppress(ChannelInvalidError):  # then the pipe is there
        in_parallel([partial(channels.statuses, ["lmdp.probe"])], stop)
