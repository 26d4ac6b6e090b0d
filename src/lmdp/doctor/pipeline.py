"""The pipeline on this machine: its warehouse, the run that holds it, and its page."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

from lmdp.doctor.context import NET_S, Place
from lmdp.doctor.result import Verdict, not_tried, ok, refused, wrong
from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.support.program import program

_TERMINAL = f"look at the run's terminal; Ctrl-C there, then {program()} run: it goes on where it was"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this machine's loopback
_NUMBERS = (("duplicates", "duplicate rows"), ("missing", "missing rows"), ("holes", "skipped messages"))
_VERSION = "SELECT max(VERSION) AS V FROM MIGRATIONS"


def warehouse(place: Place) -> Verdict:
    """What the file holds: asked of the run that has it, else of the file itself."""
    from lmdp.machine.api import client  # noqa: PLC0415 - DuckDB is loaded when needed
    from lmdp.machine.api.protocol import Query  # noqa: PLC0415 - as above
    from lmdp.machine.warehouse.totals import warehouse_status  # noqa: PLC0415 - as above
    from lmdp.machine.warehouse.warehouse import Warehouse  # noqa: PLC0415 - as above
    from lmdp.support.specification_file import configured_spec  # noqa: PLC0415 - as above

    try:
        held = _held_by_run(place)
        version = client.query_run(place.home, Query(_VERSION, timeout_seconds=NET_S)).table
        by = f", held by the run with pid {held['running']['pid']}"
    except RunNotFoundError:
        if not place.warehouse.exists():
            return not_tried(f"none at {place.warehouse} yet; {program()} run makes it")
        try:
            with Warehouse.open(place.warehouse, configured_spec(), read_only=True) as opened:
                held, version = warehouse_status(opened, opened.tally.count()), opened.query(_VERSION).table
                by = ", held by nobody"
        except LmdpError as error:
            return refused(error, "stop what has the file, upgrade lmdp, or name another file: --warehouse")
    except LmdpError as error:
        return refused(error, _TERMINAL)
    told = (
        f"{held['warehouse']}: {held['rows']:,} rows, {held['rejects']:,} rejects, {held['sizeBytes'] / 1e6:,.1f} MB, "
        f"tables of version {version.column('V')[0].as_py()}{by}"
    )
    lost = f"; {held['gaps']:,} messages lost to retention" if held["gaps"] else ""
    numbers = ", ".join(f"{held[name]:,} {what}" for name, what in _NUMBERS if held[name])
    if numbers:
        look = f'{program()} query "select * from loads order by topic, partition"'  # noqa: S608 - a command to paste
        return wrong(f"{told}; {numbers}{lost}", look)
    return ok(f"{told}, no duplicates, none missing, no holes{lost}")


def _held_by_run(place: Place) -> dict[str, Any]:
    """The status of the run that has this very file. Raises RunNotFoundError."""
    from lmdp.machine.api import client  # noqa: PLC0415 - as above

    held = client.status(place.home)
    if Path(held["warehouse"]).resolve() != place.warehouse.resolve():
        raise RunNotFoundError
    return held


def run(place: Place) -> Verdict:
    """Whether `lmdp run` is at work, and whether something stands in its way."""
    from lmdp.machine.api import client  # noqa: PLC0415 - as above

    try:
        running = client.status(place.home)["running"]
    except RunNotFoundError:
        return not_tried(f"no run is at work under {place.home}")
    except LmdpError as error:
        return refused(error, _TERMINAL)
    told = (
        f"pid {running['pid']} for {running['uptimeSeconds']:,.0f} s, {running['rowsPerSecond']:,} rows/s, "
        f"{running['lag']:,} messages behind"
    )
    if running["trouble"]:
        return wrong(f"{told}: {' '.join(running['trouble'].split())}", f"{program()} status --watch")
    return ok(told)


def page(place: Place) -> Verdict:
    """Whether the run's page answers."""
    from lmdp.machine.api import client  # noqa: PLC0415 - as above

    try:
        url = client.status(place.home)["running"].get("page")
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
