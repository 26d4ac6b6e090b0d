"""The page's response times over 1,000 series and 10 million rows, while the pipeline keeps writing.

    .venv/bin/python benchmarks/page.py                       # makes the file first: half a minute, 0.3 GB
    .venv/bin/python benchmarks/page.py --rows 1000000

A week of polls a minute, 50 devices of 20 series, in the order in which they would have come. The run is a real one,
with simulated devices beside; its API is asked over HTTP, as a browser's page has it asked. Times are medians, in ms.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse

ROUNDS = 5
SERIES = 1_000
PORT = 18_088
STEP_MS = 60_000
START_S = 60

# Series s of a poll: device s // 20, instance (s % 20) // 4, metric s % 4; the four of the last instance are the
# buckets of a histogram.
_FILL = """
INSERT INTO PIPELINE.ROW_EVENTS
SELECT
  'acme', CAST(1017594 + device AS VARCHAR), format('server-{{:03d}}.example.com', device), source,
  source || '-' || place, metric, NULL, kind, make_timestamp(ms * 1000), ms,
  CASE kind
    WHEN 'sum' THEN poll * 1000.0 + device
    WHEN 'histogram' THEN poll * (n % 4 + 1.0)
    ELSE 50 + 40 * sin(poll / 200.0 + device) + hash(poll, n) % 1000 / 200.0
  END,
  '{{"dataSourceInstanceName":"' || source || '-' || place || '","datapointid":"' || (197642 + if(place = 4, 0, n % 4))
    || '","wildAlias":"' || place || '","wildValue":"' || place || '"'
    || CASE kind
      WHEN 'sum' THEN ',"otlp.monotonic":true,"otlp.temporality":"cumulative"'
      WHEN 'histogram' THEN ',"le":"' || ['0.01', '0.1', '1', '+Inf'][n % 4 + 1] || '","otlp.temporality":"cumulative"'
      ELSE ''
    END || '}}',
  '{{"system.displayname":"server-' || device || '","location":"Building ' || device % 7 || '"}}',
  '{{"collector":"wmi","datasourceId":"128265135","epoch":"' || ms || '","name":"' || source || '"}}'
FROM (
  SELECT
    i % {series} AS n, i // {series} AS poll, n // 20 AS device, n % 20 // 4 AS place,
    {now} - ({rows} // {series} - poll) * {step} + n // 4 * 4 * {step} // {series} AS ms,
    ['WinOS', 'WinVolumeUsage', 'WinIf-', 'LinuxCPU', 'http.server'][place + 1] AS source,
    if(
      place = 4, 'duration.bucket', ['CPUBusyPercent', 'MemoryUtilizationPercent', 'InOctets', 'FreeSpace'][n % 4 + 1]
    ) AS metric,
    CASE metric WHEN 'InOctets' THEN 'sum' WHEN 'duration.bucket' THEN 'histogram' ELSE 'gauge' END AS kind
  FROM range({rows}) polls(i)
)
"""


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


def fill(path: Path, rows: int, series: int = SERIES, step_ms: int = STEP_MS) -> None:
    """Make a warehouse of so many rows, a poll of each series every `step_ms`; the last poll is of now."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with Warehouse.open(path, load_spec()):
        pass
    now = int(time.time() * 1000)
    with duckdb.connect(str(path)) as file:
        file.execute("SET memory_limit = '1GB'")
        file.execute(_FILL.format(series=series, rows=rows, now=now, step=step_ms))
        loaded = "CLUSTER, TOPIC_ID, TOPIC, PARTITION, FIRST_OFFSET, NEXT_OFFSET, ROWS, REJECTS, LOADED_AT"
        file.execute(
            f"INSERT INTO PIPELINE.LOADS ({loaded}) VALUES ('b', '', 'b', 0, 0, ?, ?, 0, now()::TIMESTAMP)",
            [rows, rows],
        )
    print(f"{rows:,} rows in {path.stat().st_size / 1e6:,.0f} MB")


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
    """Ask everything that the page asks, and print how long each took."""
    print(f"{rows:,} rows, {SERIES:,} series")
    first, answer = get(home, "/api/devices")
    device = next(one for one in answer["devices"] if one["orgId"] == "acme")
    print(f"{'the devices, for the first time':48}{first:>8,.0f}")
    whose = {"orgId": device["orgId"], "deviceId": device["deviceId"]}
    series = {**whose, "datasource": "WinIf-", "instance": "WinIf--2", "metric": "InOctets"}
    gauge = {**series, "metric": "CPUBusyPercent"}
    buckets = {**whose, "datasource": "http.server", "instance": "http.server-4", "metric": "duration.bucket"}
    pictures = [("a gauge", gauge, "raw"), ("a counter's rate", series, "rate"), ("percentiles", buckets, "percentile")]
    now = device["newestMs"] + 1
    questions = [
        ("the devices, a second time", "/api/devices", {}),
        ("the series of a device", "/api/series", whose),
        *[
            (f"{name}, {span}", "/api/chart", picked | {"fromMs": now - hours * 3_600_000, "toMs": now, "view": view})
            for name, picked, view in pictures
            for span, hours in (("1 hour", 1), ("24 hours", 24), ("7 days", 168))
        ],
        ("status", "/api/status", {}),
        ("rejects and drops", "/api/reasons", {}),
    ]
    for name, path, query in questions:
        times = [get(home, path, **query)[0] for _ in range(ROUNDS)]
        print(f"{name:48}{statistics.median(times):>8,.0f}    worst {max(times):,.0f}")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
