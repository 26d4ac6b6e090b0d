-- Once a day raw rows older than RETENTION_DAYS go, and rows dated more than two days ahead, whose sender's clock is
-- wrong: no retention would reach them. The kept roll-ups stay. `forever` removes the task.
CREATE OR REPLACE TASK ${schema}.REMOVE_OLD_ROWS
  WAREHOUSE = ${refresh_warehouse}
  SCHEDULE = 'USING CRON 17 3 * * * UTC'
  QUOTED_IDENTIFIERS_IGNORE_CASE = FALSE
AS
DELETE FROM ${schema}.ROW_EVENTS
WHERE ${ts} < DATEADD(day, -${retention_days}, DATE_TRUNC('day', SYSDATE())) OR ${ts} > DATEADD(day, 2, SYSDATE());

ALTER TASK ${schema}.REMOVE_OLD_ROWS RESUME;
