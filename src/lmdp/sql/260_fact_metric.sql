-- METRICS as a fact: keys of the dimensions, times and the value. A filter on TS is what keeps a question small.
CREATE OR REPLACE VIEW ${schema}.FACT_METRIC AS
SELECT
  ${ts_date_key} AS DATE_KEY,
  ${device_key} AS DEVICE_KEY,
  ${datasource_key} AS DATASOURCE_KEY,
  ${metric_key} AS METRIC_KEY,
  ${instance_key} AS INSTANCE_KEY,
  SERIES,
  TS,
  TS_UNIX_MS,
  HOUR_TS,
  LE,
  QUANTILE,
  VALUE
FROM ${schema}.METRICS;
