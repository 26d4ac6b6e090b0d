-- The newest point of each series that has raw rows.
CREATE OR REPLACE DYNAMIC TABLE ${schema}.METRIC_LATEST
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_CREATE
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
FROM ${schema}.METRICS
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY ${series_columns}, SERIES
  ORDER BY TS_UNIX_MS DESC NULLS LAST, VALUE DESC NULLS LAST, TEMPORALITY DESC NULLS LAST
) = 1;
