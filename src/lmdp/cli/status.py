"""`lmdp status`: what is running on this machine, and its state."""

import contextlib
import json
import sys
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console

from lmdp.cli.live import EVERY_S, Screen, lines, opened, view
from lmdp.cli.options import DEFAULT_HOME, Home, Json, WarehouseFile, option, warehouse_file
from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.support.signals import stopped_by_signals

Status = dict[str, Any]


def status(
    *,
    warehouse: WarehouseFile = None,
    home: Home = DEFAULT_HOME,
    watch: Annotated[bool, option("--watch", "Refresh every two seconds, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show the pipeline's status: path, lag, rows per second, freshness, size, rejects by reason.

    Without a run, it shows what the warehouse holds. --watch continues after the run has ended, until its next start.

    Example: lmdp status --json
    """
    path = warehouse_file(warehouse, home)
    if watch:
        _watch(home, path, as_json=as_json)
        return
    found = _look(home, path, None)
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(lines(opened(found, home) if sys.stdout.isatty() else found, home=home)))


def _look(home: Path, path: Path, last: Status | None) -> Status:
    """Return the status from the run, else from the file, else the `last` one. Raises LmdpError."""
    from lmdp.machine.api import client  # noqa: PLC0415 - DuckDB is loaded when needed
    from lmdp.machine.warehouse.totals import warehouse_status  # noqa: PLC0415 - as above
    from lmdp.machine.warehouse.warehouse import Warehouse  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    try:
        return client.status(home)
    except RunNotFoundError:
        if last is not None:  # opening the file again and again would keep a run from starting
            return {**last, "running": None, "freshnessSeconds": _age(last["newest"])}
        with Warehouse.open(path, configured_spec(), read_only=True) as opened:
            return {"running": None, **warehouse_status(opened, opened.tally.exact())}


def _age(newest: str | None) -> float | None:
    return round((datetime.now(UTC) - datetime.fromisoformat(newest)).total_seconds(), 1) if newest else None


def _watch(home: Path, path: Path, *, as_json: bool) -> None:
    """Show the status until a signal; what fails is shown, and tried again."""
    console = Console()
    stop, last = threading.Event(), None
    screen = Screen(console, transient=False) if console.is_terminal and not as_json else None
    with stopped_by_signals(stop), screen or contextlib.nullcontext():
        while not stop.is_set():
            fault = ""
            try:
                last = _look(home, path, last)
            except LmdpError as error:
                fault = str(error)
            if screen:
                shown = partial(view, opened(last, home) if last else None, fault, home=home)
                screen.show(shown)
            elif as_json:
                found = last or {"running": None}
                print(json.dumps({**found, "fault": fault} if fault else found), flush=True)
            else:
                print("\n".join([*lines(last, fault, home=home), ""]), flush=True)
            stop.wait(EVERY_S)
