"""Maintenance of a run's warehouse in the background: old days removed, LOADS merged, totals counted again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from lmdp.errors import LmdpError, WarehouseReplacedError
from lmdp.machine.warehouse.retention import Removed
from lmdp.machine.warehouse.warehouse import Warehouse

_KEEP_EVERY_S = 3600.0
_KEEP_AGAIN_S = 60.0  # when it could not be done
_COUNT_EVERY_S = 5.0
_SHARE = 10  # counting takes a tenth of the time at most


def maintain(
    warehouse: Warehouse,
    days: int | None,
    stop: threading.Event,
    say: Callable[[str], None],
    first: threading.Event | None = None,
) -> None:
    """Remove what is older than `days` at the start and every hour, and count again what is inexact, until `stop`.

    `first` is set once the removal of the start was tried.
    """
    next_removal, pause = 0.0, 0.0
    while not stop.wait(pause):
        begun = time.monotonic()
        try:
            if begun >= next_removal:
                next_removal = begun + _KEEP_AGAIN_S
                _remove(warehouse, days, stop, say)
                next_removal = begun + _KEEP_EVERY_S
        except WarehouseReplacedError:
            raise
        except LmdpError as error:
            if not stop.is_set():
                say(f"Old days could not be removed: {error} Another try follows in a minute.")
        finally:
            if first is not None:
                first.set()
        begun = time.monotonic()
        if not stop.is_set():
            _count(warehouse)
        pause = max(_COUNT_EVERY_S, _SHARE * (time.monotonic() - begun))


def _remove(warehouse: Warehouse, days: int | None, stop: threading.Event, say: Callable[[str], None]) -> None:
    """Remove old days, and say so. An end between two steps leaves the rest to the next start."""
    in_all = Removed()
    for removed in warehouse.removals(days, datetime.now(UTC)):
        if removed.rows and not in_all.rows:
            say(f"removing rows older than --keep {days}d, some hours at a time; new rows are written meanwhile")
        in_all += removed
        if stop.is_set():
            break
    if in_all.rows or in_all.rejects:
        say(
            f"removed {in_all.rows:,} rows and {in_all.rejects:,} rejects from before {in_all.before:%Y-%m-%d} "
            f"(--keep {days}d)"
        )


def _count(warehouse: Warehouse) -> None:
    try:
        warehouse.tally.exact()
    except LmdpError:  # the file is shut for a moment, say; the next look tries again
        return
