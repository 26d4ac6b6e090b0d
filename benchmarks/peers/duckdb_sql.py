"""DuckDB SQL over `read_json` of a file of messages, one a line: LogicMonitor's gauges and sums as the same rows.

Histograms and summaries would be as much SQL again for each; no query here reads them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

_PAIRS = "STRUCT(key VARCHAR, value STRUCT(stringValue VARCHAR))[]"
_POINT = (
    f"STRUCT(attributes {_PAIRS}, startTimeUnixNano UBIGINT, timeUnixNano UBIGINT, asDouble DOUBLE, asInt BIGINT, "
    "flags UINTEGER)[]"
)
_METRIC = (
    f"STRUCT(name VARCHAR, unit VARCHAR, gauge STRUCT(dataPoints {_POINT}), "
    f"sum STRUCT(dataPoints {_POINT}, isMonotonic BOOLEAN, aggregationTemporality UTINYINT))[]"
)
_SCOPE = f"STRUCT(scope STRUCT(name VARCHAR, attributes {_PAIRS}), metrics {_METRIC})[]"
_RESOURCE = f"STRUCT(resource STRUCT(attributes {_PAIRS}), scopeMetrics {_SCOPE})[]"

# A map of text, its keys sorted, as JSON; `list_sort` of pairs sorts by key.
_MACROS: Final = """
CREATE OR REPLACE MACRO pairs(attributes) AS
  coalesce(list_transform(attributes, lambda a: {'key': a.key, 'value': to_json(a.value.stringValue)}), []);
CREATE OR REPLACE MACRO one(pairs, wanted) AS
  list_extract(list_filter(pairs, lambda p: p.key = wanted), -1).value ->> '$';
CREATE OR REPLACE MACRO without(pairs, keys) AS list_filter(pairs, lambda p: NOT list_contains(keys, p.key));
CREATE OR REPLACE MACRO as_map(pairs) AS to_json(map_from_entries(list_sort(pairs)::STRUCT(key VARCHAR, value JSON)[]));
"""

ROWS: Final = """
WITH bundles AS (
  SELECT unnest(resourceMetrics) AS r
  FROM read_json(?, format = 'newline_delimited', columns = {resourceMetrics: '{{resource}}'},
                 maximum_object_size = 67108864)
), scopes AS (
  SELECT pairs(r.resource.attributes) AS resource, unnest(r.scopeMetrics) AS s FROM bundles
), metrics AS (
  SELECT resource, s.scope.name AS datasource,
         list_append(pairs(s.scope.attributes), {'key': 'name', 'value': to_json(s.scope.name)}) AS scope,
         unnest(s.metrics) AS m
  FROM scopes
), points AS (
  SELECT resource, datasource, scope, m.name AS metric, m.unit AS unit, m.sum IS NOT NULL AS summed,
         coalesce(m.sum.isMonotonic, false) AS monotonic, m.sum.aggregationTemporality AS temporality,
         unnest(coalesce(m.sum.dataPoints, m.gauge.dataPoints)) AS p
  FROM metrics
), named AS (
  SELECT *, pairs(p.attributes) AS attributes, coalesce(p.asDouble, p.asInt) AS number,
         p.timeUnixNano // 1000000 AS ms
  FROM points
)
SELECT
  coalesce(one(resource, 'orgId'), 'acme') AS "orgId",
  coalesce(one(resource, 'hostId'), one(resource, 'host.id'), one(resource, 'host.name')) AS "deviceId",
  coalesce(one(resource, 'hostName'), one(resource, 'host.name')) AS "deviceName",
  datasource,
  coalesce(one(attributes, 'dataSourceInstanceName'), one(attributes, 'wildValue')) AS instance,
  metric, unit, if(summed, 'sum', 'gauge') AS type,
  strftime(make_timestamp_ms(ms::BIGINT), '%Y-%m-%dT%H:%M:%S.%gZ') AS ts,
  ms AS "tsUnixMs",
  if(p.asDouble IS NULL, to_json(p.asInt), to_json(p.asDouble)) AS value,
  as_map(list_concat(
    without(attributes, ['dataSourceInstanceName']),
    if(p.startTimeUnixNano IS NULL OR p.startTimeUnixNano IN (0, p.timeUnixNano), [],
       [{'key': 'otlp.startTimeUnixMs', 'value': to_json(p.startTimeUnixNano // 1000000)}]),
    if(summed, [{'key': 'otlp.monotonic', 'value': to_json(monotonic)}], []),
    if(temporality IN (1, 2),
       [{'key': 'otlp.temporality', 'value': to_json(if(temporality = 1, 'delta', 'cumulative'))}], []),
    if(p.asDouble IS NULL AND abs(p.asInt::HUGEINT) > 9007199254740992,
       [{'key': 'otlp.intValue', 'value': to_json(p.asInt::VARCHAR)}], [])
  )) AS attributes,
  as_map(without(resource, ['orgId', 'hostId', 'hostName'])) AS resource,
  as_map(scope) AS scope
FROM named
WHERE coalesce(p.flags, 0) & 1 = 0 AND isfinite(number)
""".replace("{{resource}}", _RESOURCE)


class Sql:
    """A database in memory, and a folder for the files that it reads and writes. One thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connection = duckdb.connect(config={"threads": "1", "temp_directory": ""})
        self._connection.execute(_MACROS)

    def file(self, messages: Sequence[bytes]) -> Path:
        """The messages as a file, one a line."""
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".jsonl", delete=False) as file:
            file.write(b"\n".join(messages))
        return Path(file.name)

    def to_json(self, file: Path) -> int:
        """Write the rows as JSON, one a line; how many they are."""
        return self._run(f"COPY ({ROWS}) TO '{file}.rows' (FORMAT json)", file)

    def to_table(self, file: Path) -> int:
        """Put the rows into a table of a database in memory; how many they are."""
        return self._run(f"CREATE OR REPLACE TABLE rows AS {ROWS}", file)

    def rows(self, file: Path) -> list[dict[str, object]]:
        """The rows, to compare them."""
        found = self._connection.execute(ROWS, [str(file)])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def _run(self, sql: str, file: Path) -> int:
        ((rows,),) = self._connection.execute(sql, [str(file)]).fetchall()
        return int(rows)
