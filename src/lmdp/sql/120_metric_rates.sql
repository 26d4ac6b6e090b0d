-- Sums per second. A row is a step: the stretch of time that ends at TS and is SECONDS long.
--
-- TEMPORALITY shows how far to trust it: 'delta' and 'cumulative' are the source's word, 'undeclared' is a sum without
-- one, read as cumulative; LogicMonitor's may all be so, and one may even be a percentage.
--
--   delta                      from its own start to TS: RATE is value / seconds
--   cumulative, undeclared     from the point before of the same series and temporality: RATE is growth / seconds.
--                              After a RESET the series began again, and counts whole: RATE is value / seconds
--
-- A series began again if its value fell and it only ever grows (IS_MONOTONIC), or if its start time is at or after the
-- point before and differs from that point's start time (a point without one may have begun at its own time: the core
-- leaves such a start time out). A declared cumulative sum that is not monotonic may fall: its RATE is negative. An
-- undeclared one that is not monotonic and falls: nobody knows. RESET is true, and RATE is NULL.
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
    ) AS PREVIOUS_VALUE,
    LAG(START_TS) OVER (
      PARTITION BY ${series_columns}, SERIES, TEMPORALITY
      ORDER BY TS_UNIX_MS, VALUE, START_TS
    ) AS PREVIOUS_START_TS
  FROM SUMS
),
STEPS AS (
  SELECT
    *,
    NULLIF(
      DATEDIFF(millisecond, CASE WHEN TEMPORALITY = 'delta' THEN START_TS ELSE PREVIOUS_TS END, TS), 0
    )::FLOAT / 1000 AS SECONDS,
    COALESCE(
      TEMPORALITY <> 'delta' AND START_TS >= PREVIOUS_TS AND START_TS <> COALESCE(PREVIOUS_START_TS, PREVIOUS_TS), FALSE
    ) AS RESTARTED,
    COALESCE(TEMPORALITY <> 'delta' AND VALUE < PREVIOUS_VALUE, FALSE) AS FELL
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
    WHEN RESTARTED OR (FELL AND IS_MONOTONIC) THEN VALUE / SECONDS
    WHEN NOT FELL OR TEMPORALITY = 'cumulative' THEN (VALUE - PREVIOUS_VALUE) / SECONDS
  END AS RATE,
  RESTARTED OR (FELL AND (COALESCE(IS_MONOTONIC, FALSE) OR TEMPORALITY <> 'cumulative')) AS RESET
FROM STEPS
WHERE SECONDS > 0;
