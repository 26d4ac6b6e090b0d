-- How the hourly averages of each instance's metric are spread over a day (UTC): how many hours fall into each bucket.
-- Percentiles are read from sums of HOURS, over any devices, instances and days, so no query needs the hours themselves.
--
-- A bucket is a forty-fifth of a decade (5.3 percent wide), so the middle of a bucket is within 2.6 percent of each of its
-- values: 1 to 945 from a millionth up to 10^15, the same below zero with the other sign, 0 for what is nearer to zero.
-- Bucket B is from 10^((B - 271) / 45) up to 10^((B - 270) / 45). What is beyond is in the last one.
-- The 1e-9 keeps a power of ten at the lower edge of its bucket, where a logarithm is an ulp too small.
-- AVERAGE_MIN and AVERAGE_MAX bound a percentile, so that it is exact for what does not change.
CREATE OR ALTER TRANSIENT DYNAMIC TABLE ${schema}.METRIC_SPREAD
  TARGET_LAG = '${target_lag}'
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
  CLUSTER BY (DATE_KEY, DEVICE_KEY)
AS
WITH HOURS AS (
  SELECT
    DATE_KEY,
    DEVICE_KEY,
    DATASOURCE_KEY,
    METRIC_KEY,
    INSTANCE_KEY,
    DATE_TRUNC('day', HOUR_TS) AS DAY_TS,
    CASE
      WHEN ABS(VALUE_AVG) < 0.000001 THEN 0
      ELSE SIGN(VALUE_AVG)
        * (FLOOR(45 * LN(LEAST(GREATEST(ABS(VALUE_AVG), 0.000001), 999000000000000)) / LN(10) + 0.000000001) + 271)
    END::NUMBER(38,0) AS BUCKET,
    VALUE_AVG
  FROM ${schema}.METRIC_HOURLY
  WHERE LE IS NULL AND VALUE_AVG IS NOT NULL
)
SELECT
  DATE_KEY,
  DEVICE_KEY,
  DATASOURCE_KEY,
  METRIC_KEY,
  INSTANCE_KEY,
  DAY_TS,
  BUCKET,
  COUNT(VALUE_AVG) AS HOURS,
  MIN(VALUE_AVG) AS AVERAGE_MIN,
  MAX(VALUE_AVG) AS AVERAGE_MAX
FROM HOURS
GROUP BY DATE_KEY, DEVICE_KEY, DATASOURCE_KEY, METRIC_KEY, INSTANCE_KEY, DAY_TS, BUCKET;
