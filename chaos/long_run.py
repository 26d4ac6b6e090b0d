"""A `lmdp run` beside a scenario, bundles that fill a disk, and what must be there of them."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.scenario import Outcome, broken
from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.machine.api import client
from lmdp.machine.api.protocol import Query
from running import NOW_NS, rows, started, until

POINTS = 50  # rows a message

SLOW = 120.0  # seconds; other work may share the machine

_NO_ROOM = re.compile(
    r"no space to write in (?P<folder>\S+): [^(]+ "
    r"\((?P<free>[\d,]+) bytes free there, about (?P<wanted>[\d,]+) wanted\)"
)


def wide(number: int) -> bytes:
    """A bundle of 50 rows, each with an instance of its own and text that does not compress to nothing."""
    chance = random.Random(number)
    points = [
        {
            "timeUnixNano": str(NOW_NS + number * 1_000_000),
            "asDouble": chance.random(),
            "attributes": [
                {"key": "dataSourceInstanceName", "value": {"stringValue": f"i-{number}-{point}"}},
                {"key": "note", "value": {"stringValue": chance.randbytes(100).hex()}},
            ],
        }
        for point in range(POINTS)
    ]
    resource_ = {"attributes": [{"key": "hostId", "value": {"stringValue": "7"}}]}
    metrics = [{"name": "CpuUsage", "gauge": {"dataPoints": points}}]
    scope = {"scope": {"name": "Cpu"}, "metrics": metrics}
    return json.dumps({"resourceMetrics": [{"resource": resource_, "scopeMetrics": [scope]}]}).encode()


@dataclass(slots=True)
class Run:
    """A `lmdp run` beside the scenario."""

    home: Path
    program: subprocess.Popen[bytes]
    errors: Path

    def alive(self) -> bool:
        """Return whether it has not ended."""
        return self.program.poll() is None

    def said(self) -> str:
        """All that it printed on standard error."""
        return self.errors.read_text() if self.errors.exists() else ""

    def trouble(self) -> str:
        """Return its trouble, as `lmdp status` shows it; nothing where it does not answer just now."""
        try:
            return str(client.status(self.home)["running"]["trouble"])
        except (LmdpError, RunNotFoundError):
            return ""

    def rows(self) -> int:
        """Return the number of rows; -1 where it does not answer just now."""
        try:
            return int(rows(self.home, "select count(*) as n from row_events")[0]["n"])
        except LmdpError:
            return -1

    def until(self, true: Callable[[], object]) -> None:
        """Wait for it while the program lives."""

        def now() -> object:
            assert self.alive(), f"lmdp run has ended: {self.said()[-1500:]}"
            return true()

        try:
            until(now, SLOW)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.said()[-1500:]}") from error


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Run]:
    """`lmdp run` in `folder` beside the block, once it can be asked."""
    with started("run", *words, "--json", folder=folder) as program:
        run = Run(folder / ".lmdp", program, folder / "stderr")
        run.until((folder / ".lmdp" / "run.sock").exists)
        yield run


def ended(run: Run) -> dict[str, Any]:
    """End it as Ctrl-C does; its report."""
    run.program.send_signal(signal.SIGINT)
    out, _ = run.program.communicate(timeout=SLOW)
    assert run.program.returncode == 0, run.said()[-1500:]
    report: dict[str, Any] = json.loads(out)
    return report


def counted(found: Iterable[str], messages: int, times: int, rejects: int, measured: str, **promises: bool) -> Outcome:
    """The outcome for bundles of `wide`, by the instances that are there."""
    instances = list(found)
    wanted = {f"i-{number}-{point}" for number in range(messages) for point in range(POINTS)}
    kept = {name.replace("_", " "): promise for name, promise in promises.items()}
    return Outcome(
        times=times,
        messages=messages,
        expected_rows=len(wanted),
        found_rows=len(set(instances) & wanted),
        repeats=len(instances) - len(set(instances)),
        rejects=rejects,
        measured=measured,
        broken=broken(kept | {"other rows are there": set(instances) <= wanted}),
    )


def instances(home: Path, warehouse: Path) -> list[str]:
    """Each row's instance, read from the file, a million at a time."""
    found: list[str] = []
    while True:
        sql = f"""select "instance" as i from row_events order by rowid limit 1000000 offset {len(found)}"""
        page = client.query(home, warehouse, Query(sql, 1_000_000, 300.0)).table.column("i").to_pylist()
        found += page
        if len(page) < 1_000_000:
            return found


def names_all(text: str, folder: Path) -> bool:
    """Return whether the folder, the bytes free and the bytes wanted are named."""
    reported = _NO_ROOM.search(text)
    return reported is not None and reported["folder"] == str(folder) and int(reported["wanted"].replace(",", "")) > 0
