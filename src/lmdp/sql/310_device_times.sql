-- Each device's times of measurement: how many rows arrived (ROW_COUNT), and how many of them are not repeats.
-- Canary rows are counted apart (IS_CANARY).
CREATE OR ALTER TRANSIENT DYNAMIC TABLE ${schema}.DEVICE_TIMES
  TARGET_LAG = DOWNSTREAM
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
  CLUSTER BY (HOUR_TS)
  MAX_DATA_EXTENSION_TIME_IN_DAYS = 14
AS
WITH ARRIVED AS (
  SELECT
    ${orgId} AS ORG_ID,
    ${deviceId} AS DEVICE_ID,
    ${datasource} = 'lmdp.canary' AS IS_CANARY,
    DATE_TRUNC('hour', ${ts}) AS HOUR_TS,
    ${ts} AS TS,
    1 AS IS_ROW,
    0 AS IS_POINT
  FROM ${schema}.ROW_EVENTS
  UNION ALL
  SELECT ORG_ID, DEVICE_ID, IS_CANARY, HOUR_TS, TS, 0, 1
  FROM ${schema}.POINTS
)
SELECT
  ORG_ID,
  DEVICE_ID,
  IS_CANARY,
  HOUR_TS,
  TS,
  SUM(IS_ROW)::NUMBER(38,0) AS ROW_COUNT,
  SUM(IS_POINT)::NUMBER(38,0) AS POINT_COUNT
FROM ARRIVED
GROUP BY ORG_ID, DEVICE_ID, IS_CANARY, HOUR_TS, TS;
