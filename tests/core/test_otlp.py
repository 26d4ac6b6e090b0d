"""Bytes to bundle: each line of the contract's section on messages."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2

import bundles
import strategies
from bundles import bundle, gauge, pair, raw, run, text, verdict

MALFORMED = "Decode.Malformed"
NOT_METRICS = "Decode.NotMetrics"
TOO_LARGE = "Decode.TooLarge"
OK = json.dumps(bundle(gauge())).encode()
PROTOBUF = strategies.protobuf(bundle(gauge()))
BOM = b"\xef\xbb\xbf"
LONG = json.dumps(bundle(gauge({**bundles.POINT, "attributes": [text("a", "x" * 5000)]}))).encode()
zstd = zstandard.compress


def gzipped(data: bytes) -> bytes:
    """The same bytes each time, so that a test has the same name in every worker."""
    return gzip.compress(data, mtime=0)


def shown(value: Any) -> str:
    """A name for a case that is short and printable."""
    return ascii(value)[:50]


def streamed(data: bytes) -> bytes:
    """A zstd frame that does not say how large its content is."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return bytes(compressor.compress(data) + compressor.flush())


def logs() -> bytes:
    """OTLP logs as protobuf, which are the same on the wire as far as the scopes."""
    data = logs_pb2.LogsData()
    record = data.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano, record.severity_number = 1, 9
    return bytes(data.SerializeToString())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # tombstones
        (None, "empty"),
        (b"", "empty"),
        (b" \t\r\n", "empty"),
        (BOM, "empty"),
        (b" " + BOM + b"\n", "empty"),
        (gzipped(b""), "empty"),
        (gzipped(b" \n"), "empty"),
        (zstd(b" \n"), "empty"),
        # what begins with a brace
        (OK, "1 rows"),
        (b" \r\n\t" + OK + b"\n", "1 rows"),
        (BOM + OK, "1 rows"),
        (b" " + BOM + b"\n" + OK, "1 rows"),
        (OK[:-1], MALFORMED),
        (OK + b"}", MALFORMED),
        (OK + OK, MALFORMED),
        (b"{", MALFORMED),
        (b"{]", MALFORMED),
        (b"{'resourceMetrics':[]}", MALFORMED),
        (b'{"resourceMetrics":[],}', MALFORMED),
        (OK.replace(b"CPU", b"\xff"), MALFORMED),
        (b'{"resourceMetrics":[],"x":"\xff"}', MALFORMED),
        (OK.decode().encode("utf-16"), MALFORMED),
        (OK.replace(b"CPU", b"\\ud83d\\ude00"), "1 rows"),
        (OK.replace(b"CPU", b"\\ud800"), MALFORMED),
        (OK.replace(b'"CPU"', b'"\\ud800", "version": 1'), MALFORMED),
        (b'{"resourceMetrics":' + b"[" * 100_000 + b"]" * 100_000 + b"}", MALFORMED),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"resourceMetrics":[]}', MALFORMED),
        (b'{"resourceMetrics":{}}', MALFORMED),
        (b'{"resourceMetrics":[1]}', MALFORMED),
        (b'{"resourceMetrics":"none"}', MALFORMED),
        # no metrics
        (b"{}", NOT_METRICS),
        (b'\n{"x":1}', NOT_METRICS),
        (b'{"resourceLogs":[]}', NOT_METRICS),
        (b'{"resourceSpans":[{"scopeSpans":[]}]}', NOT_METRICS),
        (logs(), NOT_METRICS),
        (b"\x12\x01\x41", NOT_METRICS),
        # an empty bundle
        (b'{"resourceMetrics":[]}', "0 rows"),
        (b'{"resource_metrics":[]}', "0 rows"),
        (b'{"resourceMetrics":null}', "0 rows"),
        (b'{"resource_metrics":null}', "0 rows"),
        (b'{"resourceMetrics":[null]}', "0 rows"),
        (b'{"resourceMetrics":[{}]}', "0 rows"),
        (metrics_pb2.MetricsData(resource_metrics=[metrics_pb2.ResourceMetrics()]).SerializeToString(), "0 rows"),
        # protobuf
        (PROTOBUF, "1 rows"),
        (PROTOBUF[:-1], MALFORMED),
        (PROTOBUF + b"\xff", MALFORMED),
        (PROTOBUF.replace(b"CPU", b"\xff\xff\xff"), MALFORMED),
        (b"[]", MALFORMED),
        (b'"text"', MALFORMED),
        (b"null", MALFORMED),
        (b"\x00", MALFORMED),
        # compression
        (gzipped(OK), "1 rows"),
        (gzipped(BOM + b" " + OK), "1 rows"),
        (gzipped(PROTOBUF), "1 rows"),
        (gzipped(OK[:99]) + gzipped(OK[99:]), "1 rows"),
        (gzipped(OK) + bytes(7), "1 rows"),
        (gzipped(OK)[:-1], MALFORMED),
        (gzipped(OK)[:20], MALFORMED),
        (gzipped(OK) + b"garbage", MALFORMED),
        (gzipped(OK)[:-8] + bytes(8), MALFORMED),
        (gzipped(gzipped(OK)), MALFORMED),
        (b"\x1f\x8b", MALFORMED),
        (zlib.compress(OK), MALFORMED),
        (zstd(OK), "1 rows"),
        (zstd(PROTOBUF), "1 rows"),
        (streamed(OK), "1 rows"),
        (zstd(OK[:99]) + streamed(OK[99:]), "1 rows"),
        (zstd(LONG), "1 rows"),
        (zstd(OK)[:-1], MALFORMED),
        (zstd(OK)[:9], MALFORMED),
        (zstd(OK) + b"garbage", MALFORMED),
        (b"\x28\xb5\x2f\xfd", MALFORMED),
        (gzipped(b"{}"), NOT_METRICS),
        (zstd(b"nonsense"), MALFORMED),
    ],
    ids=shown,
)
def test_message(value: bytes | None, expected: str) -> None:
    """Each kind of message has its verdict, and one that cannot be read has no datapoints."""
    done = run(value)
    assert verdict(done) == expected
    assert done.counts.bytes_in == len(value or b"")
    assert done.counts.rejected_datapoints == 0
    assert [reject.raw for reject in done.rejects] == [value] * len(done.rejects)


@pytest.mark.parametrize("pack", [gzipped, zstd, streamed], ids=["gzip", "zstd", "zstd without a size"])
@pytest.mark.parametrize(("limit", "expected"), [(len(LONG), "1 rows"), (len(LONG) - 1, TOO_LARGE), (1, TOO_LARGE)])
def test_cap(pack: Any, limit: int, expected: str) -> None:
    """What is decompressed may be as large as the cap, and not a byte larger; the reject is the message as it came."""
    value = pack(LONG)
    done = run(value, max_decompressed_bytes=limit)
    assert verdict(done) == expected
    assert all(reject.raw == value for reject in done.rejects)


def test_cap_holds_for_all_parts_together() -> None:
    """Many members or frames are no way around the cap, and what is not compressed has none."""
    size = len(OK)
    assert verdict(run(gzipped(OK[:9]) + gzipped(OK[9:]), max_decompressed_bytes=size)) == "1 rows"
    assert verdict(run(gzipped(OK[:9]) + gzipped(OK[9:]), max_decompressed_bytes=size - 1)) == TOO_LARGE
    assert verdict(run(zstd(OK[:9]) + zstd(OK[9:]), max_decompressed_bytes=size - 1)) == TOO_LARGE
    assert verdict(run(OK, max_decompressed_bytes=1)) == "1 rows"


@pytest.mark.parametrize("pack", [gzipped, zstd, streamed], ids=["gzip", "zstd", "zstd without a size"])
def test_bomb(pack: Any) -> None:
    """A bomb is refused at the cap that stands when nobody sets one."""
    assert verdict(run(pack(bytes(80 * 2**20)))) == TOO_LARGE


@pytest.mark.parametrize("size", [122, 123, 124])
def test_protobuf_that_begins_like_json(size: int) -> None:
    """A first part of 123 bytes makes protobuf begin with a line feed and a brace; it is protobuf all the same."""
    fill = size - len(strategies.protobuf(bundle(gauge()))) + 2
    value = strategies.protobuf(bundle(gauge(unit="u" * (fill - 2))))
    assert value[:2] == bytes([10, size])
    assert verdict(run(value)) == "1 rows"


@pytest.mark.parametrize(
    "value",
    [
        b'\n{"r' + b"x" * 112 + b"1" + b"12345678" * 5,  # protobuf of unknown fields alone
        b"\n{" + OK[1:-1],
        b'\n{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"' + b"x" * 70 + b'"}]}]}]',
    ],
)
def test_broken_json_after_a_line_feed_is_not_lost(value: bytes) -> None:
    """JSON that is cut off is refused as JSON, also where chance makes it readable as protobuf."""
    done = run(value)
    assert verdict(done) == MALFORMED
    assert done.rejects[0].message.startswith("JSON: ")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("5", 5),
        ('"5"', 5),
        ("-7", -7),
        ('"-7"', -7),
        ("-0", 0),
        ('"007"', 7),
        ("5.0", 5),
        ('"5.0"', 5),
        ("1e3", 1000),
        ('"1E+3"', 1000),
        ("1500e-2", 15),
        ("9223372036854775807", 2**63 - 1),
        ('"9223372036854775807"', 2**63 - 1),
        ('"-9223372036854775808"', -(2**63)),
        ("9007199254740993", 2**53 + 1),
        ('"9007199254740993.0"', 2**53 + 1),
        ("9223372036854775808", MALFORMED),
        ('"9223372036854775808"', MALFORMED),
        ("-9223372036854775809", MALFORMED),
        ("1e19", MALFORMED),
        ("1e999999", MALFORMED),
        ('"1e999999999"', MALFORMED),
        ('"' + "9" * 5000 + '"', MALFORMED),
        ("9" * 5000, MALFORMED),
        ("1.5", MALFORMED),
        ('"1.5"', MALFORMED),
        ('""', MALFORMED),
        ('"five"', MALFORMED),
        ('" 5"', MALFORMED),
        ('"+5"', MALFORMED),
        ('"1_000"', MALFORMED),
        ('"0x10"', MALFORMED),
        ('"\u0665"', MALFORMED),
        ('"NaN"', MALFORMED),
        ("true", MALFORMED),
        ("[]", MALFORMED),
        ("{}", MALFORMED),
    ],
)
def test_integer(written: str, expected: int | str) -> None:
    """A 64-bit integer is a number or text, exact; what is none, or needs more bits, is malformed."""
    done = run(raw(f'{{"timeUnixNano":1,"asInt":{written}}}'))
    assert (verdict(done) if isinstance(expected, str) else done.rows[0][10]) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1.5", 1.5),
        ('"1.5"', 1.5),
        ("5", 5.0),
        ('"5"', 5.0),
        ("0", 0.0),
        ("-0", -0.0),
        (" -0 ", -0.0),
        ('"-0"', -0.0),
        ("-0.0", -0.0),
        ("1e22", 1e22),
        ('"1e-400"', 0.0),
        ("123456789012345678901234567890", 1.2345678901234568e29),
        ('"NaN"', "dropped"),
        ('"Infinity"', "dropped"),
        ('"-Infinity"', "dropped"),
        ("1e400", MALFORMED),
        ('"1e400"', MALFORMED),
        ("NaN", MALFORMED),
        ("-Infinity", MALFORMED),
        ('"nan"', MALFORMED),
        ('"inf"', MALFORMED),
        ('""', MALFORMED),
        ('"1,5"', MALFORMED),
        ('"1_0"', MALFORMED),
        ("false", MALFORMED),
        ("[1]", MALFORMED),
    ],
)
def test_double(written: str, expected: float | str) -> None:
    """A double is a number, numeric text, or one of three names; one that is not finite is dropped by rule."""
    done = run(raw(f'{{"timeUnixNano":1,"asDouble":{written}}}'))
    if expected == "dropped":
        assert (done.rows, +done.counts.dropped, done.counts.converted) == ([], {"nonFinite": 1}, 1)
    elif isinstance(expected, str):
        assert verdict(done) == expected
    else:
        assert repr(done.rows[0][10]) == repr(expected)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1", "delta"),
        ("2", "cumulative"),
        ('"AGGREGATION_TEMPORALITY_DELTA"', "delta"),
        ('"AGGREGATION_TEMPORALITY_CUMULATIVE"', "cumulative"),
        ("0", None),
        ("3", None),
        ("-1", None),
        ("null", None),
        ('"AGGREGATION_TEMPORALITY_UNSPECIFIED"', None),
        ('"delta"', None),
        ('"1"', "delta"),
        ("1.0", "delta"),
        ("2e0", "cumulative"),
        ('"2.0"', "cumulative"),
        ("1.5", None),
        ('"1.5"', None),
        ("99999999999999999999999", None),
        ("true", None),
        ("{}", None),
    ],
)
def test_enum(written: str, expected: str | None) -> None:
    """An enum is an integer, however written, or a name; an unknown one counts as not given."""
    (event,) = bundles.events(raw(more=f'"aggregationTemporality":{written}'))
    assert event["attributes"].get("otlp.temporality") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("5", "5"),
        ("1.50", "1.50"),
        ("1E3", "1E3"),
        ("-0", "-0"),
        ("true", "true"),
        ("false", "false"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1e999", "1e999"),
    ],
)
def test_text_from_a_number(written: str, expected: str) -> None:
    """A number or boolean in place of text keeps its own JSON text, in names and in attributes."""
    value = raw(scope=f'{{"name":{written},"attributes":[{{"key":{written},"value":{{"stringValue":{written}}}}}]}}')
    (event,) = bundles.events(value)
    assert (event["datasource"], event["scope"][expected]) == (expected, expected)
    (event,) = bundles.events(
        raw(f'{{"timeUnixNano":1,"asInt":1,"attributes":[{{"key":"a","value":{{"stringValue":{written}}}}}]}}')
    )
    assert event["attributes"]["a"] == expected


@pytest.mark.parametrize("written", ["[]", "{}", '["x"]'])
def test_no_text(written: str) -> None:
    """An array or an object is no text."""
    assert verdict(run(raw(scope=f'{{"name":{written}}}'))) == MALFORMED


def nulls(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything in `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for path in [path] if path] + [way for key, item in inner for way in nulls(item, (*path, key))]


FULL = bundle(
    gauge({**bundles.POINT, "attributes": [pair("a", arrayValue={"values": [{"intValue": "1"}]})], "exemplars": [{}]}),
    bundles.metric("histogram", {"timeUnixNano": 1, "count": 2, "sum": 1.5, "bucketCounts": [2], "explicitBounds": []}),
    bundles.metric("exponentialHistogram", {"timeUnixNano": 1, "scale": 1, "positive": {"offset": 1}, "zeroCount": 1}),
    bundles.metric("summary", {"timeUnixNano": 1, "quantileValues": [{"quantile": 0.5, "value": 2.5}]}),
    attributes=[*bundles.HOST, pair("k", kvlistValue={"values": [text("x", "y")]})],
    scope={"name": "CPU", "version": "1", "attributes": [text("epoch", "1715263558")], "epoch": 5},
)


@pytest.mark.parametrize("path", nulls(FULL), ids=lambda path: ".".join(map(str, path)))
def test_null_is_absent(path: tuple[Any, ...]) -> None:
    """A null anywhere gives what the same message without it gives."""
    with_null, without = json.loads(json.dumps(FULL)), json.loads(json.dumps(FULL))
    for copy in (with_null, without):
        parent = copy
        for step in path[:-1]:
            parent = parent[step]
        if copy is with_null:
            parent[path[-1]] = None
        elif path[-2:-1] == ("values",) and path[-3] == "arrayValue":
            parent[path[-1]] = {}  # an array keeps its places
        elif path == ("resourceMetrics",):
            parent[path[-1]] = []
        else:
            del parent[path[-1]]
    if path[-2:-1] == ("bucketCounts",):
        assert verdict(run(with_null)) == MALFORMED
        return
    one, other = run(with_null, timestamp=1), run(without, timestamp=1)
    assert one.rows == other.rows
    assert [(reject.code, reject.message) for reject in one.rejects] == [(r.code, r.message) for r in other.rejects]


@pytest.mark.parametrize(
    "attributes",
    [
        "{}",
        '"a"',
        "[1]",
        '[{"key":[]}]',
        '[{"key":"a","value":1}]',
        '[{"key":"a","value":{"intValue":"x"}}]',
        '[{"key":"a","value":{"intValue":9223372036854775808}}]',
        '[{"key":"a","value":{"boolValue":"yes"}}]',
        '[{"key":"a","value":{"bytesValue":"?"}}]',
        '[{"key":"a","value":{"arrayValue":[]}}]',
        '[{"key":"a","value":{"doubleValue":"much"}}]',
        '[{"key":"a","value":{"kvlistValue":{"values":{}}}}]',
    ],
)
@pytest.mark.parametrize(
    "point",
    ['"asDouble":1.5', '"asDouble":"NaN"', '"flags":1', '"asInt":1,"timeUnixNano":0'],
    ids=["a row", "non-finite", "no value", "no time"],
)
def test_broken_attributes(attributes: str, point: str) -> None:
    """Attributes that are no key-values spoil the message, whether or not their datapoint makes a row."""
    assert verdict(run(raw(f'{{"timeUnixNano":1,{point},"attributes":{attributes}}}'))) == MALFORMED


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ('{"a":"b"}', "expected an array, got an object at $"),
        ('[{"key":"a","value":"plain"}]', "expected an object, got text at $[0].value"),
        ('[{"key":"a","value":{"intValue":"x"}}]', "intValue: 'x' is not an integer"),
    ],
)
@pytest.mark.parametrize("level", ["resource", "scope", "datapoint"])
def test_the_reason_says_whose_attributes_are_broken(level: str, attributes: str, reason: str) -> None:
    """Its path begins at their list, not at the message."""
    broken = {level: json.loads(attributes)}
    point = {**bundles.POINT, "attributes": broken.get("datapoint", [])}
    scope = {"name": "CPU", "attributes": broken.get("scope", [])}
    (reject,) = run(bundle(gauge(point), attributes=broken.get("resource", []), scope=scope)).rejects
    assert reject.message.removeprefix("metric 'M': ") == f"{level} attributes: {reason}"


@pytest.mark.parametrize("attribute", [b"\x0a\x01\xff", b"\x0a\x09a", b"\x12\x03\x0a\x01\xff", b"\x0b"])
@pytest.mark.parametrize("level", ["resource", "scope", "a row", "non-finite", "no value"])
def test_broken_attributes_in_protobuf(attribute: bytes, level: str) -> None:
    """The same holds where they came as protobuf: text that is not UTF-8, or what ends before its end."""
    values: dict[str, dict[str, Any]] = {"no value": {"flags": 1}, "non-finite": {"asDouble": "NaN"}}
    value = values.get(level, {"asDouble": 1.5})
    message = metrics_pb2.MetricsData.FromString(strategies.protobuf(bundle(gauge({"timeUnixNano": 1, **value}))))
    part = message.resource_metrics[0]
    scope = part.scope_metrics[0]
    place = {"resource": part.resource, "scope": scope.scope}.get(level, scope.metrics[0].gauge.data_points[0])
    place.attributes.add(key="k" * len(attribute))
    good = b"\x0a" + bytes([len(attribute)]) + b"k" * len(attribute)
    written = message.SerializeToString()
    assert verdict(run(written)) in {"1 rows", "0 rows"}
    assert written.count(good) == 1
    filled = attribute + b"\x12\x00"  # as long as the good one
    assert verdict(run(written.replace(good, filled))) == MALFORMED


@pytest.mark.parametrize(
    "broken",
    ['"timeUnixNano":-1', '"startTimeUnixNano":"x"', '"flags":1.5', '"asInt":"x","asDouble":null'],
)
@pytest.mark.parametrize("org_id", ["acme", None])
@pytest.mark.parametrize("value", ['"asDouble":"NaN"', '"asDouble":1.5', '"flags":1'])
def test_broken_number_in_a_dropped_or_failed_datapoint(broken: str, org_id: str | None, value: str) -> None:
    """A number that cannot be read is malformed, also in a datapoint that is dropped or refused for something else."""
    assert verdict(run(raw(f"{{{value},{broken}}}"), org_id)) == MALFORMED


@pytest.mark.parametrize(
    ("written", "expected"),
    [("AAH/", "AAH/"), ("AAH_", "AAH/"), ("--8=", "++8="), ("--8", "++8="), ("", ""), ("AA==", "AA=="), ("AA", "AA==")],
)
def test_bytes(written: str, expected: str) -> None:
    """Bytes come in either base64 alphabet, padded or not, and go out in the standard one."""
    (event,) = bundles.events(bundle(gauge({**bundles.POINT, "attributes": [pair("b", bytesValue=written)]})))
    assert event["attributes"] == {"b": expected}


def test_unknown_fields_are_ignored() -> None:
    """What the specification does not name is passed over at every level, whatever it holds."""
    extra = {"unknown": [{"deep": [None, 1e10, {"x": []}]}], "another": 5}
    value = bundle({**gauge({**bundles.POINT, **extra}), **extra}, scope={"name": "CPU", **extra})
    value["resourceMetrics"][0].update(extra)
    value["resourceMetrics"][0]["resource"].update(extra)
    assert run({**value, **extra}).rows == run(bundle(gauge())).rows


def test_an_epoch_that_no_double_holds_is_no_epoch() -> None:
    """A number beyond a double in the scope's `epoch` field is unreadable, and does not raise."""
    done = run(raw('{"asDouble":1.5}', scope='{"name":"CPU","epoch":1e400}'), timestamp=7)
    assert [row[9] for row in done.rows] == [7]


HEAD = b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"hostId","value":{"stringValue":"7"}}]},'
GAUGE = '{"name":"M","gauge":{"dataPoints":[{"timeUnixNano":1,"asDouble":1.5}]}}'


def scoped(*metrics: str) -> bytes:
    """A request with literal JSON for the metrics of one scope."""
    return HEAD + b'"scopeMetrics":[{"scope":{"name":"web"},"metrics":[' + ",".join(metrics).encode() + b"]}]}]}"


@pytest.mark.parametrize(
    ("value", "rows", "unknown"),
    [
        # a metric with none of the five kinds of data, and one that can be read
        (scoped(GAUGE, '{"name":"a","intGauge":{"dataPoints":[{"value":"3"}]}}'), 1, 1),
        (
            scoped('{"name":"a","int_sum":{"dataPoints":[{"value":"3"}]}}', '{"name":"b","doubleSum":{"x":1}}', GAUGE),
            1,
            2,
        ),
        (scoped(GAUGE, '{"name":"a"}', "{}"), 1, 2),
        (scoped(GAUGE, '{"name":"a","gauge":null}'), 1, 1),
        (scoped(GAUGE, '{"name":"a","gauge":{}}'), 1, 0),
        (scoped('{"name":"a"}'), 0, 1),
        # data beside a good metric, in an unknown field of what has none in a known one
        (scoped(GAUGE, '{"name":"a","sum":{"datapoints":[{"asInt":1}]}}'), 1, 1),
        (scoped(GAUGE, '{"name":"a","sum":{"dataPoints":[],"points":[{"asInt":1}]}}'), 1, 1),
        (scoped(GAUGE)[:-4] + b',{"scope":{"name":"a"},"Metrics":[{"name":"a"}]}]}]}', 1, 1),
        (scoped(GAUGE)[:-2] + b',{"ScopeMetrics":[{"metrics":[{"name":"a"}]}]}]}', 1, 1),
        (scoped(GAUGE)[:-2] + b',{"x":"text"}]}', 1, 1),
        (scoped(GAUGE)[:-2] + b',{"resource":{"x":[1]},"y":1,"z":""}]}', 1, 0),
        (scoped(GAUGE.replace('"dataPoints"', '"x":[1],"dataPoints"')), 1, 0),
        # nothing could be read, and something was there
        (scoped('{"name":"a","intGauge":{"dataPoints":[{"value":"3"}]}}'), NOT_METRICS, 0),
        (scoped('{"name":"a","heatmap":{"cells":[[1]]}}'), NOT_METRICS, 0),
        (scoped('{"name":"a","gauge":{"points":[{"asDouble":1.5}]}}'), NOT_METRICS, 0),
        (HEAD + b'"instrumentationLibraryMetrics":[{"metrics":[{"name":"a"}]}]}]}', NOT_METRICS, 0),
        (HEAD + b'"instrumentation_library_metrics":[{"metrics":[{"name":"a"}]}]}]}', NOT_METRICS, 0),
        (HEAD + b'"x":"text"}]}', NOT_METRICS, 0),
        (HEAD + b'"scope_metricss":[{"metrics":[{"name":"a"}]}]}]}', NOT_METRICS, 0),
        (HEAD + b'"x":1}],"resourceLogs":[{"scopeLogs":[{"x":1}]}]}', NOT_METRICS, 0),
        # of two resources one is of an old sender
        (scoped(GAUGE)[:-2] + b',{"instrumentationLibraryMetrics":[{"metrics":[{"name":"a"}]}]}]}', NOT_METRICS, 0),
        # senders wrote both, with the same content
        (scoped(GAUGE)[:-3] + b',"instrumentationLibraryMetrics":[{"metrics":[{"name":"a"}]}]}]}', 1, 0),
        # what says which series it is
        (scoped(GAUGE.replace('"asD', '"labels":[{"key":"a","value":"b"}],"asD')), NOT_METRICS, 0),
        (scoped(GAUGE.replace('"asD', '"labels":[],"asD')), 1, 0),
        (scoped(GAUGE.replace('"asD', '"labels":[{"key":"a"}],"attributes":[{"key":"a"}],"asD')), 1, 0),
        # nothing was there
        (HEAD + b'"instrumentationLibraryMetrics":[]}]}', 0, 0),
        (HEAD + b'"x":[{}],"y":1,"z":""}]}', 0, 0),
        (scoped(), 0, 0),
    ],
    ids=shown,
)
def test_nothing_with_data_in_it_vanishes(value: bytes, rows: int | str, unknown: int) -> None:
    """A metric of an unknown kind is counted; a message of which nothing could be read is kept whole."""
    done = run(value)
    assert verdict(done) == (rows if isinstance(rows, str) else f"{rows} rows")
    assert +done.counts.dropped == ({"unknownData": unknown} if unknown else {})
    assert [reject.raw for reject in done.rejects] == [value] * len(done.rejects)


POINT_3 = b"\x19" + (1).to_bytes(8, "little")  # time_unix_nano


def old(metric: bytes = b"", *, place: int = 2) -> bytes:
    """A request of one metric, whose scope is in field `place` of the resource."""
    device = strategies.protobuf(bundle())[2:]  # resource and scope
    resource = metrics_pb2.ResourceMetrics.FromString(device)
    del resource.scope_metrics[:]
    part = strategies.field(place, b"\n\x05\n\x03web" + strategies.field(2, b"\n\x01a" + metric))
    return strategies.field(1, resource.SerializeToString() + part)


def points(number: int, *fields: bytes) -> bytes:
    """A metric's data with one datapoint."""
    return strategies.field(number, strategies.field(1, POINT_3 + b"".join(fields)))


AS_DOUBLE, AS_INT = b"\x21" + bytes(6) + b"\xf8\x3f", b"\x21" + bytes(7) + b"\x01"
LABEL = strategies.field(1, b"\n\x01k\x12\x01v")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # metrics.proto of v0.7.0: int_gauge, int_sum, int_histogram are 4, 6, 8; the rest kept their numbers
        (old(points(4, AS_INT)), NOT_METRICS),
        (old(points(6, AS_INT)), NOT_METRICS),
        (old(points(8, AS_INT)), NOT_METRICS),
        (old(points(4, AS_INT) + points(5, AS_DOUBLE)), "1 rows"),
        (old(points(5, AS_DOUBLE)), "1 rows"),
        (old(points(5, AS_DOUBLE, LABEL)), NOT_METRICS),
        (old(points(7, AS_DOUBLE, LABEL)), NOT_METRICS),
        (old(points(9, LABEL)), NOT_METRICS),
        (old(points(11, LABEL)), NOT_METRICS),
        (old(points(5, AS_DOUBLE, LABEL, strategies.field(7, b"\n\x01k"))), "1 rows"),
        # v0.15.0: a field of its own for the old name of scopes
        (old(points(5, AS_DOUBLE), place=1000), NOT_METRICS),
        # a kind that nobody knows
        (old(points(15, AS_DOUBLE)), NOT_METRICS),
        (old(), "0 rows"),
    ],
)
def test_old_protobuf_has_the_verdict_of_the_same_json(value: bytes, expected: str) -> None:
    """What only OTLP before 1.0 has is no more passed over in protobuf than in JSON."""
    done = run(value)
    assert verdict(done) == expected
    assert [reject.raw for reject in done.rejects] == [value] * len(done.rejects)


def test_unknown_data_in_protobuf_is_counted() -> None:
    """A metric of a kind that is not known is counted where another in the message can be read."""
    value = old(points(5, AS_DOUBLE)) + old(points(4, AS_INT)) + old()
    done = run(value)
    assert (verdict(done), +done.counts.dropped) == ("1 rows", {"unknownData": 2})


@pytest.mark.parametrize(
    ("part", "unknown"),
    [
        (strategies.field(2, strategies.field(2, strategies.field(5, strategies.field(9, POINT_3)))), 1),
        (strategies.field(2, strategies.field(2, strategies.field(5, b""))), 0),
        (strategies.field(2, strategies.field(2, points(5, AS_DOUBLE) + strategies.field(5, b"\x4a\x01x"))), 0),
        (strategies.field(2, strategies.field(9, b"\n\x01a")), 1),
        (strategies.field(9, b"text"), 1),
        (strategies.field(9, b"") + b"\x50\x01", 0),
        (strategies.field(2, b""), 0),
    ],
    ids=["gauge", "empty gauge", "gauge with points", "scope", "resource", "nothing in it", "empty scope"],
)
def test_data_in_an_unknown_field_of_protobuf_is_counted(part: bytes, unknown: int) -> None:
    """A kind of data, scope or resource with nothing in a known field and something in another is counted."""
    done = run(old(points(5, AS_DOUBLE)) + strategies.field(1, part))
    assert done.counts.dropped["unknownData"] == unknown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"timeUnixNano":1', '"time_unix_nano":"1"'),
        ('"asDouble":1.5', '"as_double":"1.5"'),
        ('"dataPoints"', '"data_points"'),
        ('"scopeMetrics"', '"scope_metrics"'),
        ('"resourceMetrics"', '"resource_metrics"'),
        ('"stringValue"', '"string_value"'),
    ],
)
def test_one_name_as_in_the_proto_file(one: str, other: str) -> None:
    """A name as in the .proto file is read at each level, whatever the others are."""
    value = scoped(GAUGE).decode()
    assert one in value
    assert run(value.replace(one, other).encode()).rows == run(value.encode()).rows != []


def test_a_field_in_both_spellings_is_malformed() -> None:
    """Nobody can know which of two is meant."""
    done = run(scoped(GAUGE.replace('"asDouble"', '"as_double":2,"asDouble"')))
    assert verdict(done) == MALFORMED
    assert (
        "asDouble is given in both of its spellings at $.resourceMetrics[0].scopeMetrics[0]" in done.rejects[0].message
    )


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (
            '"asInt":-9223372036854776000',
            "metric 'M': asInt: -9223372036854776000 is outside the signed 64-bit integers, as Ja",
        ),
        ('"asInt":1,"timeUnixNano":18446744073709552000', "timeUnixNano: 18446744073709552000 is outside the unsigned"),
        ('"asInt":9223372036854775808', "asInt: 9223372036854775808 is outside the signed 64-bit integers"),
        ('"flags":1.5', "metric 'M': flags: '1.5' is not an integer"),
    ],
)
def test_a_number_that_cannot_be_read_is_named(written: str, words: str) -> None:
    """The reason names the metric, the field, the number, and where JavaScript rounded it."""
    done = run(raw(f"{{{written}}}"))
    assert verdict(done) == MALFORMED
    assert words in done.rejects[0].message
    assert ("JavaScript" in done.rejects[0].message) == ("000" in written)


NUL_TEXT = "a\0b\0"


@pytest.mark.parametrize("form", ["JSON", "protobuf"])
def test_nul_is_taken_out(form: str) -> None:
    """U+0000 is in no column and no map, key or value, however deep; what only looks like it stays."""
    nested = pair("l\0", arrayValue={"values": [{"kvlistValue": {"values": [text("\0k", NUL_TEXT)]}}]})
    value = bundle(
        gauge(
            {**bundles.POINT, "attributes": [text("wild\0Value", "eth\0"), text("x\0", "C:\\u0000"), nested]},
            name="M\0",
            unit="\0s",
        ),
        attributes=[text("host\0Id", "\x007"), text("r\0", NUL_TEXT)],
        scope={"name": "web\0", "version": "\x001", "attributes": [text("s\0", "\0")]},
    )
    (event,) = bundles.events(value if form == "JSON" else strategies.protobuf(value))
    assert (event["deviceId"], event["datasource"], event["instance"]) == ("7", "web", "eth")
    assert (event["metric"], event["unit"]) == ("M", "s")
    assert event["attributes"] == {"l": [{"k": "ab"}], "x": "C:\\u0000"}
    assert event["resource"] == {"r": "ab"}
    assert event["scope"] == {"name": "web", "s": "", "version": "1"}


@pytest.mark.parametrize(
    "value",
    [
        OK.replace(b"1.5", b"1.5\\u0000"),
        OK[:-1] + b"\\u0000}",
        OK.replace(b"CPU", b"\\u0000\\ud800"),
        scoped('{"name":"\\ud800","\\ud800":[1]}', "{}"),
        b'{"\xe5":1}',
        b'{"resourceMetrics":[],"\xe5":1}',
        b'{"resourceMetrics":[{"\xff":[1]}]}',
    ],
)
def test_what_no_text_can_be_is_malformed(value: bytes) -> None:
    """U+0000 outside of a text, half a surrogate pair and bytes that are no UTF-8 spoil the message; nothing raises."""
    done = run(value)
    assert verdict(done) == MALFORMED
    assert done.rejects[0].message.encode()


def test_a_name_that_no_text_can_be_is_shown() -> None:
    """The reason names an unknown field whatever its name is."""
    done = run(HEAD + b'"x":[1],"\\ud800":[{"x":1}]}]}')
    assert verdict(done) == NOT_METRICS
    assert done.rejects[0].message.encode().endswith(b"unknown to OTLP 1.0: x, ?")


def test_nul_in_a_reject() -> None:
    """A reject of datapoints has none either; one of the whole message is what came."""
    value = bundle(gauge(name="M\0"), attributes=[text("a\0", "\0")])
    for form in (json.dumps(value).encode(), strategies.protobuf(value)):
        assert b"\\u0000" not in run(form).rejects[0].raw
    assert run(b'{"x":"\\u0000"}').rejects[0].raw == b'{"x":"\\u0000"}'


def test_the_two_readers_know_the_same_fields() -> None:
    """What the lenient reader keeps is a field of the strict one, so that its result is always taken."""
    full = json.loads(json.dumps(FULL))
    for metric in full["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]:
        kind = next(iter(metric.keys() - {"name"}))
        metric["metadata"] = [text("a", "b")]
        metric[kind].update(aggregationTemporality=2.0, isMonotonic=True)
        for point in metric[kind]["dataPoints"]:
            point.update(min=1, max=2, exemplars=[{}], explicitBounds=[], zeroThreshold=0, bucketCounts=[2])
    full["resourceMetrics"][0]["resource"].update(droppedAttributesCount=1, entityRefs=[{"type": "a"}])
    full["resourceMetrics"][0]["scopeMetrics"][0]["scope"]["dropped_attributes_count"] = 1
    done = run(full, timestamp=1)
    assert (verdict(done), done.counts.datapoints) == ("14 rows", 4)


CASES = Path(__file__).parents[1] / "fixtures" / "cases"


def case(name: str) -> list[bytes]:
    """The messages of a case that a public bug report describes."""
    return (CASES / f"{name}.jsonl").read_bytes().splitlines()


def test_an_enum_as_a_double() -> None:
    """JSON has one kind of number: vector#5310."""
    (value,) = case("enum_as_float")
    rows = bundles.events(value)
    assert [(row["value"], row["attributes"]["otlp.temporality"]) for row in rows] == [
        (5, "delta"),
        (9, "delta"),
        (2, "delta"),
    ]


def test_otlp_before_0_9() -> None:
    """What an old sender writes is kept whole, and its reason names what is old: opentelemetry-js#2675."""
    done = [run(value) for value in case("otlp_before_0_9")]
    assert [verdict(each) for each in done] == [NOT_METRICS, NOT_METRICS]
    assert [each.rejects[0].raw for each in done] == case("otlp_before_0_9")
    assert "`instrumentationLibraryMetrics`, which only OTLP before 1.0 has" in done[0].rejects[0].message
    assert "unknown to OTLP 1.0: intGauge" in done[1].rejects[0].message
