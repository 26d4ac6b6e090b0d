"""This machine: Python, settings, disk space, Java, Kafka's jars; the warehouse, the run that has it, and its page."""

from __future__ import annotations

import platform
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from lmdp.doctor.result import NET_S, Context, Result, not_tried, ok, refused, wrong
from lmdp.errors import KafkaUnavailableError, LmdpError, RunNotFoundError
from lmdp.support.disk_space import free_bytes
from lmdp.support.opening import others_may
from lmdp.support.program import at_home, program
from lmdp.support.settings_reader import PREFIXES, unread

if TYPE_CHECKING:
    from lmdp.machine.embedded_kafka.jars import Jar

LEAST_PYTHON = (3, 11)
LEAST_FREE = 1.0  # GB: an hour of 1,000 devices, and Kafka's segments
_TERMINAL = "look at the run's terminal; Ctrl-C there, then start it again: it resumes from the last commit"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this machine's loopback
_NUMBERS = (("duplicates", "duplicate rows"), ("missing", "missing rows"), ("holes", "skipped messages"))
_VERSION = "SELECT max(VERSION) AS V FROM MIGRATIONS"


def python(_context: Context) -> Result:
    """Check Python's version and the operating system."""
    text = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return wrong(f"{text}, older than 3.11", "install Python 3.11 or newer")
    if sys.platform == "win32":
        return wrong(f"{text}: the pipeline needs a POSIX system", "run it under WSL 2, or in a container")
    return ok(text)


def disk(context: Context, least_gb: float = LEAST_FREE) -> Result:
    """Check the free space where the warehouse, the home and the cache of jars are."""
    from lmdp.machine.embedded_kafka.jars import cache_folder  # noqa: PLC0415 - slow to load

    folders = {"home": context.home, "warehouse": context.warehouse.parent, "cache": cache_folder()}
    free = {name: free_bytes(_there(folder)) / 1e9 for name, folder in folders.items()}
    text = "free: " + ", ".join(f"{name} {count:,.1f} GB" for name, count in free.items())
    if min(free.values()) < least_gb:
        return wrong(
            text,
            "free space, keep fewer days (LMDP_KEEP=7d), or use another disk (--home, LMDP_CACHE)",
        )
    return ok(text)


def java(context: Context) -> Result:
    """Find a Java for the embedded Kafka."""
    from lmdp.machine.embedded_kafka.jars import find_java  # noqa: PLC0415 - slow to load

    if context.servers is not None:
        return not_tried("a broker is named, so none is started here")
    try:
        found = find_java()
    except KafkaUnavailableError as error:
        return refused(error, f"{_run(context)} --broker memory, or install Java 17")
    return ok(f"Java {found.major}, {found.path}")


def jars(context: Context, pinned: tuple[Jar, ...] | None = None) -> Result:
    """Check that the cache has all of Kafka's jars, and that they are the `pinned` ones."""
    from lmdp.machine.embedded_kafka import jars as kafka  # noqa: PLC0415 - slow to load

    if context.servers is not None:
        return not_tried("a broker is named, so none is started here")
    wanted, folder = pinned or kafka.pinned(), kafka.cache_folder()
    missing, other = kafka.looked_at(wanted, folder)
    if other:
        return wrong(
            f"{len(other)} of {len(wanted)} jars in {folder} are not the pinned ones: {_names(other)}",
            f"rm {' '.join(str(path) for path in other[:3])}; then {_run(context)} downloads and checks them again",
        )
    if missing:
        size = sum(jar.size for jar in wanted if folder / jar.filename in missing)
        return not_tried(
            f"{len(missing)} of {len(wanted)} are not here yet; {_run(context)} downloads {size / 1e6:.0f} MB"
        )
    return ok(f"Kafka {kafka.KAFKA_VERSION}, {len(wanted)} jars with the pinned SHA-256, {folder}")


def _run(context: Context) -> str:
    return f"{program()} run{at_home(context.home, context.warehouse)}"


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    whole = folder.absolute()
    return next(one for one in (whole, *whole.parents) if one.exists())


def _names(paths: list[Path]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(path.name for path in paths[:3]) + more


def settings_file(context: Context) -> Result:
    """Check the names in the environment and in `.env`, and who can read the file."""
    file = context.env_file
    named = set(dotenv_values(file)) if file.is_file() else set()
    given = {name for name in {*named, *context.env} if name.startswith(PREFIXES)}
    unknown = unread(given)
    if unknown:
        return wrong(
            f"nothing reads {', '.join(unknown)}", f"correct it in {file} or the environment; see .env.example"
        )
    if file.is_file() and "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE" in named and others_may(file.stat().st_mode):
        return wrong(f"{file} holds a passphrase, and others can read it", f"chmod 600 {file}")
    if not given:
        return not_tried("nothing is set; everything has a default for a first look")
    return ok(f"{len(given)} names are set" + (f", {len(named & given)} of them in {file}" if named else ""))


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
            return not_tried(f"none at {context.warehouse} yet; {_run(context)} makes it")
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
        options = at_home(context.home, context.warehouse)
        look = f'{program()} query{options} "select * from loads order by topic, partition"'  # noqa: S608 - a command to paste
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
        return wrong(
            f"{text}: {' '.join(running['trouble'].split())}", f"{program()} status{at_home(context.home)} --watch"
        )
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
        _DIRECT.open(f"{url}/api", timeout=NET_S).close()
    except urllib.error.HTTPError as answer:  # it refuses whoever has no token, and so it answers
        with answer:
            return ok(url) if answer.code == 403 else wrong(f"{url} answers {answer}", "look at the run's terminal")
    except OSError as error:
        return wrong(f"{url} does not answer: {getattr(error, 'reason', error)}", "look at the run's terminal")
    return ok(url)
