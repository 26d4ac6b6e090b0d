-- The one table of points: every row once, typed, its keys computed once. Every other table and view reads it, and no
-- other reaches into the maps.
--
-- A row is a repeat of another when every column but the value is the same; the greatest value is kept, so that the
-- result depends neither on arrival nor on the engine. The window is the last thing done, over the insert-only landing
-- table, and its columns are selected: so a refresh costs what arrived.
-- https://docs.snowflake.com/en/user-guide/dynamic-tables/refresh-optimization
-- A map is its text here, since a VARIANT is no safe key; METRICS has the maps.
--
-- LE and QUANTILE are numbers (LE of the last bucket is infinity); TEMPORALITY is NULL where the source gave none.
-- The TRY_ forms keep the table refreshing when a source uses one of these keys for something else.
--
-- SERIES names the line on a chart that the row is a point of: everything but the time, the value, and notes on
-- them (the reserved otlp.* keys, and the scope's epoch, in which LogicMonitor repeats the time of the poll).
-- HISTOGRAM_SERIES leaves out `le` too: the buckets of one histogram share it; other rows have none.
CREATE OR ALTER TRANSIENT DYNAMIC TABLE ${schema}.POINTS
  TARGET_LAG = DOWNSTREAM
  WAREHOUSE = ${refresh_warehouse}
  REFRESH_MODE = INCREMENTAL
  INITIALIZE = ON_SCHEDULE
  CLUSTER BY (HOUR_TS, DEVICE_KEY)
  MAX_DATA_EXTENSION_TIME_IN_DAYS = 14
AS
WITH EVENTS AS (
  SELECT
    ${points_columns},
    DATE_TRUNC('hour', ${ts}) AS HOUR_TS,
    ${datasource} = 'lmdp.canary' AS IS_CANARY,
    ${attributes}:"wildAlias"::VARCHAR AS INSTANCE_LABEL,
    CASE ${attributes}:"le"::VARCHAR
      WHEN '+Inf' THEN 'inf'::FLOAT
      ELSE TRY_TO_DOUBLE(${attributes}:"le"::VARCHAR)
    END AS LE,
    TRY_TO_DOUBLE(${attributes}:"quantile"::VARCHAR) AS QUANTILE,
    ${attributes}:"otlp.temporality"::VARCHAR AS TEMPORALITY,
    TRY_TO_BOOLEAN(${attributes}:"otlp.monotonic"::VARCHAR) AS IS_MONOTONIC,
    TO_TIMESTAMP_NTZ(TRY_TO_NUMBER(${attributes}:"otlp.startTimeUnixMs"::VARCHAR, 14, 0), 3) AS START_TS,
    MD5(
      ${series_text}
      || COALESCE(TO_JSON(OBJECT_DELETE(
        ${attributes}::OBJECT, 'otlp.temporality', 'otlp.monotonic', 'otlp.startTimeUnixMs', 'otlp.intValue'
      )), '{}')
      || COALESCE(TO_JSON(${resource}), '{}')
      || COALESCE(TO_JSON(OBJECT_DELETE(${scope}::OBJECT, 'epoch')), '{}')
    ) AS SERIES,
    CASE
      WHEN ${attributes}:"le"::VARCHAR IS NOT NULL THEN MD5(
        ${series_text}
        || COALESCE(TO_JSON(OBJECT_DELETE(
          ${attributes}::OBJECT, 'le', 'otlp.temporality', 'otlp.monotonic', 'otlp.startTimeUnixMs', 'otlp.intValue'
        )), '{}')
        || COALESCE(TO_JSON(${resource}), '{}')
        || COALESCE(TO_JSON(OBJECT_DELETE(${scope}::OBJECT, 'epoch')), '{}')
      )
    END AS HISTOGRAM_SERIES
  FROM ${schema}.ROW_EVENTS
)
SELECT
  ${ts_date_key} AS DATE_KEY,
  ${device_key} AS DEVICE_KEY,
  ${datasource_key} AS DATASOURCE_KEY,
  ${metric_key} AS METRIC_KEY,
  ${instance_key} AS INSTANCE_KEY,
  *
FROM EVENTS
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY ${points_identity}, HOUR_TS
  ORDER BY VALUE DESC NULLS LAST
) = 1;
