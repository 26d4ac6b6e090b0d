"""OpenTelemetry's own exporter for Python against the receiver: rows equal what was recorded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from lmdp import Message, TransformSettings, transform
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.receive import senders
from receive.receiving import receiving


@pytest.mark.parametrize("compression", Compression)
def test_the_python_sdk_is_understood(compression: Compression, tmp_path: Path) -> None:
    """Counter and histogram, in protobuf, with each of its compressions; the tenant is the token's."""
    token = senders.add(tmp_path / "tokens", "sdk", "acme")
    with MemoryBroker() as broker, receiving(broker.access, tokens=tmp_path / "tokens") as receiver:
        exporter = OTLPMetricExporter(
            f"{receiver.address}/v1/metrics",
            headers={"authorization": f"Bearer {token}"},
            compression=compression,
        )
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
        provider = MeterProvider([reader], Resource.create({"host.id": "7"}), shutdown_on_exit=False)
        meter = provider.get_meter("Web")
        counter, histogram = meter.create_counter("requests"), meter.create_histogram("seconds")
        for number in range(3):
            counter.add(number, {"n": number})
        histogram.record(0.5)
        assert provider.force_flush()
        stored = receiver.consumed(1)
        provider.shutdown()
    settings = TransformSettings(tenant_header="lmdp-tenant")
    messages = [Message(value, headers=tuple(headers.items())) for value, headers in stored]
    done = transform(messages, settings)
    assert done.counts.rejected_messages == 0
    assert {row[0] for row in done.rows} == {"acme"}
    names = Counter(row[5] for row in done.rows)
    assert (names["requests"], names["seconds.count"], names["seconds.sum"]) == (3, 1, 1)
