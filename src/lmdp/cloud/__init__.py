"""Kafka over EventBridge Pipes to Lambda, and on to Firehose; rejects to S3."""
