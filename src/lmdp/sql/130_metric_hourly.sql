-- Each series by the hour, with the keys of the star schema. Kept when the raw rows have gone: hours older than the
-- retention are immutable, so neither a deletion nor a row that comes later than that changes them.
--
-- VALUE_LAST is the value at LAST_TS. A sum's minimum and maximum are those of its counter; its growth is in
-- METRIC_RATES_HOURLY.
--
-- Made once and never replaced, since the raw rows of old hours are gone: another shape is another migration.
CREATE DYNAMIC TABLE IF NOT EXISTS ${schema}.METRIC_HOURLY
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_CREATE
  ${immutable_hours}
AS
WITH POINTS AS (
  SELECT
    ${series_columns},
    INSTANCE_LABEL,
    LE,
    QUANTILE,
    SERIES,
    HOUR_TS,
    TS,
    VALUE,
    ROW_NUMBER() OVER (
      PARTITION BY ${series_columns}, SERIES, HOUR_TS
      ORDER BY TS_UNIX_MS DESC NULLS LAST, VALUE DESC NULLS LAST
    ) AS FROM_THE_END
  FROM ${schema}.METRICS
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
  COUNT(*) AS SAMPLES,
  MIN(VALUE) AS VALUE_MIN,
  MAX(VALUE) AS VALUE_MAX,
  SUM(VALUE) AS VALUE_SUM,
  SUM(VALUE) / COUNT(*) AS VALUE_AVG,
  MAX(CASE WHEN FROM_THE_END = 1 THEN VALUE END) AS VALUE_LAST,
  MIN(TS) AS FIRST_TS,
  MAX(TS) AS LAST_TS
FROM POINTS
GROUP BY ${series_columns}, INSTANCE_LABEL, LE, QUANTILE, SERIES, HOUR_TS;
