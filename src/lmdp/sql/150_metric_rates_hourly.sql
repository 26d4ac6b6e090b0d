-- METRIC_RATES by the hour in which a step ends, kept like METRIC_HOURLY. GROWTH is what the counter grew by in SECONDS;
-- steps without a rate are in RESETS alone.
CREATE DYNAMIC TABLE IF NOT EXISTS ${schema}.METRIC_RATES_HOURLY
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_CREATE
  ${immutable_hours}
AS
WITH STEPS AS (
  SELECT
    ${series_columns},
    INSTANCE_LABEL,
    SERIES,
    TEMPORALITY,
    DATE_TRUNC('hour', TS) AS HOUR_TS,
    CASE WHEN RATE IS NOT NULL THEN SECONDS END AS SECONDS,
    RATE,
    RESET
  FROM ${schema}.METRIC_RATES
)
SELECT
  ${hour_date_key} AS DATE_KEY,
  ${device_key} AS DEVICE_KEY,
  ${datasource_key} AS DATASOURCE_KEY,
  ${metric_key} AS METRIC_KEY,
  ${instance_key} AS INSTANCE_KEY,
  ${series_columns},
  INSTANCE_LABEL,
  SERIES,
  TEMPORALITY,
  HOUR_TS,
  SUM(SECONDS) AS SECONDS,
  SUM(RATE * SECONDS) AS GROWTH,
  SUM(RATE * SECONDS) / SUM(SECONDS) AS RATE_AVG,
  MAX(RATE) AS RATE_MAX,
  SUM(CASE WHEN RESET THEN 1 ELSE 0 END)::NUMBER(38,0) AS RESETS
FROM STEPS
GROUP BY ${series_columns}, INSTANCE_LABEL, SERIES, TEMPORALITY, HOUR_TS;
