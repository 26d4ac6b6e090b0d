-- What arrived of each device, by the hour of measurement. Canary rows are counted apart (IS_CANARY).
-- REPEATS are rows beyond the first of the same identity. GAP_SECONDS is the longest silence that ended in the hour, as
-- far as it began in the same month or the month before (UTC).
CREATE OR ALTER VIEW ${schema}.DEVICE_HOURS AS
WITH HOURS AS (
  SELECT *, DATE_TRUNC('month', HOUR_TS) AS MONTH_TS
  FROM ${schema}.DEVICE_COUNTS
  UNION ALL
  SELECT *, DATEADD(month, 1, DATE_TRUNC('month', HOUR_TS))
  FROM ${schema}.DEVICE_COUNTS
),
PAIRS AS (
  SELECT
    *,
    DATEDIFF(
      millisecond,
      LAG(LAST_TS) OVER (PARTITION BY ORG_ID, DEVICE_ID, IS_CANARY, MONTH_TS ORDER BY HOUR_TS),
      FIRST_TS
    ) AS GAP_BEFORE_MS
  FROM HOURS
)
SELECT
  ORG_ID,
  DEVICE_ID,
  IS_CANARY,
  HOUR_TS,
  ROW_COUNT,
  ROW_COUNT - POINT_COUNT AS REPEATS,
  CASE
    WHEN GAP_WITHIN_MS >= GAP_BEFORE_MS OR GAP_BEFORE_MS IS NULL THEN GAP_WITHIN_MS
    ELSE GAP_BEFORE_MS
  END::FLOAT / 1000 AS GAP_SECONDS,
  FIRST_TS,
  LAST_TS
FROM PAIRS
WHERE MONTH_TS = DATE_TRUNC('month', HOUR_TS);
