"""Snowflake's side: connection, setup, checks, keys, and the direct writer."""
