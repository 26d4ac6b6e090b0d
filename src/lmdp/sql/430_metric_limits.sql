-- The gauges that have a limit, by name: LIMIT_METRIC is the metric of the same instance that has it, else LIMIT_VALUE is it.
-- IS_FREE: the metric is what is left, and reaches 0.
--
-- LogicMonitor publishes what it collected, and neither percentages that it computes nor units. So the pairs are those of
-- its own LogicModules; names with `percent`, the unit % and OpenTelemetry's `.utilization` need none. Add yours here.
CREATE OR ALTER VIEW ${schema}.METRIC_LIMITS AS
WITH NAMED AS (
  SELECT METRIC_KEY, DATASOURCE_KEY, METRIC, UNIT, LOWER(METRIC) AS NAME
  FROM ${schema}.DIM_METRIC
  WHERE TYPE = 'gauge'
),
LIMITED AS (
  SELECT
    METRIC_KEY,
    METRIC,
    CASE NAME
      WHEN 'hrstorageused' THEN 'hrStorageSize'
      WHEN 'inodesused' THEN 'inodesTotal'
      WHEN 'freespace' THEN 'Capacity'
      WHEN 'freebytes' THEN 'CapacityBytes'
      WHEN 'memavailreal' THEN 'memTotalReal'
      WHEN 'memavailswap' THEN 'memTotalSwap'
      WHEN 'freephysicalmemory' THEN 'TotalVisibleMemorySize'
      WHEN 'currentflowsession' THEN 'MaxFlowSession'
      WHEN 'usagemhz' THEN 'TotalMhz'
      WHEN 'used' THEN 'Max'
    END AS LIMIT_METRIC,
    CASE
      WHEN NAME LIKE '%success%' OR NAME LIKE '%hit%' OR NAME LIKE '%health%' OR NAME LIKE '%uptime%' THEN NULL
      WHEN NAME LIKE '%.utilization' THEN 1
      WHEN NAME LIKE '%percent%' OR UNIT IN ('%', 'percent') THEN 100
      WHEN NAME IN ('cpmcputotal1min', 'cpmcputotal5min', 'jnxoperatingcpu', 'jnxoperatingbuffer') THEN 100
    END::FLOAT AS LIMIT_VALUE,
    NAME LIKE '%free%' OR NAME LIKE '%avail%' OR NAME LIKE '%idle%' OR NAME LIKE '%remain%' AS IS_FREE
  FROM NAMED
)
SELECT METRIC_KEY AS LIMITED_KEY, METRIC AS LIMITED_METRIC, LIMIT_METRIC, LIMIT_VALUE, IS_FREE
FROM LIMITED
WHERE LIMIT_METRIC IS NOT NULL OR LIMIT_VALUE IS NOT NULL;
