"""The machine itself: Python, room on its disks, Java, Kafka's jars."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from lmdp.doctor.context import Place
from lmdp.doctor.result import Verdict, not_tried, ok, refused, wrong
from lmdp.errors import KafkaUnavailableError
from lmdp.support.disk_space import free_bytes
from lmdp.support.program import program

LEAST_PYTHON = (3, 11)
LEAST_FREE = 1.0  # GB: an hour of 1,000 devices, and Kafka's segments beside it


def python(_place: Place) -> Verdict:
    """Python's version, and a system that the pipeline runs on."""
    told = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return wrong(f"{told}, older than 3.11", "install Python 3.11 or newer")
    if sys.platform == "win32":
        return wrong(f"{told}: the pipeline needs a POSIX system", "run it under WSL 2, or in a container")
    return ok(told)


def disk(place: Place) -> Verdict:
    """Room where the warehouse, the home and the cache of jars are."""
    from lmdp.machine.embedded_kafka.jars import cache_folder  # noqa: PLC0415 - slow to load

    folders = {"home": place.home, "warehouse": place.warehouse.parent, "cache": cache_folder()}
    free = {name: free_bytes(_there(folder)) / 1e9 for name, folder in folders.items()}
    told = "free: " + ", ".join(f"{name} {count:,.1f} GB" for name, count in free.items())
    if min(free.values()) < LEAST_FREE:
        return wrong(
            told, f"make room, keep fewer days ({program()} run --keep 7d), or take another disk: --home, LMDP_CACHE"
        )
    return ok(told)


def java(place: Place) -> Verdict:
    """A Java for the embedded Kafka."""
    from lmdp.machine.embedded_kafka.java import find_java  # noqa: PLC0415 - slow to load

    if place.servers is not None:
        return not_tried("a broker is named, so none is started here")
    try:
        found = find_java()
    except KafkaUnavailableError as error:
        return refused(error, f"{program()} run --broker memory, or install Java 17")
    return ok(f"Java {found.major}, {found.path}")


def jars(place: Place) -> Verdict:
    """Kafka's jars in the cache: all of them, and the pinned ones."""
    from lmdp.machine.embedded_kafka.jars import KAFKA_VERSION, cache_folder, looked_at, pinned  # noqa: PLC0415 - slow to load

    if place.servers is not None:
        return not_tried("a broker is named, so none is started here")
    wanted, folder = pinned(), cache_folder()
    missing, other = looked_at(wanted, folder)
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
    return ok(f"Kafka {KAFKA_VERSION}, {len(wanted)} jars with the pinned SHA-256, {folder}")


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    whole = folder.absolute()
    return next(one for one in (whole, *whole.parents) if one.exists())


def _names(paths: list[Path]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(path.name for path in paths[:3]) + more
