-- How each device fares, by the hour: rows, repeats, gaps; NEWEST_TS and FRESHNESS_SECONDS are the device's as of now.
-- The only view with canary rows (IS_CANARY).
CREATE OR REPLACE VIEW ${schema}.PIPELINE_HEALTH AS
SELECT
  ${device_key} AS DEVICE_KEY,
  *,
  MAX(LAST_TS) OVER (PARTITION BY ORG_ID, DEVICE_ID, IS_CANARY) AS NEWEST_TS,
  DATEDIFF(
    millisecond, MAX(LAST_TS) OVER (PARTITION BY ORG_ID, DEVICE_ID, IS_CANARY), SYSDATE()
  )::FLOAT / 1000 AS FRESHNESS_SECONDS
FROM ${schema}.DEVICE_HOURS;
