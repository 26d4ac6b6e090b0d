-- For `lmdp run --to snowflake`: a pipe that takes names of columns as they are, and a table of the rows that it refuses.
-- https://docs.snowflake.com/en/user-guide/snowpipe-streaming/snowpipe-streaming-high-performance-overview
CREATE PIPE IF NOT EXISTS ${schema}.ROW_EVENTS_STREAM AS
COPY INTO ${schema}.ROW_EVENTS FROM TABLE(DATA_SOURCE(TYPE => 'STREAMING')) MATCH_BY_COLUMN_NAME = CASE_SENSITIVE;

GRANT OPERATE ON PIPE ${schema}.ROW_EVENTS_STREAM TO ROLE ${firehose_role};

ALTER TABLE ${schema}.ROW_EVENTS SET ERROR_LOGGING = TRUE;
