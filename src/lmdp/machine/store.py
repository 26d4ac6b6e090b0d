"""Store of a run: the sink that its rows go to, and what is known of what is in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lmdp.machine.warehouse.maintenance import maintain
from lmdp.machine.warehouse.totals import Totals, warehouse_status
from lmdp.machine.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lmdp.machine.metrics import Progress
    from lmdp.machine.settings import Notify
    from lmdp.machine.sink import Sink

OpenStore = Callable[["Progress", threading.Event, "Notify"], "AbstractContextManager[Store]"]
"""Opens a store for a run, given its progress, its end, and what shows a text to the operator."""


class Store(Protocol):
    """A run's view of the store of its rows."""

    @property
    def name(self) -> str:
        """The store's name in the report: a file's path, or an address."""

    @property
    def sink(self) -> Sink:
        """The sink of the pipeline."""

    @property
    def rejects(self) -> str:
        """Return the source that `lmdp replay` has to be given for this run's rejects."""

    @property
    def warehouse(self) -> Warehouse | None:
        """The file that can be queried here; None where the rows are elsewhere."""

    def moment(self) -> AbstractContextManager[Totals]:
        """The totals as last counted; no commit is noted in the block."""

    def count(self) -> Totals:
        """Count the totals."""

    def status(self, totals: Totals, running_s: float) -> dict[str, Any]:
        """Return what `lmdp status` shows of it."""

    def figures(self, totals: Totals) -> dict[str, Any]:
        """Return what a report has of it."""

    def check(self) -> None:
        """Raise SinkTakenError when it is no longer this run's."""

    def maintain(self, stop: threading.Event, notify: Notify, first: threading.Event) -> None:
        """Look after it until `stop`; set `first` once what even a short run owes it is done."""

    def end_maintenance(self) -> None:
        """End the step that is under way."""


@dataclass(frozen=True, slots=True)
class WarehouseStore:
    """A DuckDB file: `keep_days` is how long its rows are kept."""

    warehouse: Warehouse
    keep_days: int | None

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.warehouse.path)

    @property
    def rejects(self) -> str:
        """Its own table."""
        return "warehouse"

    @property
    def sink(self) -> Sink:
        """The warehouse itself."""
        return self.warehouse

    def moment(self) -> AbstractContextManager[Totals]:
        """The totals as last counted."""
        return self.warehouse.tally.moment()

    def count(self) -> Totals:
        """Count the totals."""
        return self.warehouse.tally.count()

    def status(self, totals: Totals, running_s: float) -> dict[str, Any]:
        """Return rows, freshness, size, rejects by reason."""
        return warehouse_status(self.warehouse, totals, running_s)

    def figures(self, totals: Totals) -> dict[str, Any]:
        """Return what compares LOADS with the rows."""
        return {
            "duplicates": totals.duplicates,
            "missing": totals.missing,
            "holes": totals.holes,
            "clock": self.warehouse.tally.clock(),
            "warehouse": self.name,
        }

    def check(self) -> None:
        """Compare the open file with the one at its path."""
        self.warehouse.check_file()

    def maintain(self, stop: threading.Event, notify: Notify, first: threading.Event) -> None:
        """Remove old days."""
        maintain(self.warehouse, self.keep_days, stop, notify, first)

    def end_maintenance(self) -> None:
        """Interrupt a removal; nothing of its step is written then."""
        self.warehouse.end_removal()
