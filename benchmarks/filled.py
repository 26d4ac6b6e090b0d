"""A warehouse full of polls, for what reads it."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb

from lmdp.core.specification import load_spec
from lmdp.machine.warehouse.warehouse import Warehouse

SERIES = 120_000
STEP_MS = 300_000

# Series n of a poll: device n // 120, DataSource n % 120 // 10, instance n % 10; the last DataSource has histograms of
# four buckets instead.
_FILL = """
INSERT INTO PIPELINE.ROW_EVENTS
SELECT
  'acme', CAST(1017594 + device AS VARCHAR), format('server-{{:04d}}.example.com', device), source, instance, metric,
  NULL, kind, make_timestamp(ms * 1000), ms,
  CASE kind
    WHEN 'sum' THEN poll * 1000.0 * (n % 97)
    WHEN 'histogram' THEN poll * (n % 10 % 4 + 1.0)
    ELSE 50 + 40 * sin(poll / 20.0 + device) + hash(poll, n) % 1000 / 200.0
  END,
  '{{"dataSourceInstanceName":"' || instance || '","datapointid":"' || (197642 + n % 120 // 10) || '","wildValue":"'
    || instance || '"'
    || CASE kind
      WHEN 'sum' THEN ',"otlp.monotonic":true,"otlp.temporality":"cumulative"'
      WHEN 'histogram'
        THEN ',"le":"' || ['0.01', '0.1', '1', '+Inf'][n % 10 % 4 + 1] || '","otlp.temporality":"cumulative"'
      ELSE ''
    END || '}}',
  '{{"system.displayname":"server-' || device || '","location":"Building ' || device % 7 || '"}}',
  '{{"collector":"wmi","datasourceId":"128265135","epoch":"' || ms || '","name":"' || source || '"}}'
FROM (
  SELECT
    *,
    ['WinOS', 'WinVolumeUsage', 'WinIf-', 'LinuxCPU', 'LinuxDisk', 'SNMP_Network', 'SSH_Process', 'JVM_Memory', 'MySQL',
     'Ping', 'DNS', 'http.server'][place + 1] AS source,
    ['CPUBusyPercent', 'FreeSpace', 'InOctets', 'CPUBusyPercent', 'WriteBytes', 'ifInOctets', 'ResidentSize',
     'HeapUsed', 'Queries', 'AverageRtt', 'ResponseTime', 'duration.bucket'][place + 1] AS metric,
    source || '-' || if(place = 11, n % 10 // 4, n % 10) AS instance,
    CASE WHEN place IN (2, 4, 5, 8) THEN 'sum' WHEN place = 11 THEN 'histogram' ELSE 'gauge' END AS kind
  FROM (
    SELECT
      i % {series} AS n, i // {series} AS poll, n // 120 AS device, n % 120 // 10 AS place,
      {now} - ({rows} // {series} - poll) * {step} + n * {step} // {series} AS ms
    FROM range({rows}) polls(i)
  )
)
"""


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
