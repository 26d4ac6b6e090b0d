-- Every row once, with clean names: POINTS without canaries, with the maps. The filter is on a column of the window's
-- partition, so that it passes below it where POINTS is a view.
CREATE OR ALTER VIEW ${schema}.METRICS AS
SELECT
  ${metrics_columns},
  HOUR_TS,
  INSTANCE_LABEL,
  LE,
  QUANTILE,
  TEMPORALITY,
  IS_MONOTONIC,
  START_TS,
  SERIES,
  HISTOGRAM_SERIES
FROM ${schema}.POINTS
WHERE DATASOURCE <> 'lmdp.canary';
