-- The newest point of each series that has raw rows.
CREATE OR ALTER TRANSIENT DYNAMIC TABLE ${schema}.METRIC_LATEST
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
AS
SELECT
  ${device_key} AS DEVICE_KEY,
  ${datasource_key} AS DATASOURCE_KEY,
  ${metric_key} AS METRIC_KEY,
  ${instance_key} AS INSTANCE_KEY,
  ${series_columns},
  INSTANCE_LABEL,
  LE,
  QUANTILE,
  SERIES,
  TEMPORALITY,
  TS,
  TS_UNIX_MS,
  VALUE
FROM ${schema}.LAST_POINTS
JOIN ${schema}.SERIES_LATEST
  ON SERIES = LATEST_SERIES AND HOUR_TS = LATEST_HOUR_TS;
