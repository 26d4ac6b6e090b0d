-- What arrived of each device, by the hour of measurement. Canary rows are counted apart (IS_CANARY).
-- REPEATS are rows beyond the first of the same identity. GAP_SECONDS is the longest silence that ended in the hour.
CREATE OR REPLACE DYNAMIC TABLE ${schema}.DEVICE_HOURS
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_CREATE
AS
WITH IDENTITIES AS (
  SELECT
    ${orgId} AS ORG_ID,
    ${deviceId} AS DEVICE_ID,
    ${datasource} = 'lmdp.canary' AS IS_CANARY,
    ${ts} AS TS,
    COUNT(*) AS COPIES
  FROM ${schema}.ROW_EVENTS
  GROUP BY ${metrics_identity}
),
MOMENTS AS (
  SELECT ORG_ID, DEVICE_ID, IS_CANARY, TS, SUM(COPIES) AS ROW_COUNT, SUM(COPIES) - COUNT(*) AS REPEATS
  FROM IDENTITIES
  GROUP BY ORG_ID, DEVICE_ID, IS_CANARY, TS
),
SILENCES AS (
  SELECT
    *,
    DATEDIFF(
      millisecond, LAG(TS) OVER (PARTITION BY ORG_ID, DEVICE_ID, IS_CANARY ORDER BY TS), TS
    )::FLOAT / 1000 AS SILENCE
  FROM MOMENTS
)
SELECT
  ORG_ID,
  DEVICE_ID,
  IS_CANARY,
  DATE_TRUNC('hour', TS) AS HOUR_TS,
  SUM(ROW_COUNT)::NUMBER(38,0) AS ROW_COUNT,
  SUM(REPEATS)::NUMBER(38,0) AS REPEATS,
  MAX(SILENCE) AS GAP_SECONDS,
  MIN(TS) AS FIRST_TS,
  MAX(TS) AS LAST_TS
FROM SILENCES
GROUP BY ORG_ID, DEVICE_ID, IS_CANARY, DATE_TRUNC('hour', TS);
