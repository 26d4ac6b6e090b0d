"""Full disks and folders that cannot be written: nothing acknowledged is lost, and it resumes when there is space."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from chaos.disk_beside import full_broker, full_files, full_streams, rejects_full
from chaos.disk_warehouse import full_at_the_ends, full_warehouse, over_the_quota, query_on_a_full_disk, read_only
from chaos.scenario import Outcome, Scenario, Site, Size
from chaos.small_disk import on_a_disk

_PLAYS: dict[str, tuple[str, Callable[[Site], Outcome]]] = {
    "warehouse full": ("A full disk stops the writing, not the run: all rows are there once.", full_warehouse),
    "full at start and end": ("A kill, an end and a start on a full disk lose nothing.", full_at_the_ends),
    "over the quota": ("A quota, or a limit of a file's size, is waited out like a full disk.", over_the_quota),
    "rejects full": ("Rejects that cannot be written hold their rows back, until they can.", rejects_full),
    "broker's disk full": ("An embedded Kafka without room is started again when there is some.", full_broker),
    "streams full or closed": ("No row is lost for want of a place to print.", full_streams),
    "files on a full disk": ("`flatten` and `replay` call nothing done that is not written.", full_files),
    "query on a full disk": ("A query that finds no space fails alone.", query_on_a_full_disk),
    "read-only disk": ("A disk that cannot be written is refused by name, and can be asked.", read_only),
}

SCENARIOS: tuple[Scenario, ...] = tuple(
    Scenario(name, promise, on_a_disk("chaos.disk", name, play)) for name, (promise, play) in _PLAYS.items()
)


def _main(name: str, size: Size, folder: str) -> None:
    """Play one where the caller has made it possible, and print its outcome."""
    with closing(Site(size, Path(folder))) as site:
        print(json.dumps(dataclasses.asdict(_PLAYS[name][1](site))))


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]
