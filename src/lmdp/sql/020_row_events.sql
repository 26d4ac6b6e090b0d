-- The landing table: one row event a row, columns from the specification.
-- No defaults, identity or collation: the Classic architecture of streaming ingest refuses them, the high-performance one
-- evaluates defaults when the pipe is compiled and differs in the others. Which of the two Firehose uses is not
-- documented.
CREATE TABLE IF NOT EXISTS ${schema}.ROW_EVENTS (
  ${row_events_columns}
);
