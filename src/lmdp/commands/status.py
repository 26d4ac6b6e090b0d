"""`lmdp status`: what is running on this machine, and where it stands."""

import json
from typing import Any

from lmdp.commands.options import DEFAULT_HOME, Home, Json, WarehouseFile, warehouse_file


def status(*, warehouse: WarehouseFile = None, home: Home = DEFAULT_HOME, as_json: Json = False) -> None:
    """Say what is running and where it stands: lag, rows a second, freshness, size, rejects by reason.

    Without a run, it says what the warehouse holds.

    Example: lmdp status --json
    """
    from lmdp.local import client  # noqa: PLC0415 - DuckDB is loaded when needed
    from lmdp.local.standing import standing  # noqa: PLC0415 - as above
    from lmdp.local.warehouse import Warehouse  # noqa: PLC0415 - as above
    from lmdp.spec_loader import load_spec  # noqa: PLC0415 - as above

    try:
        found = client.status(home)
    except client.Away:
        with Warehouse.open(warehouse_file(warehouse, home), load_spec(), read_only=True) as opened:
            found = {"running": None, **standing(opened)}
    print(json.dumps(found) if as_json else "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    running = found["running"]
    lines = ["not running; `lmdp run` starts it"] if running is None else _running(running)
    lines += [
        f"warehouse   {found['warehouse']}: {found['sizeBytes'] / 1e6:,.1f} MB, {found['freeBytes'] / 1e9:,.1f} GB free"
        + (f", full in {found['daysLeftOnDisk']:,} days" if found["daysLeftOnDisk"] is not None else ""),
        f"rows        {found['rows']:,}"
        + (f", the newest measured {found['freshnessSeconds']:,} s ago" if found["newest"] else ""),
        f"rejects     {found['rejects']:,}",
    ]
    return lines + [f"            {count:,} {reason}" for reason, count in found["rejectsByReason"].items()]


def _running(running: dict[str, Any]) -> list[str]:
    lines = [
        f"running     pid {running['pid']} for {running['uptimeSeconds']:,} s",
        f"source      {running['topic']} at {running['broker']}"
        + (" (with simulated devices)" if running["simulating"] else ""),
        f"pace        {running['rowsPerSecond']:,} rows/s, {running['lag']:,} messages behind",
    ]
    if running["gaps"]:
        lines.append(f"LOST        {running['gaps']:,} messages had passed the topic's retention")
    if running["trouble"]:
        lines.append(f"trouble     {running['trouble']}")
    return lines
