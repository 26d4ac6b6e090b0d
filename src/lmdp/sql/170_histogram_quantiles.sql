-- Quantiles of what a histogram counted in a step of time that ends at TS; METRIC is its name without `.bucket`.
--
--   delta                      the point itself
--   cumulative, undeclared     its growth since the point before; after a RESET it began again, and counts whole
--
-- A histogram began again if any of its cumulative buckets fell, if its bounds changed in a way that cannot be compared,
-- or if its start time says so (as in METRIC_RATES). Its count is not compared: OTLP has it equal the
-- sum of the buckets, which is +Inf.
--
-- No row: a cumulative histogram's first point (as in METRIC_RATES: none before it on its own day or the day before), and
-- a step in which nothing was counted.
--
-- Within a bucket values are taken to be spread evenly, as Prometheus' histogram_quantile takes them; the first one
-- begins at 0, and a quantile beyond the last finite bound is that bound.
-- https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
--
-- Bounds may differ from point to point. What the point before had counted up to a bound lies between its counts at its
-- own nearest bounds below and above (AT_LEAST, AT_MOST): where the two are equal, bounds can be compared. An exponential
-- histogram has nothing below its first bucket on either side of zero, whose lower bound its rows do not carry; so its
-- range may widen, and its scale may fall. Counts that fall as their bounds rise (a repeat changed one of them) are taken
-- as not falling.
CREATE OR ALTER VIEW ${schema}.HISTOGRAM_QUANTILES AS
WITH BUCKETS AS (
  SELECT
    ${histogram_columns},
    METRIC AS BUCKET_METRIC,
    INSTANCE_LABEL,
    HISTOGRAM_SERIES,
    COALESCE(TEMPORALITY, 'undeclared') AS TEMPORALITY,
    TS,
    TS_UNIX_MS,
    LE,
    MAX(VALUE) AS COUNTED,
    MAX(START_TS) AS START_TS
  FROM ${schema}.METRICS
  WHERE TYPE IN ('histogram', 'exponential_histogram') AND METRIC LIKE '%.bucket' AND LE IS NOT NULL
  GROUP BY
    ${histogram_columns}, METRIC, INSTANCE_LABEL, HISTOGRAM_SERIES, COALESCE(TEMPORALITY, 'undeclared'), TS,
    TS_UNIX_MS, LE
),
MOMENTS AS (
  SELECT
    DEVICE_ID AS M_DEVICE,
    HISTOGRAM_SERIES AS M_SERIES,
    TEMPORALITY AS M_TEMPORALITY,
    TS AS M_TS,
    TS_UNIX_MS AS M_MS,
    MAX(START_TS) AS M_START_TS
  FROM BUCKETS
  GROUP BY DEVICE_ID, HISTOGRAM_SERIES, TEMPORALITY, TS, TS_UNIX_MS
),
DAYS AS (
  SELECT *, DATE_TRUNC('day', M_TS) AS DAY_TS
  FROM MOMENTS
  UNION ALL
  SELECT *, DATEADD(day, 1, DATE_TRUNC('day', M_TS))
  FROM MOMENTS
),
PRECEDED AS (
  SELECT
    *,
    LAG(M_MS) OVER (PARTITION BY M_DEVICE, M_SERIES, M_TEMPORALITY, DAY_TS ORDER BY M_MS) AS BEFORE_MS,
    LAG(M_TS) OVER (PARTITION BY M_DEVICE, M_SERIES, M_TEMPORALITY, DAY_TS ORDER BY M_MS) AS BEFORE_TS,
    LAG(M_START_TS) OVER (PARTITION BY M_DEVICE, M_SERIES, M_TEMPORALITY, DAY_TS ORDER BY M_MS) AS BEFORE_START_TS
  FROM DAYS
),
STEPS AS (
  SELECT *
  FROM PRECEDED
  WHERE DAY_TS = DATE_TRUNC('day', M_TS)
),
SIDES AS (
  SELECT *, M_MS AS SIDE_MS FROM STEPS WHERE M_TEMPORALITY = 'delta' OR BEFORE_MS IS NOT NULL
  UNION ALL
  SELECT *, BEFORE_MS FROM STEPS WHERE M_TEMPORALITY <> 'delta' AND BEFORE_MS IS NOT NULL
),
PAIRS AS (
  SELECT
    ${histogram_columns},
    BUCKET_METRIC,
    INSTANCE_LABEL,
    HISTOGRAM_SERIES,
    TEMPORALITY,
    M_TS AS TS,
    M_MS AS TS_UNIX_MS,
    BEFORE_MS,
    COALESCE(
      TEMPORALITY <> 'delta' AND M_START_TS >= BEFORE_TS AND M_START_TS <> COALESCE(BEFORE_START_TS, BEFORE_TS), FALSE
    ) AS RESTARTED,
    LE,
    CASE WHEN SIDE_MS = M_MS THEN COUNTED END AS COUNTED,
    CASE WHEN SIDE_MS < M_MS THEN COUNTED END AS BEFORE_COUNTED
  FROM BUCKETS
  JOIN SIDES
    ON M_DEVICE = DEVICE_ID AND M_SERIES = HISTOGRAM_SERIES AND M_TEMPORALITY = TEMPORALITY AND SIDE_MS = TS_UNIX_MS
),
COMPARED AS (
  SELECT
    *,
    COALESCE(MAX(BEFORE_COUNTED) OVER (
      PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS ORDER BY LE RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ), 0) AS AT_LEAST,
    MIN(BEFORE_COUNTED) OVER (
      PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS ORDER BY LE RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    ) AS AT_MOST,
    MAX(CASE WHEN BEFORE_COUNTED IS NOT NULL THEN LE END) OVER (
      PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS ORDER BY LE RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS BEFORE_LE
  FROM PAIRS
),
JUDGED AS (
  SELECT
    *,
    MAX(
      CASE
        WHEN TEMPORALITY = 'delta' THEN 0
        WHEN RESTARTED OR COUNTED < AT_LEAST THEN 1
        WHEN AT_MOST <= AT_LEAST THEN 0
        WHEN TYPE = 'exponential_histogram' AND (BEFORE_LE IS NULL OR (BEFORE_LE <= 0 AND LE > 0)) THEN 0
        WHEN AT_MOST > AT_LEAST THEN 1
        ELSE 0
      END
    ) OVER (PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS) = 1 AS RESET
  FROM COMPARED
  WHERE COUNTED IS NOT NULL
),
GROWN AS (
  SELECT *, CASE WHEN RESET THEN COUNTED ELSE COUNTED - AT_LEAST END AS GREW
  FROM JUDGED
),
RISING AS (
  SELECT
    *,
    MAX(GREW) OVER (
      PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS ORDER BY LE ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS UP_TO,
    MAX(GREW) OVER (PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS) AS TOTAL
  FROM GROWN
),
BOUNDED AS (
  SELECT
    *,
    LAG(LE) OVER (PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS ORDER BY LE) AS BELOW_LE,
    COALESCE(LAG(UP_TO) OVER (PARTITION BY HISTOGRAM_SERIES, TEMPORALITY, TS_UNIX_MS ORDER BY LE), 0) AS BELOW
  FROM RISING
),
PERCENTS AS (
  SELECT 50 AS PERCENT
  UNION ALL
  SELECT 90
  UNION ALL
  SELECT 95
  UNION ALL
  SELECT 99
),
FOUND AS (
  SELECT
    *,
    CASE
      WHEN LE = 'inf'::FLOAT THEN BELOW_LE
      WHEN BELOW_LE IS NULL AND LE <= 0 THEN LE
      ELSE COALESCE(BELOW_LE, 0) + (LE - COALESCE(BELOW_LE, 0)) * ((TOTAL * PERCENT / 100 - BELOW) / (UP_TO - BELOW))
    END AS AT_PERCENT
  FROM BOUNDED
  CROSS JOIN PERCENTS
  WHERE TOTAL > 0 AND UP_TO >= TOTAL * PERCENT / 100 AND BELOW < TOTAL * PERCENT / 100
)
SELECT
  ${histogram_columns},
  SUBSTR(BUCKET_METRIC, 1, LENGTH(BUCKET_METRIC) - 7) AS METRIC,
  INSTANCE_LABEL,
  HISTOGRAM_SERIES,
  TEMPORALITY,
  TS,
  TS_UNIX_MS,
  (TS_UNIX_MS - BEFORE_MS)::FLOAT / 1000 AS SECONDS,
  RESET,
  TOTAL AS SAMPLES,
  MAX(CASE WHEN PERCENT = 50 THEN AT_PERCENT END) AS P50,
  MAX(CASE WHEN PERCENT = 90 THEN AT_PERCENT END) AS P90,
  MAX(CASE WHEN PERCENT = 95 THEN AT_PERCENT END) AS P95,
  MAX(CASE WHEN PERCENT = 99 THEN AT_PERCENT END) AS P99
FROM FOUND
GROUP BY
  ${histogram_columns}, BUCKET_METRIC, INSTANCE_LABEL, HISTOGRAM_SERIES, TEMPORALITY, TS, TS_UNIX_MS, BEFORE_MS, RESET,
  TOTAL;
