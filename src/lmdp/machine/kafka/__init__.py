"""Kafka's side of one machine: access, consumer, producer, topics."""
