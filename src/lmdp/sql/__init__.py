"""The warehouse's SQL, written once in Snowflake's dialect."""
