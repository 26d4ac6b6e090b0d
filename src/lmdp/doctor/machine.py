"""The machine itself: Python, disk space, Java, Kafka's jars."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lmdp.doctor.context import Context
from lmdp.doctor.result import Result, not_tried, ok, refused, wrong
from lmdp.errors import KafkaUnavailableError
from lmdp.support.disk_space import free_bytes
from lmdp.support.program import program

if TYPE_CHECKING:
    from lmdp.machine.embedded_kafka.jars import Jar

LEAST_PYTHON = (3, 11)
LEAST_FREE = 1.0  # GB: an hour of 1,000 devices, and Kafka's segments


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
            f"free space, keep fewer days ({program()} run --keep 7d), or use another disk (--home, LMDP_CACHE)",
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
        return refused(error, f"{program()} run --broker memory, or install Java 17")
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
            f"rm {' '.join(str(path) for path in other[:3])}; then {program()} run downloads and checks them again",
        )
    if missing:
        size = sum(jar.size for jar in wanted if folder / jar.filename in missing)
        return not_tried(
            f"{len(missing)} of {len(wanted)} are not here yet; {program()} run downloads {size / 1e6:.0f} MB"
        )
    return ok(f"Kafka {kafka.KAFKA_VERSION}, {len(wanted)} jars with the pinned SHA-256, {folder}")


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    whole = folder.absolute()
    return next(one for one in (whole, *whole.parents) if one.exists())


def _names(paths: list[Path]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(path.name for path in paths[:3]) + more
