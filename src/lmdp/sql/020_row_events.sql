-- The landing table: one row event a row, columns from the specification.
-- Streaming ingest refuses a table with defaults, identity or collation, so it has none, and no load time either.
CREATE TABLE IF NOT EXISTS ${schema}.ROW_EVENTS (
  ${row_events_columns}
);
