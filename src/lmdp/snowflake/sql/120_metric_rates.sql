-- Sums per second. A row is a step: the stretch of time that ends at TS and is SECONDS long.
--
-- TEMPORALITY tells how far to trust it: 'delta' and 'cumulative' are the source's word, 'undeclared' is a sum without
-- one, read as cumulative; LogicMonitor's may all be so, and one may even be a percentage.
--
--   delta                      from its own start to TS: RATE is value / seconds
--   cumulative, undeclared     from the point before of the same series and temporality: RATE is growth / seconds.
--                              A fall is a RESET: the counter began again at 0 if it only ever grows (IS_MONOTONIC),
--                              so RATE is value / seconds; otherwise nobody knows, and RATE is NULL
--
-- No row: a series' first point, a delta without a start, a step of no length.
--
-- A filter on plain columns (a device, a metric) passes below the window; one on the time cannot, since a step needs
-- the point before it: ask for a device or a metric too.
CREATE OR REPLACE VIEW ${schema}.METRIC_RATES AS
WITH SUMS AS (
  SELECT
    ${series_columns},
    INSTANCE_LABEL,
    SERIES,
    COALESCE(TEMPORALITY, 'undeclared') AS TEMPORALITY,
    IS_MONOTONIC,
    START_TS,
    TS,
    TS_UNIX_MS,
    VALUE
  FROM ${schema}.METRICS
  WHERE TYPE = 'sum'
),
PAIRS AS (
  SELECT
    *,
    LAG(TS) OVER (
      PARTITION BY ${series_columns}, SERIES, TEMPORALITY
      ORDER BY TS_UNIX_MS, VALUE, START_TS
    ) AS PREVIOUS_TS,
    LAG(VALUE) OVER (
      PARTITION BY ${series_columns}, SERIES, TEMPORALITY
      ORDER BY TS_UNIX_MS, VALUE, START_TS
    ) AS PREVIOUS_VALUE
  FROM SUMS
),
STEPS AS (
  SELECT
    *,
    NULLIF(
      DATEDIFF(millisecond, CASE WHEN TEMPORALITY = 'delta' THEN START_TS ELSE PREVIOUS_TS END, TS), 0
    )::FLOAT / 1000 AS SECONDS,
    TEMPORALITY <> 'delta' AND VALUE < PREVIOUS_VALUE AS RESET
  FROM PAIRS
)
SELECT
  ${series_columns},
  INSTANCE_LABEL,
  SERIES,
  TEMPORALITY,
  IS_MONOTONIC,
  TS,
  TS_UNIX_MS,
  VALUE,
  SECONDS,
  CASE
    WHEN TEMPORALITY = 'delta' THEN VALUE / SECONDS
    WHEN NOT RESET THEN (VALUE - PREVIOUS_VALUE) / SECONDS
    WHEN IS_MONOTONIC THEN VALUE / SECONDS
  END AS RATE,
  RESET
FROM STEPS
WHERE SECONDS > 0;
