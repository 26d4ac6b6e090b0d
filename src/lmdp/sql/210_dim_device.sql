-- The devices that METRIC_DAILY knows, and so also those whose raw rows have gone. DEVICE_NAME is the newest one.
-- NEWEST_NAME is that name behind the time of its last point, so that MAX alone finds it: a refresh reads what changed.
CREATE OR ALTER TRANSIENT DYNAMIC TABLE ${schema}.DIM_DEVICE
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
  MAX_DATA_EXTENSION_TIME_IN_DAYS = 14
AS
SELECT
  DEVICE_KEY,
  ORG_ID,
  DEVICE_ID,
  COALESCE(SUBSTR(MAX(${last_ts_digits} || DEVICE_NAME), 16), DEVICE_ID) AS DEVICE_NAME,
  MIN(FIRST_TS) AS FIRST_TS,
  MAX(LAST_TS) AS LAST_TS,
  MAX(${last_ts_digits} || DEVICE_NAME) AS NEWEST_NAME
FROM ${schema}.METRIC_DAILY
GROUP BY DEVICE_KEY, ORG_ID, DEVICE_ID;
