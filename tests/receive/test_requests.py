"""Every request that HTTP can carry: its answer, and that nothing was acknowledged that is not on the topic."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.receive.application import ReceiveLimits
from receive.receiving import BUNDLE, Receiving, receiving

JSON, PROTOBUF = "application/json", "application/x-protobuf"
MIB = 2**20


def metrics() -> bytes:
    """A metrics request in protobuf."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="Idle")
    metric.gauge.data_points.add(time_unix_nano=1_700_000_000_000_000_000, as_int=1)
    return bytes(request.SerializeToString())


def logs() -> bytes:
    """A logs request, which reads as metrics without names."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=1, severity_text="INFO")
    record.body.string_value = "hello"
    return bytes(request.SerializeToString())


def traces() -> bytes:
    """A traces request."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"\xff" * 16, span_id=b"\xfe" * 8, name="GET")
    return bytes(request.SerializeToString())


def raw_deflate(data: bytes) -> bytes:
    """What some senders mean by deflate."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiving]:
    """A receiver with small limits, before a broker in memory."""
    with MemoryBroker() as broker:
        broker.create_topic("requests")
        limits = ReceiveLimits(body=200_000, decompressed=MIB, in_flight=MIB)
        with receiving(broker.access, topic="requests", limits=limits) as running:
            yield running


def post(receiver: Receiving, content: Any, path: str = "/v1/metrics", **headers: str) -> httpx.Response:
    """Send a request with exactly these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{receiver.address}{path}", content=content, headers=named, timeout=20)


def message(answer: httpx.Response) -> str:
    """The message of a google.rpc.Status, which is the second field; so it is of a partial success."""
    if answer.headers["content-type"] == JSON:
        return str(answer.json()["message"])
    return str(ExportMetricsPartialSuccess.FromString(answer.content).error_message)


TAKEN: dict[str, tuple[Any, dict[str, str], bytes | None]] = {
    "JSON": (BUNDLE, {"content_type": JSON}, BUNDLE),
    "JSON with a charset": (BUNDLE, {"content_type": "Application/JSON; charset=UTF-8"}, BUNDLE),
    "JSON without a type": (BUNDLE, {}, BUNDLE),
    "JSON as plain text": (BUNDLE, {"content_type": "text/plain;charset=utf-8"}, BUNDLE),
    "JSON as Java's default type": (BUNDLE, {"content_type": "application/x-www-form-urlencoded"}, BUNDLE),
    "JSON after a byte order mark": (b"\xef\xbb\xbf" + BUNDLE, {}, b"\xef\xbb\xbf" + BUNDLE),
    "field names of the .proto file": (b'{"resource_metrics": [{}]}', {}, b'{"resource_metrics": [{}]}'),
    "nothing in it that can become a row": (b'{"resourceMetrics": [{"scopeMetrics": 7}]}', {}, None),
    "gzip": (gzip.compress(BUNDLE, mtime=1), {"content_type": JSON, "content_encoding": "gzip"}, None),
    "gzip that no header names": (gzip.compress(BUNDLE, mtime=1), {}, None),
    "zstd": (zstandard.compress(BUNDLE), {"content_type": JSON, "content_encoding": "zstd"}, None),
    "deflate": (zlib.compress(BUNDLE), {"content_type": JSON, "content_encoding": "deflate"}, BUNDLE),
    "bare deflate": (raw_deflate(BUNDLE), {"content_encoding": "deflate"}, BUNDLE),
    "identity": (BUNDLE, {"content_encoding": "identity"}, BUNDLE),
    "in chunks": (iter([BUNDLE[:50], BUNDLE[50:]]), {"content_type": JSON}, BUNDLE),
    "protobuf": (metrics(), {"content_type": PROTOBUF}, metrics()),
    "protobuf, gzip": (gzip.compress(metrics(), mtime=1), {"content_type": PROTOBUF, "content_encoding": "gzip"}, None),
    "protobuf without a type": (metrics(), {}, metrics()),
}


def test_what_holds_metrics_is_on_the_topic_as_it_came(receiver: Receiving) -> None:
    """Each answer with 200 has its message on the topic, byte for byte, unless the consumer cannot read the coding."""
    expected = []
    for name, (content, headers, stored) in TAKEN.items():
        answer = post(receiver, content, **headers)
        assert (name, answer.status_code, answer.text) == (name, 200, answer.text)
        is_protobuf = "protobuf" in name
        assert (name, answer.content) == (name, b"" if is_protobuf else b"{}")
        assert answer.headers["content-type"] == (PROTOBUF if is_protobuf else JSON), name
        expected.append(content if stored is None else stored)
    assert sorted(value for value, _ in receiver.consumed(len(TAKEN))) == sorted(expected)


REFUSED: dict[str, tuple[Any, dict[str, str], int, str]] = {
    "no body": (b"", {}, 400, "no body"),
    "blanks": (b" \n", {"content_type": PROTOBUF}, 400, "no body"),
    "another type": (BUNDLE, {"content_type": "text/html"}, 415, "application/x-protobuf or application/json"),
    "a form with files": (BUNDLE, {"content_type": "multipart/form-data; boundary=x"}, 415, "not OTLP"),
    "gRPC": (BUNDLE, {"content_type": "application/grpc+proto"}, 415, "OTLP/gRPC is not served"),
    "an unknown coding": (BUNDLE, {"content_encoding": "br"}, 415, "'br' is not taken: use one of gzip, zstd, deflate"),
    "two codings": (gzip.compress(BUNDLE), {"content_encoding": "deflate, gzip"}, 415, "two content codings"),
    "a coding that it has not": (BUNDLE, {"content_encoding": "gzip"}, 400, "says gzip, and the body is not"),
    "gzip that is cut off": (gzip.compress(BUNDLE)[:-9], {"content_encoding": "gzip"}, 400, "before its end mark"),
    "zstd that is broken": (zstandard.compress(BUNDLE)[:9] + b"x" * 9, {}, 400, "zstd"),
    "deflate that is broken": (b"x\x9cxxxx", {"content_encoding": "deflate"}, 400, "deflate: "),
    "deflate that is cut off": (zlib.compress(BUNDLE)[:-9], {"content_encoding": "deflate"}, 400, "deflate: the"),
    "a bomb of gzip": (gzip.compress(bytes(50 * MIB)), {"content_encoding": "gzip"}, 413, "larger than 1,048,576"),
    "a bomb of zstd": (zstandard.compress(bytes(500 * MIB)), {}, 413, "larger than 1,048,576 bytes"),
    "a bomb of deflate": (zlib.compress(bytes(50 * MIB)), {"content_encoding": "deflate"}, 413, "than 1,048,576"),
    "too large": (b"{" + bytes(200_000), {}, 413, "the body has 200,001 bytes; up to 200,000 are taken"),
    "too large, in chunks": (iter([bytes(150_000)] * 9), {}, 413, "the body has more than 200,000 bytes"),
    "logs": (b'{"resourceLogs": [{}]}', {"content_type": JSON}, 400, "It looks like OTLP logs"),
    "traces": (b'{"resourceSpans": [{}]}', {"content_type": JSON}, 400, "It looks like OTLP traces"),
    "logs in protobuf": (logs(), {"content_type": PROTOBUF}, 400, "It looks like OTLP logs"),
    "traces in protobuf": (traces(), {"content_type": PROTOBUF}, 400, "OTLP traces"),
    "JSON that is cut off": (BUNDLE[:-5], {"content_type": JSON}, 400, "not an OTLP metrics request: JSON: "),
    "JSON that is no object": (b"[]", {"content_type": JSON}, 400, "a JSON array"),
    "plain text": (b"hello", {}, 400, "It looks like plain text"),
    "HTML": (b"<html></html>", {}, 400, "It looks like HTML"),
    "zeros": (bytes(100), {"content_type": PROTOBUF}, 400, "not an OTLP metrics request"),
    "too deep": (b'{"resourceMetrics": ' + b"[" * 50_000, {}, 400, "not an OTLP metrics request"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_metrics_request_is_refused_for_good(receiver: Receiving, case: str) -> None:
    """The status is one that no sender repeats; the body is a Status in the request's encoding, with the reason."""
    content, headers, status, text = REFUSED[case]
    answer = post(receiver, content, **headers)
    said = message(answer)
    assert (answer.status_code, text in said) == (status, True), said
    assert "retry-after" not in answer.headers
    assert answer.headers["content-type"] == (PROTOBUF if headers.get("content_type") == PROTOBUF else JSON)


@pytest.mark.parametrize(("content", "kind"), [(b"", PROTOBUF), (b"{}", JSON), (b" { } ", JSON)])
def test_a_request_without_metrics_is_a_success(receiver: Receiving, content: bytes, kind: str) -> None:
    """OTLP wants success for a request with nothing in it; there is nothing to store."""
    assert post(receiver, content, content_type=kind).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/v1/logs", 404, "takes metrics alone"),
        ("POST", "/v1/traces", 404, "takes metrics alone"),
        ("POST", "/api/other", 404, "add it to --paths"),
        ("POST", "/v1/metrics/", 404, "add it to --paths"),
        ("GET", "/v1/metrics", 405, "send metrics with POST"),
        ("PUT", "/v1/metrics", 405, "send metrics with POST"),
        ("GET", "/health", 200, "serving"),
    ],
)
def test_paths_and_methods(receiver: Receiving, method: str, path: str, status: int, text: str) -> None:
    """Other paths are 404, other methods 405."""
    answer = httpx.request(method, f"{receiver.address}{path}", content=BUNDLE if method != "GET" else None)
    assert (answer.status_code, text in answer.text) == (status, True), answer.text


def test_errors_are_logged_in_one_line_and_counted(receiver: Receiving) -> None:
    """A refusal has no line of its own: whoever sends them by the thousand must not fill a disk."""
    for _ in range(30):
        post(receiver, b"hello")
    assert not [line for line in receiver.log if "hello" in line or "plain text" in line]
