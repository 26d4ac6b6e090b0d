-- Is the pipeline itself behind? One row: the newest measurement that has landed, and the newest one in the roll-ups.
-- If rows land and the roll-ups are old, Snowflake's refreshes are behind; if nothing lands, what is before it is.
-- LANDED_TS looks back three hours, so that it reads few rows of the landing table; NULL is longer than that.
CREATE OR ALTER VIEW ${schema}.PIPELINE_LAG AS
WITH LANDED AS (
  SELECT MAX(${ts}) AS LANDED_TS
  FROM ${schema}.ROW_EVENTS
  WHERE ${ts} > DATEADD(hour, -3, SYSDATE()) AND ${ts} <= SYSDATE()
),
ROLLED_UP AS (
  SELECT MAX(LAST_TS) AS ROLLED_UP_TS
  FROM ${schema}.DEVICE_COUNTS
  WHERE LAST_TS <= SYSDATE()
)
SELECT
  SYSDATE() AS NOW_TS,
  LANDED_TS,
  ROLLED_UP_TS,
  DATEDIFF(millisecond, LANDED_TS, SYSDATE())::FLOAT / 60000 AS LANDED_MINUTES,
  DATEDIFF(millisecond, ROLLED_UP_TS, SYSDATE())::FLOAT / 60000 AS ROLLED_UP_MINUTES
FROM LANDED
CROSS JOIN ROLLED_UP;
