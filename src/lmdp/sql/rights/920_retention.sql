-- Once a day raw rows older than RETENTION_DAYS go; the hourly and daily roll-ups stay. `forever` removes the task.
CREATE OR REPLACE TASK ${schema}.REMOVE_OLD_ROWS
  WAREHOUSE = ${warehouse}
  SCHEDULE = 'USING CRON 17 3 * * * UTC'
AS
DELETE FROM ${schema}.ROW_EVENTS WHERE ${ts} < DATEADD(day, -${retention_days}, DATE_TRUNC('day', SYSDATE()));

ALTER TASK ${schema}.REMOVE_OLD_ROWS RESUME;
