"""Apache Kafka on loopback: fetched, configured, started, watched."""
