"""One process alongside Kafka, into DuckDB."""
