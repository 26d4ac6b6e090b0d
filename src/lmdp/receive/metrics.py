"""Metrics of the receiver, for a monitor on this machine."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The receiver's metrics. The name of a sender is its token's, or its certificate's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "lmdp_receive_requests", "Requests, by sender and status.", ["sender", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "lmdp_receive_seconds", "Time to an answer with 200.", buckets=_BOUNDS_S, registry=self.registry
        )
        self._messages = Counter("lmdp_receive_messages", "Messages that Kafka acknowledged.", registry=self.registry)
        self._bytes = Counter("lmdp_receive_bytes", "Bytes of their values.", registry=self.registry)
        self.empty = Counter("lmdp_receive_empty", "Requests with nothing in them, 200.", registry=self.registry)
        self.disconnected = Counter(
            "lmdp_receive_disconnected", "Senders that left before their body was whole.", registry=self.registry
        )
        self.in_flight = Gauge("lmdp_receive_in_flight_bytes", "Bytes of bodies under way.", registry=self.registry)
        self.connections = Gauge("lmdp_receive_connections", "Open connections.", registry=self.registry)
        self.kafka_up = Gauge(
            "lmdp_receive_kafka_up", "0 after a message that Kafka did not acknowledge.", registry=self.registry
        )

    def stored(self, size: int) -> None:
        """Count a message that Kafka acknowledged."""
        self._messages.inc()
        self._bytes.inc(size)

    def answered(self, sender: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(sender, status).inc()
        if status == 200:
            self._seconds.observe(seconds)

    def watch_certificate(self, ends: Callable[[], float]) -> None:
        """Export when the server's certificate expires."""
        Gauge(
            "lmdp_receive_certificate_end_time_seconds", "When the certificate expires, in Unix seconds.",
            registry=self.registry,
        ).set_function(ends)  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Return the answers until now by kind, and what is under way.

        `busy` are those that senders retry, 429 and 503; what is `refused` otherwise they drop.
        """
        found = {"accepted": 0, "busy": 0, "refused": 0}
        for sample in next(iter(self._requests.collect())).samples:
            if sample.name.endswith("_total"):
                status = sample.labels["status"]
                kind = "accepted" if status == "200" else "busy" if status in ("429", "503") else "refused"
                found[kind] += int(sample.value)
        return {**found, "connections": int(self.registry.get_sample_value("lmdp_receive_connections") or 0)}
