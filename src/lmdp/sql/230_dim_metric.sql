-- The metrics: a name means something within its DataSource, with its unit and its type.
CREATE OR REPLACE DYNAMIC TABLE ${schema}.DIM_METRIC
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_CREATE
AS
SELECT
  ${metric_key} AS METRIC_KEY,
  ${datasource_key} AS DATASOURCE_KEY,
  DATASOURCE,
  METRIC,
  UNIT,
  TYPE,
  MIN(FIRST_TS) AS FIRST_TS,
  MAX(LAST_TS) AS LAST_TS
FROM ${schema}.METRIC_HOURLY
GROUP BY DATASOURCE, METRIC, UNIT, TYPE;
