-- The point before each hour (HOUR_TS) in which a sum has points: the last one of its hour before, where that is on the
-- same day or the day before (UTC). Each end is in the window of its own day and of the next one, and so a window has
-- two days at most.
CREATE OR ALTER TRANSIENT DYNAMIC TABLE ${schema}.SUM_PREVIOUS
  TARGET_LAG = DOWNSTREAM
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
  CLUSTER BY (DAY_TS)
  MAX_DATA_EXTENSION_TIME_IN_DAYS = 14
AS
WITH ENDS AS (
  SELECT ${series_columns}, SERIES, TEMPORALITY, DAY_TS, HOUR_TS, TS, TS_UNIX_MS, VALUE, START_TS
  FROM ${schema}.SUM_ENDS
  UNION ALL
  SELECT
    ${series_columns}, SERIES, TEMPORALITY, DATEADD(day, 1, DAY_TS), HOUR_TS, TS, TS_UNIX_MS, VALUE, START_TS
  FROM ${schema}.SUM_ENDS
),
FOLLOWED AS (
  SELECT
    *,
    LEAD(HOUR_TS) OVER (PARTITION BY ${series_columns}, SERIES, TEMPORALITY, DAY_TS ORDER BY HOUR_TS) AS NEXT_HOUR_TS
  FROM ENDS
)
SELECT
  ${series_columns},
  SERIES,
  TEMPORALITY,
  DAY_TS,
  NEXT_HOUR_TS AS HOUR_TS,
  TS,
  TS_UNIX_MS,
  VALUE,
  START_TS
FROM FOLLOWED
WHERE DATE_TRUNC('day', NEXT_HOUR_TS) = DAY_TS;
