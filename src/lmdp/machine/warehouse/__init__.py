"""The DuckDB file: written by one thread, read by many."""
