"""Kafka over EventBridge Pipes to Lambda, and on to Firehose or Snowflake; rejects to S3."""
