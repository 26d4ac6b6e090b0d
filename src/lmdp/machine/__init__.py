"""One process alongside Kafka, into DuckDB or Snowflake."""
