-- What a line through the daily averages of each series needs, by periods of ten days: sums over X, the day since
-- 1970, and Y, the day's average. The slope of several periods follows from the sums of their sums, so the trend of 90 days
-- reads nine rows a series. (REGR_SLOPE would read every day of the window at each refresh.)
CREATE OR ALTER TRANSIENT DYNAMIC TABLE ${schema}.TREND_SUMS
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
  CLUSTER BY (PERIOD)
AS
WITH DAYS AS (
  SELECT
    SERIES,
    FLOOR(DATEDIFF(day, '1970-01-01'::TIMESTAMP_NTZ, DAY_TS) / 10)::NUMBER(38,0) AS PERIOD,
    DATEDIFF(day, '1970-01-01'::TIMESTAMP_NTZ, DAY_TS) AS X,
    VALUE_AVG AS Y
  FROM ${schema}.METRIC_DAILY
  WHERE LE IS NULL AND VALUE_AVG IS NOT NULL
)
SELECT
  SERIES,
  PERIOD,
  COUNT(Y) AS DAYS,
  SUM(X)::NUMBER(38,0) AS SUM_X,
  SUM(X * X)::NUMBER(38,0) AS SUM_XX,
  SUM(Y) AS SUM_Y,
  SUM(X * Y) AS SUM_XY
FROM DAYS
GROUP BY SERIES, PERIOD;
