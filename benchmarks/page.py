"""The page's response times over 1,000 devices of 120 instances and 10 million rows, while the pipeline keeps writing.

    .venv/bin/python -m benchmarks.page                       # makes the file first: half a minute, 0.3 GB
    .venv/bin/python -m benchmarks.page --rows 1000000

Seven hours of polls every five minutes, in the order in which they would have come. The run is a real one, with
simulated devices alongside; its API is queried over HTTP, as a browser's page has it queried. Times are medians, in ms.
With Chromium it also opens each tab, and prints what came over the wire.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.filled import SERIES, fill
from lmdp.page.board import SHIPPED

ROUNDS = 5
PORT = 18_088
START_S = 60
HOUR_MS = 3_600_000

PICTURES = [
    ("a gauge", {"datasource": "LinuxCPU", "instance": "LinuxCPU-2", "metric": "CPUBusyPercent"}, "raw"),
    ("a counter's rate", {"datasource": "SNMP_Network", "instance": "SNMP_Network-2", "metric": "ifInOctets"}, "rate"),
    ("percentiles", {"datasource": "http.server", "instance": "http.server-1", "metric": "duration.bucket"},
     "percentile"),
    ("a gauge's instances", {"datasource": "LinuxCPU", "metric": "CPUBusyPercent", "over": "top"}, "raw"),
]  # fmt: skip
EVERYWHERE = [
    ("the mean of a gauge", {"datasource": "LinuxCPU", "metric": "CPUBusyPercent", "over": "avg"}, "raw"),
    ("the sum of a rate", {"datasource": "SNMP_Network", "metric": "ifInOctets", "over": "sum"}, "rate"),
    ("the largest rates", {"datasource": "SNMP_Network", "metric": "ifInOctets", "over": "top"}, "rate"),
]
SEARCHES = ("octets server-0500", "1017777", "free", "snmp 0123 network-7", "cpubsyprcnt", "zzzz", "")


def main() -> None:
    """Make the file, run the pipeline on it, ask, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--home", type=Path, help="where the warehouse is made, or was made before")
    given = parser.parse_args()
    with contextlib.ExitStack() as parts:
        home = given.home or Path(parts.enter_context(tempfile.TemporaryDirectory()))
        if not (home / "warehouse.duckdb").exists():
            fill(home / "warehouse.duckdb", given.rows)
        parts.enter_context(running(home))
        asked(given.rows, home)
        opened(home)


@contextlib.contextmanager
def running(home: Path) -> Iterator[None]:
    """Run the pipeline with a hundred messages a second beside the block."""
    words = ["run", "--home", str(home), "--broker", "memory", "--simulate", "20", "--interval", "4"]
    words += ["--keep", "forever", "--page", "--page-port", str(PORT)]
    program = [sys.executable, "-c", "from lmdp.cli.main import main; main()", *words]
    with subprocess.Popen(program, cwd=home, stderr=subprocess.DEVNULL, env=os.environ) as run:
        try:
            ends = time.monotonic() + START_S
            while not _answers(home):
                assert run.poll() is None, "lmdp run has ended"
                assert time.monotonic() < ends, f"no page within {START_S} s"
                time.sleep(0.5)
            yield
        finally:
            run.terminate()


def _answers(home: Path) -> bool:
    try:
        get(home, "/api/status")
    except (urllib.error.URLError, OSError):
        return False
    return True


def get(home: Path, path: str, **query: object) -> tuple[float, Any]:
    """The milliseconds that an answer took, and the answer."""
    address = f"http://127.0.0.1:{PORT}{path}?{urllib.parse.urlencode(query)}"
    token = (home / "page.token").read_text().strip()
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    begun = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = answer.read()
    return (time.perf_counter() - begun) * 1000, json.loads(body)


def asked(rows: int, home: Path) -> None:
    """Query everything that the page queries, and print how long each took."""
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{rows:,} rows, {SERIES:,} series; load average {load}")
    first, answer = get(home, "/api/devices")
    device = next(one for one in answer["devices"] if one["orgId"] == "acme")
    print(f"{'the index of devices and series, once':48}{first:>8,.0f}")
    whose = {"orgId": device["orgId"], "deviceId": device["deviceId"]}
    now = device["newestMs"] + 1
    questions: list[tuple[str, str, dict[str, Any]]] = [
        *[(f"search: {text or 'nothing'}", "/api/search", {"q": text, "limit": 30}) for text in SEARCHES],
        *[
            (
                f"{name}, {hours} h",
                "/api/chart",
                picked | where | {"fromMs": now - hours * HOUR_MS, "toMs": now, "view": view},
            )
            for pictures, where, spans in ((PICTURES, whose, (1, 6)), (EVERYWHERE, {}, (1,)))
            for name, picked, view in pictures
            for hours in spans
        ],
        ("status", "/api/status", {}),
        ("rejects and drops", "/api/reasons", {}),
    ]
    for name, path, query in questions:
        report(name, [get(home, path, **query)[0] for _ in range(ROUNDS)])
        time.sleep(0.5)
    panels = tomllib.loads(SHIPPED.read_text())["panel"]
    with ThreadPoolExecutor(len(panels)) as pool:
        boards = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            took = list(pool.map(lambda panel: post(home, panel["sql"]), panels))
            boards.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.5)
    report(f"the board ({', '.join(f'{ms:,.0f}' for ms in took)} the last time)", boards)


def report(name: str, times: list[float]) -> None:
    """Print a line."""
    print(f"{name:48}{statistics.median(times):>8,.0f}    worst {max(times):,.0f}", flush=True)


def post(home: Path, sql: str) -> float:
    """The milliseconds that a query took."""
    token = (home / "page.token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/api/query", json.dumps({"sql": sql}).encode(), headers=headers
    )
    begun = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
    return (time.perf_counter() - begun) * 1000


def _is_filled(browser: Any, test_id: str) -> bool:
    return bool(browser.all(f"[data-testid={test_id}]")) and browser.text(test_id) != "\u2013"


def opened(home: Path) -> None:
    """Open each tab in a new browser, and print how much came over the wire, and when its main part was there."""
    if shutil.which("chromium") is None:
        print("no Chromium, so no tab is opened")
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browsing import browsing  # noqa: PLC0415 - needs Selenium

    for path, ready in (("/", "duckdb-0"), ("/board", "board-chart"), ("/explore", "chips"), ("/sql", "sql-run")):
        with browsing() as one:
            begun = time.perf_counter()
            browser = one.at(f"http://127.0.0.1:{PORT}", (home / "page.token").read_text().strip())
            browser.open(path)
            browser.until(partial(_is_filled, browser, ready))
            took = time.perf_counter() - begun
            size = browser.js(
                "return [...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
                ".reduce((sum, one) => sum + one.transferSize, 0)"
            )
            print(f"{f'open {path}':48}{took * 1000:>8,.0f}    {size / 1e6:.2f} MB over the wire", flush=True)


if __name__ == "__main__":
    main()
