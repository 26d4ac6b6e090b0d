"""What a message that is no OTLP metrics request looks like: the reason of its reject says so, with the remedy."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

import bundles
import strategies
from bundles import bundle, gauge, run, verdict

MALFORMED = "Decode.Malformed"
NOT_METRICS = "Decode.NotMetrics"
REQUEST = bundle(gauge())
OK = json.dumps(REQUEST).encode()
TEXT = OK.decode()
PROTOBUF = strategies.protobuf(REQUEST)
PARTS = metrics_pb2.MetricsData.FromString(PROTOBUF).resource_metrics[0]
RESOURCE = REQUEST["resourceMetrics"][0]
UUID = bytes(range(16))


def varint(number: int) -> bytes:
    """A length as protobuf and Snappy write it."""
    rest, low = number >> 7, number & 127
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def snappy(data: bytes) -> bytes:
    """A Snappy block of one literal."""
    return varint(len(data)) + bytes([61 << 2]) + struct.pack("<H", len(data) - 1) + data


def logs(**record: Any) -> bytes:
    """OTLP logs of one record, as protobuf."""
    data = logs_pb2.LogsData()
    data.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=5, **record)
    return bytes(data.SerializeToString())


def traces() -> bytes:
    """OTLP traces of one span, as protobuf."""
    data = trace_pb2.TracesData()
    data.resource_spans.add().scope_spans.add().spans.add(trace_id=bytes(range(130, 146)), name="GET")
    return bytes(data.SerializeToString())


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        # a frame around the message
        (b"\0\0\0\0\x2a" + OK, MALFORMED, "Schema Registry frame (schema id 42): let the producer send without a"),
        (b"\0\0\0\0\x2a\0" + PROTOBUF, MALFORMED, "Schema Registry frame (schema id 42)"),
        (b"\1" + UUID + OK, MALFORMED, "Schema Registry frame (schema 000102030405060708090a0b0c0d0e0f)"),
        (b"\3\0" + UUID + OK, MALFORMED, "AWS Glue's schema registry frame"),
        (b"\0" + struct.pack(">I", len(PROTOBUF)) + PROTOBUF, MALFORMED, "a gRPC frame"),
        ((struct.pack(">I", len(PROTOBUF)) + PROTOBUF) * 2, MALFORMED, "the Collector's file exporter"),
        ((varint(len(PROTOBUF)) + PROTOBUF) * 2, MALFORMED, "CloudWatch metric streams"),
        (b"\xca\xfe\xba\xbe" + OK, MALFORMED, "JSON with 4 other bytes before it"),
        # another text encoding
        (TEXT.encode("utf-16"), MALFORMED, "UTF-16: let the producer write UTF-8"),
        (TEXT.encode("utf-16-le"), MALFORMED, "UTF-16"),
        (TEXT.encode("utf-16-be"), MALFORMED, "UTF-16"),
        (f" \n{TEXT}".encode("utf-16-be"), MALFORMED, "UTF-16"),
        (TEXT.encode("utf-32"), MALFORMED, "UTF-32"),
        (TEXT.encode("utf-32-be"), MALFORMED, "UTF-32"),
        # JSON of another shape
        (json.dumps(TEXT).encode(), MALFORMED, "a JSON string that holds JSON: the producer serializes twice"),
        (json.dumps(json.dumps(REQUEST, indent=1)).encode(), MALFORMED, "a JSON string that holds JSON"),
        (json.dumps(base64.b64encode(OK).decode()).encode(), MALFORMED, "a JSON string that holds base64 of JSON"),
        (OK + OK, MALFORMED, "several JSON documents: send each as a message of its own; in a file, one a line, named"),
        (OK + b"\n" + OK + b"\n", MALFORMED, "several JSON documents"),
        (gzip.compress(OK + b"\n" + OK, mtime=0), MALFORMED, "several JSON documents"),
        (b"[" + OK + b"]", MALFORMED, "a JSON array: send each"),
        (b"\xef\xbb\xbf [" + OK + b"]", MALFORMED, "a JSON array"),
        (OK.replace(b"1.5", b"NaN"), MALFORMED, 'a bare NaN or Infinity: write "NaN", "Infinity" or "-Infinity" in'),
        (str(REQUEST).encode(), MALFORMED, "Python's repr of a dict: write JSON: json.dumps"),
        (repr(OK).encode(), MALFORMED, "Python's repr of a text"),
        (
            json.dumps(RESOURCE).encode(),
            NOT_METRICS,
            'OtlpJsonLoggingMetricExporter writes it: send {"resourceMetrics"',
        ),
        (b'{"resource":{},"scope_metrics":[{}]}', NOT_METRICS, "a bare ResourceMetrics"),
        (json.dumps(RESOURCE["scopeMetrics"][0]).encode(), NOT_METRICS, "a bare ScopeMetrics"),
        (json.dumps(gauge()).encode(), NOT_METRICS, "a bare Metric"),
        (b'{"resourceLogs":[]}', NOT_METRICS, "OTLP logs: give them a topic of their own"),
        (b'{"resource_spans":[{}]}', NOT_METRICS, "OTLP traces"),
        (b'{"schema":{"type":"string"},"payload":"x"}', NOT_METRICS, "Kafka Connect's envelope: set value.converter"),
        (b'{"errorCode":"Row.TooLarge","rawData":"e30="}', NOT_METRICS, "a reject"),
        # compression that is not read
        (zlib.compress(OK), MALFORMED, "zlib: use gzip or zstd, or let Kafka compress"),
        (zlib.compress(PROTOBUF, 1), MALFORMED, "zlib"),
        (b"\xff\x06\x00\x00sNaPpY" + OK, MALFORMED, "a Snappy stream"),
        (b"\x82SNAPPY\x00" + OK, MALFORMED, "a Snappy stream of Java"),
        (snappy(OK), MALFORMED, "a Snappy block"),
        (b"\x04\x22\x4d\x18" + OK, MALFORMED, "an LZ4 frame"),
        # text that is made of bytes
        (base64.b64encode(OK), MALFORMED, "base64 of JSON: send the bytes themselves"),
        (base64.b64encode(gzip.compress(OK, mtime=0)), MALFORMED, "base64 of gzip"),
        (base64.b64encode(zstandard.compress(OK)), MALFORMED, "base64 of zstd"),
        (base64.b64encode(PROTOBUF), MALFORMED, "base64 of protobuf"),
        (base64.urlsafe_b64encode(PROTOBUF).rstrip(b"="), MALFORMED, "base64 of protobuf"),
        (base64.encodebytes(PROTOBUF), MALFORMED, "base64 of protobuf"),
        (PROTOBUF.hex().encode(), MALFORMED, "hexadecimal text of protobuf"),
        # other text
        (snappy(b"\n\x20\n\x10\n\x08__name__\x12\x02up"), MALFORMED, "Prometheus remote write"),
        (b"# HELP x y\n# TYPE x counter\nx 1\n", MALFORMED, "Prometheus' text exposition"),
        (b'x_total{method="post"} 1027 1395066363000\n', MALFORMED, "Prometheus' text exposition"),
        (b"<?xml version='1.0'?><a/>", MALFORMED, "XML"),
        (b"<!DOCTYPE html><html>", MALFORMED, "HTML"),
        (b"time,host,value\n1,a,3\n", MALFORMED, "CSV"),
        (b"<34>1 host su - an entry", MALFORMED, "plain text"),
        # protobuf of another kind
        (logs(), NOT_METRICS, "OTLP logs"),
        (logs(body={"string_value": "started"}, severity_text="INFO"), NOT_METRICS, "OTLP logs"),
        (logs(body={"string_value": ""}), NOT_METRICS, "OTLP logs"),
        (traces(), NOT_METRICS, "OTLP traces"),
        (PARTS.SerializeToString(), NOT_METRICS, "a bare ResourceMetrics"),
        (PARTS.scope_metrics[0].SerializeToString(), NOT_METRICS, "a bare ScopeMetrics"),
        (PARTS.scope_metrics[0].metrics[0].SerializeToString(), NOT_METRICS, "a bare Metric"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_the_reason_says_what_it_looks_like(value: bytes, code: str, words: str) -> None:
    """A message in a known format that is not read has a reason that names the format and the remedy."""
    done = run(value)
    assert verdict(done) == code
    assert ". It looks like " in done.rejects[0].message
    assert words in done.rejects[0].message
    assert done.rejects[0].raw == value


@pytest.mark.parametrize("value", [b"{", OK[:-9], b'{"x":1}', b"\xff" * 40, b"\0", OK.replace(b"CPU", b"\xff")])
def test_what_is_not_known_is_not_guessed(value: bytes) -> None:
    """A message that looks like nothing known has its plain reason."""
    assert "It looks like" not in run(value).rejects[0].message


def test_what_can_be_read_is_read() -> None:
    """None of the looks changes the verdict on a message that is OTLP."""
    assert verdict(run(PROTOBUF)) == verdict(run(OK)) == "1 rows"
    labelled = bundle(gauge({**bundles.POINT, "attributes": [bundles.text("__name__", "up")]}))
    assert verdict(run(strategies.protobuf(labelled))) == verdict(run(labelled)) == "1 rows"
