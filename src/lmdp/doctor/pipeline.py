"""The pipeline on this machine: its warehouse, the run that holds it, and its page."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

from lmdp.doctor.context import NET_S, Context
from lmdp.doctor.result import Result, not_tried, ok, refused, wrong
from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.support.program import program

_TERMINAL = f"look at the run's terminal; Ctrl-C there, then {program()} run: it resumes from the last commit"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this machine's loopback
_NUMBERS = (("duplicates", "duplicate rows"), ("missing", "missing rows"), ("holes", "skipped messages"))
_VERSION = "SELECT max(VERSION) AS V FROM MIGRATIONS"


def warehouse(context: Context) -> Result:
    """Check what the file holds: query the run that has it open, else the file itself."""
    from lmdp.machine.api import client  # noqa: PLC0415 - DuckDB is loaded when needed
    from lmdp.machine.api.protocol import Query  # noqa: PLC0415 - as above
    from lmdp.machine.warehouse.totals import warehouse_status  # noqa: PLC0415 - as above
    from lmdp.machine.warehouse.warehouse import Warehouse  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    try:
        held = _held_by_run(context)
        version = client.query_run(context.home, Query(_VERSION, timeout_seconds=NET_S)).table
        by = f", open in the run with pid {held['running']['pid']}"
    except RunNotFoundError:
        if not context.warehouse.exists():
            return not_tried(f"none at {context.warehouse} yet; {program()} run makes it")
        try:
            with Warehouse.open(context.warehouse, configured_spec(), read_only=True) as opened:
                held, version = warehouse_status(opened, opened.tally.count()), opened.query(_VERSION).table
                by = ", not open elsewhere"
        except LmdpError as error:
            return refused(error, "stop what has the file, upgrade lmdp, or name another file: --warehouse")
    except LmdpError as error:
        return refused(error, _TERMINAL)
    text = (
        f"{held['warehouse']}: {held['rows']:,} rows, {held['rejects']:,} rejects, {held['sizeBytes'] / 1e6:,.1f} MB, "
        f"tables of version {version.column('V')[0].as_py()}{by}"
    )
    lost = f"; {held['gaps']:,} messages lost to retention" if held["gaps"] else ""
    numbers = ", ".join(f"{held[name]:,} {what}" for name, what in _NUMBERS if held[name])
    if numbers:
        look = f'{program()} query "select * from loads order by topic, partition"'  # noqa: S608 - a command to paste
        return wrong(f"{text}; {numbers}{lost}", look)
    return ok(f"{text}, no duplicates, none missing, no holes{lost}")


def _held_by_run(context: Context) -> dict[str, Any]:
    """Return the status of the run that has this file open. Raises RunNotFoundError."""
    from lmdp.machine.api import client  # noqa: PLC0415 - as above

    held = client.status(context.home)
    if Path(held["warehouse"]).resolve() != context.warehouse.resolve():
        raise RunNotFoundError
    return held


def run(context: Context) -> Result:
    """Check whether `lmdp run` is running, and whether it is blocked."""
    from lmdp.machine.api import client  # noqa: PLC0415 - as above

    try:
        running = client.status(context.home)["running"]
    except RunNotFoundError:
        return not_tried(f"no run is running under {context.home}")
    except LmdpError as error:
        return refused(error, _TERMINAL)
    text = (
        f"pid {running['pid']} for {running['uptimeSeconds']:,.0f} s, {running['rowsPerSecond']:,} rows/s, "
        f"{running['lag']:,} messages behind"
    )
    if running["trouble"]:
        return wrong(f"{text}: {' '.join(running['trouble'].split())}", f"{program()} status --watch")
    return ok(text)


def page(context: Context) -> Result:
    """Check that the run's page answers."""
    from lmdp.machine.api import client  # noqa: PLC0415 - as above

    try:
        url = client.status(context.home)["running"].get("page")
    except (RunNotFoundError, LmdpError):
        return not_tried("no run answers")
    if not url:
        return not_tried("this run has none (--no-page, or it is still starting)")
    try:
        with _DIRECT.open(f"{url}/api", timeout=NET_S) as answer:
            answer.read()
    except OSError as error:
        return wrong(f"{url} does not answer: {getattr(error, 'reason', error)}", "look at the run's terminal")
    return ok(url)
