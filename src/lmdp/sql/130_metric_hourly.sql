-- Each series by the hour, with the keys of the star schema. Kept when the raw rows have gone: hours that are some days
-- old are frozen, so neither a deletion nor a row that comes later than that changes them.
--
-- VALUE_LAST is the value at LAST_TS. A sum's minimum and maximum are those of its counter; its growth is in
-- METRIC_RATES_HOURLY.
CREATE OR ALTER DYNAMIC TABLE ${schema}.METRIC_HOURLY
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
  CLUSTER BY (DATE_KEY, DEVICE_KEY)
  MAX_DATA_EXTENSION_TIME_IN_DAYS = 14
  ${frozen_hours}
AS
WITH PARTS AS (
  SELECT
    ${series_columns},
    INSTANCE_LABEL,
    LE,
    QUANTILE,
    SERIES,
    HOUR_TS,
    TS,
    VALUE,
    NULL::FLOAT AS LAST_VALUE
  FROM ${schema}.POINTS
  WHERE DATASOURCE <> 'lmdp.canary'
  UNION ALL
  SELECT
    ${series_columns},
    INSTANCE_LABEL,
    LE,
    QUANTILE,
    SERIES,
    HOUR_TS,
    TS,
    NULL::FLOAT,
    VALUE
  FROM ${schema}.LAST_POINTS
)
SELECT
  ${hour_date_key} AS DATE_KEY,
  ${device_key} AS DEVICE_KEY,
  ${datasource_key} AS DATASOURCE_KEY,
  ${metric_key} AS METRIC_KEY,
  ${instance_key} AS INSTANCE_KEY,
  ${series_columns},
  INSTANCE_LABEL,
  LE,
  QUANTILE,
  SERIES,
  HOUR_TS,
  COUNT(VALUE) AS SAMPLES,
  MIN(VALUE) AS VALUE_MIN,
  MAX(VALUE) AS VALUE_MAX,
  SUM(VALUE) AS VALUE_SUM,
  SUM(VALUE) / COUNT(VALUE) AS VALUE_AVG,
  MAX(LAST_VALUE) AS VALUE_LAST,
  MIN(TS) AS FIRST_TS,
  MAX(TS) AS LAST_TS
FROM PARTS
GROUP BY ${series_columns}, INSTANCE_LABEL, LE, QUANTILE, SERIES, HOUR_TS;
