"""An OTLP/HTTP receiver in front of the topic: a request is answered once Kafka has its body."""
