"""What a warehouse holds and how it fares: the half of `lmdp status` that needs no running pipeline."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import Any

from lmdp.local.warehouse import Warehouse

_SECONDS_A_DAY = 86_400


def standing(warehouse: Warehouse, running_s: float | None = None) -> dict[str, Any]:
    """Rows, freshness, size, rejects by reason; after `running_s`, in how many days the disk is full at this pace."""
    counts = warehouse.counts()
    free = shutil.disk_usage(warehouse.path.absolute().parent).free
    freshness = (datetime.now(UTC) - counts.newest).total_seconds() if counts.newest else None
    return {
        "warehouse": str(warehouse.path),
        "rows": counts.rows,
        "rejects": counts.rejects,
        "rejectsByReason": warehouse.rejects_by_reason(),
        "gaps": warehouse.gaps(),
        "oldest": counts.oldest.isoformat() if counts.oldest else None,
        "newest": counts.newest.isoformat() if counts.newest else None,
        "freshnessSeconds": round(freshness, 1) if freshness is not None else None,
        "sizeBytes": counts.file_bytes,
        "freeBytes": free,
        "daysLeftOnDisk": _days_left(warehouse, free, running_s),
    }


def _days_left(warehouse: Warehouse, free: int, running_s: float | None) -> float | None:
    """Free bytes over the growth since the run began; None before a minute of growth is seen."""
    grown = warehouse.grown_bytes()
    if running_s is None or running_s < 60 or grown <= 0:
        return None
    return round(free / (grown / running_s * _SECONDS_A_DAY), 1)
