"""Rows straight to Snowflake: Snowpipe Streaming's REST API, through named channels (exactly once) or elastically."""
