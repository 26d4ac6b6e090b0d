-- METRICS as a fact: keys of the dimensions, times and the value. A filter on TS is what keeps a query small.
CREATE OR ALTER VIEW ${schema}.FACT_METRIC AS
SELECT
  DATE_KEY,
  DEVICE_KEY,
  DATASOURCE_KEY,
  METRIC_KEY,
  INSTANCE_KEY,
  SERIES,
  TS,
  TS_UNIX_MS,
  HOUR_TS,
  LE,
  QUANTILE,
  VALUE
FROM ${schema}.POINTS
WHERE DATASOURCE <> 'lmdp.canary';
