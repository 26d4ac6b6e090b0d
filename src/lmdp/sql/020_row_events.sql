-- The landing table: one row event a row, columns from the specification.
-- No defaults, identity or collation: the Classic architecture of streaming ingest refuses them, and which of the two
-- Firehose uses is not documented.
CREATE TABLE IF NOT EXISTS ${schema}.ROW_EVENTS (
  ${row_events_columns}
);
