"""The warehouse's SQL, in Snowflake's dialect: tables and views, each engine made from these same files."""
