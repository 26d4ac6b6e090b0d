-- Every row once, with clean names. The only view that reaches into the maps; the others read its plain columns.
--
-- A row is a repeat of another when every column but the value is the same; the greatest value is shown, so that the
-- answer depends neither on arrival nor on the engine. The window is partitioned by plain columns, the times among
-- them (and the hour, for who sums by it), so that a filter on any of them passes below it. A map takes part as its
-- text: a VARIANT is no safe key.
--
-- LE and QUANTILE are numbers (LE of the last bucket is infinity); TEMPORALITY is NULL where the source gave none.
-- The TRY_ forms keep a view readable when a source uses one of these keys for something else.
--
-- SERIES names the line on a chart that the row is a point of: everything but the time, the value, and notes on
-- them (the reserved otlp.* keys, and the scope's epoch, in which LogicMonitor repeats the time of the poll).
-- HISTOGRAM_SERIES leaves out `le` too: the buckets of one histogram share it; other rows have none.
CREATE OR REPLACE VIEW ${schema}.METRICS AS
WITH EVENTS AS (
  SELECT *, DATE_TRUNC('hour', ${ts}) AS HOUR_TS
  FROM ${schema}.ROW_EVENTS
)
SELECT
  ${metrics_columns},
  HOUR_TS,
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
FROM EVENTS
WHERE ${datasource} <> 'lmdp.canary'
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY ${metrics_identity}, HOUR_TS
  ORDER BY ${value} DESC NULLS LAST
) = 1;
