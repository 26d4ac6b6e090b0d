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
-- No row: a series' first point, a delta without a start, a step of no length, and a point with none before it on its
-- own day or the day before (UTC): what was silent for a whole day counts as a series that starts.
CREATE OR ALTER VIEW ${schema}.METRIC_RATES AS
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
  RATE,
  RESET,
  DAY_TS,
  HOUR_TS
FROM ${schema}.SUM_STEPS;
