"""OTLP metrics: bytes to structs, in JSON and protobuf."""
