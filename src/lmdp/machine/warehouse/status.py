"""What a warehouse holds and how it fares: the half of `lmdp status` that needs no running pipeline."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import Any

from lmdp.machine.warehouse.totals import Totals, by_reason, moment_of
from lmdp.machine.warehouse.warehouse import Warehouse

_SECONDS_A_DAY = 86_400
_EVIDENCE_S = 3_600  # of growth, before a day is foretold


def standing(warehouse: Warehouse, totals: Totals, running_s: float | None = None) -> dict[str, Any]:
    """Rows, freshness, size, rejects by reason; after `running_s`, in how many days the disk is full at this pace."""
    free = shutil.disk_usage(warehouse.path.absolute().parent).free
    newest = moment_of(totals.newest)
    freshness = (datetime.now(UTC) - newest).total_seconds() if newest else None
    return {
        "warehouse": str(warehouse.path),
        "rows": totals.rows,
        "rejects": totals.rejects.total(),
        "rejectsByReason": by_reason(totals),
        "gaps": totals.gaps,
        "duplicates": totals.duplicates,
        "missing": totals.missing,
        "holes": totals.holes,
        "clock": {"ahead": totals.ahead, "expired": totals.expired},
        "oldest": _text(moment_of(totals.oldest)),
        "newest": _text(newest),
        "freshnessSeconds": round(freshness, 1) if freshness is not None else None,
        "sizeBytes": warehouse.file_bytes(),
        "freeBytes": free,
        "daysLeftOnDisk": _days_left(warehouse, free, running_s),
    }


def _days_left(warehouse: Warehouse, free: int, running_s: float | None) -> float | None:
    """Free bytes over the growth since the run began.

    None before an hour of growth is seen, and where the oldest rows leave before the disk is full.
    """
    grown = warehouse.grown_bytes()
    if running_s is None or running_s < _EVIDENCE_S or grown <= 0:
        return None
    days = free / (grown / running_s * _SECONDS_A_DAY)
    return None if warehouse.keep_days is not None and days > warehouse.keep_days else round(days, 1)


def _text(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None
