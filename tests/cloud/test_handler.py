"""The function, in this process: poison, failures, logs and metrics."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud.names import BUCKET, SECRET
from lmdp.cloud import handler as entry
from lmdp.errors import DeliveryError, RejectsNotWrittenError, SettingsError
from lmdp.testing.firehose import DENIED, THROTTLED, FirehoseDouble

TIME = 1_770_000_000_000


def bundle(host: str = "1", epoch: str = "", **point: Any) -> bytes:
    """A bundle of one gauge, named so that it is found wherever it should not be."""
    point = {"timeUnixNano": "1770000000000000000", "asInt": "1", **point}
    resource = {"attributes": [{"key": "hostId", "value": {"stringValue": host}}]}
    metrics = [{"name": "row content", "gauge": {"dataPoints": [point]}}]
    scope = {"name": "CPU", "attributes": [{"key": "epoch", "value": {"stringValue": epoch}}]}
    scopes = [{"scope": scope, "metrics": metrics}]
    return json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}).encode()


def record(offset: int, value: bytes | None) -> dict[str, Any]:
    """A record as a pipe gives it."""
    encoded = None if value is None else b64encode(value).decode()
    return {"topic": "lm.metrics.otlp", "partition": "0", "offset": offset, "timestamp": TIME, "value": encoded}


class Context:
    """Lambda's context, as far as it is used."""

    aws_request_id = "00000000-0000-0000-0000-000000000001"

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """What the test gives."""
        return int(1000 * self.seconds)


def envelopes(bucket: Any) -> list[dict[str, Any]]:
    """Every reject in the error bucket."""
    found = bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    contents = [bucket.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read() for entry in found]
    return [json.loads(line) for content in contents for line in gzip.decompress(content).splitlines()]


POISON: list[tuple[str, bytes]] = [
    ("Decode.Malformed", b"row content, but no bundle"),
    ("Decode.Malformed", b'{"resourceMetrics": [{'),
    ("Decode.Malformed", gzip.compress(bundle())[:-9]),
    ("Decode.Malformed", b'{"resourceMetrics":' + b"[" * 100_000),
    ("Decode.NotMetrics", b'{"resourceLogs": []}'),
    ("Decode.NotMetrics", b"{}"),
    ("Decode.TooLarge", gzip.compress(b" " * 2_000_000)),
    ("Row.MissingField", bundle(host="")),
    ("Row.BadTimestamp", bundle(timeUnixNano="0", epoch="9" * 25)),
]


@pytest.mark.parametrize(("code", "value"), POISON)
def test_a_poison_message_never_raises(
    code: str, value: bytes, function_env: dict[str, str], double: FirehoseDouble, bucket: Any
) -> None:
    """It lands in the error bucket with its reason and coordinates, and its neighbours are delivered."""
    function = entry.open_function({**function_env, "LMDP_MAX_DECOMPRESSED_BYTES": "1000000"})
    summary = function([record(7, bundle()), record(8, value), record(9, bundle())], Context())
    assert (summary["messages"], summary["delivered"], summary["rejects"]) == (3, 2, {code: 1})
    (found,) = envelopes(bucket)
    assert found["errorCode"] == code
    assert found["source"] == {
        "topic": "lm.metrics.otlp",
        "partition": 0,
        "offset": 8,
        "timestamp": TIME,
        "key": None,
    }
    assert len(double.accepted) == 2


@pytest.mark.parametrize("odd", [{"value": "%"}, {"topic": None}, {"offset": "x"}, {"partition": {}}])
def test_an_odd_record_never_raises(
    odd: dict[str, Any], function_env: dict[str, str], double: FirehoseDouble, bucket: Any
) -> None:
    """A record that the pipe did not give as agreed is a reject like any other, and adds up."""
    summary = entry.open_function(function_env)([{**record(8, bundle()), **odd}, record(9, bundle())], Context())
    assert (summary["messages"], summary["rejectedMessages"], summary["delivered"]) == (2, 1, 1)
    assert [found["errorCode"] for found in envelopes(bucket)] == ["Decode.Malformed"]
    assert len(double.accepted) == 1


def test_a_batch_that_makes_too_many_rows(function_env: dict[str, str], double: FirehoseDouble, bucket: Any) -> None:
    """What there is no room for is a reject with its bytes as they came, and everything adds up; nothing raises."""
    packed = gzip.compress(bundle())
    event = [*(record(at, packed) for at in range(3)), record(3, None), record(4, bundle()), record(5, b"?")]
    room = {"LMDP_MAX_MESSAGE_ROW_BYTES": "300"}  # for one row, and not for two
    summary = entry.open_function(function_env | room)(event, Context())
    assert (summary["messages"], summary["delivered"], summary["dropped"]) == (6, 2, {"empty": 1})
    assert summary["rejects"] == {"Decode.TooLarge": 3}
    assert summary["bytesIn"] == 3 * len(packed) + len(bundle()) + 1
    found = {each["source"]["offset"]: b64decode(each["rawData"]) for each in envelopes(bucket)}
    assert found == {2: packed, 4: bundle(), 5: b"?"}
    assert len(double.accepted) == 2


@pytest.mark.parametrize(("trusted", "tenant"), [("lmdp-tenant", "acme"), ("", "example")])
def test_the_tenant_of_the_receiver(
    trusted: str, tenant: str, function_env: dict[str, str], double: FirehoseDouble, bucket: Any
) -> None:
    """The header decides where it is trusted, in rows and rejects alike; elsewhere it is only a header."""
    headers = [{"lmdp-tenant": list(b"acme")}]
    function = entry.open_function({**function_env, "LMDP_ORG_ID": "example", "LMDP_TENANT_HEADER": trusted})
    function([{**record(7, bundle()), "headers": headers}, {**record(8, b"?"), "headers": headers}], Context())
    assert [json.loads(row)["orgId"] for row in double.accepted] == [tenant]
    assert [found["source"].get("tenant") for found in envelopes(bucket)] == ["acme" if trusted else None]


OFFSETS: list[tuple[list[tuple[str, object, object]], dict[str, list[int]]]] = [
    ([("a", 0, 7)], {"a-0": [7, 7]}),
    ([("a", "0", 9), ("a", 0, 7), ("a", 0, 8)], {"a-0": [7, 9]}),
    ([("b", 1, 5), ("a", 0, 7), ("b", 1, 6)], {"a-0": [7, 7], "b-1": [5, 6]}),
    ([("a", 0, "none"), ("a", 0, 3)], {"a-0": [3, 3]}),
    ([], {}),
]


@pytest.mark.parametrize(("records", "offsets"), OFFSETS)
@pytest.mark.usefixtures("double", "bucket")
def test_the_batch_line_names_its_offsets(
    records: list[tuple[str, object, object]], offsets: dict[str, list[int]], function_env: dict[str, str]
) -> None:
    """First and last offset of each topic-partition, whatever became of the records; an unreadable one is no bound."""
    event = [
        {**record(0, b"?"), "topic": topic, "partition": partition, "offset": offset}
        for topic, partition, offset in records
    ]
    assert entry.open_function(function_env)(event, Context())["offsets"] == offsets


def test_a_reject_can_be_sent_again(function_env: dict[str, str], double: FirehoseDouble, bucket: Any) -> None:
    """What was rejected for a missing setting makes its rows when the setting is there."""
    without = {name: value for name, value in function_env.items() if name != "LMDP_ORG_ID"}
    entry.open_function(without)([record(7, bundle())], Context())
    (found,) = envelopes(bucket)
    assert (found["errorCode"], double.accepted) == ("Row.MissingField", [])
    again = {**record(7, b""), "value": found["rawData"]}
    assert entry.open_function(function_env)([again], Context())["delivered"] == 1


def test_the_same_batch_again(function_env: dict[str, str], bucket: Any) -> None:
    """A batch that is retried writes its rejects again to the same object."""
    function = entry.open_function(function_env)
    for _ in range(2):
        function([record(7, b"?"), record(8, b"{}")], Context())
    assert len(envelopes(bucket)) == 2


def test_rejects_come_first(
    function_env: dict[str, str], double: FirehoseDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rejects cannot be written, the invocation raises and nothing was delivered."""
    function = entry.open_function({**function_env, "LMDP_REJECTS_BUCKET": "lmdp-no-such-bucket"})
    with pytest.raises(RejectsNotWrittenError):
        function([record(7, b"?"), record(8, bundle())], Context())
    assert double.calls == []


@pytest.mark.parametrize(("fault", "code"), [(DENIED, "AccessDeniedException"), (THROTTLED, "ThrottlingException")])
def test_what_cannot_be_delivered_raises(
    fault: Any,
    code: str,
    function_env: dict[str, str],
    double: FirehoseDouble,
    bucket: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row that Firehose does not take is never a success; rejects are there, and the log has Firehose's code."""
    function = entry.open_function(function_env)
    function([record(8, b"?")], Context())  # S3's client takes long to make
    double.script.extend([fault] * 1000)
    with pytest.raises(DeliveryError):
        function([record(7, bundle()), record(8, b"?")], Context(seconds=5))
    assert len(envelopes(bucket)) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    batch = [line for line in lines if line.get("message") == "batch"][-1]
    assert (batch["firehoseCode"], batch["offsets"]) == (code, {"lm.metrics.otlp-0": [7, 8]})


def test_wrong_settings_end_the_start() -> None:
    """All faults in one message, before the first event."""
    with pytest.raises(SettingsError, match=r"(?s)LMDP_DELIVERY_STREAM.*LMDP_REJECTS_BUCKET"):
        entry.open_function({"AWS_REGION": "eu-west-1"})


def break_transform(function: entry.Function) -> None:
    """Make the program fail where nobody expects it."""
    function.pipeline = replace(function.pipeline, transform=None)  # type: ignore[arg-type]  # a fault of the program


@pytest.mark.parametrize(
    "harm",
    [
        lambda _function, _double: None,
        lambda _function, double: double.script.extend([DENIED]),
        lambda _function, double: double.script.extend([THROTTLED] * 1000),
        lambda function, _double: break_transform(function),
    ],
    ids=["fine", "denied", "throttled", "a fault of the program"],
)
def test_logs_hold_no_row_and_no_secret(
    harm: Callable[[entry.Function, FirehoseDouble], None],
    function_env: dict[str, str],
    double: FirehoseDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever happens: one summary line and one set of metrics, and nothing of the data in them or in the error."""
    function = entry.open_function(function_env)
    function([record(8, b"row content")], Context())  # S3's client takes long to make
    capsys.readouterr()
    harm(function, double)
    text = ""
    try:
        function([record(7, bundle()), record(8, b"row content")], Context(seconds=5))
    except Exception as error:  # noqa: BLE001 - whatever Lambda would print
        text = f"{error!r} {error.__context__ if not error.__suppress_context__ else ''}"
    output = capsys.readouterr().out
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["message"] for line in lines if "message" in line].count("batch") == 1
    assert sum("_aws" in line for line in lines) == 1
    for secret in ("row content", "cm93IGNvbnRlbnQ", SECRET, "example-session"):
        assert secret not in output + text


def test_metrics(function_env: dict[str, str], double: FirehoseDouble, capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers that alarms and dashboards read, in one flush."""
    double.script.append(THROTTLED)
    values = [bundle(), b"?", b"{}", None, bundle(flags=1)]
    entry.open_function(function_env)([record(n, value) for n, value in enumerate(values)], Context())
    (metrics,) = (line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" in line)
    expected = {
        "Messages": 5, "Datapoints": 2, "Rows": 1, "Rejects": 2, "RejectedDatapoints": 0, "FailedInvocations": 0,
        "Rejects.Decode.Malformed": 1, "Rejects.Decode.NotMetrics": 1,
        "Dropped.empty": 1, "Dropped.noRecordedValue": 1,
        "Delivered": 1, "Retried": 1, "ThrottledCalls": 1, "ProbableRepeats": 0,
    }  # fmt: skip
    assert {name: metrics[name] for name in expected} == {name: [number] for name, number in expected.items()}
    assert metrics["DeliveryLatency"][0] > 0
    assert metrics["OldestRecordAge"][0] > 0
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service"]]


def test_the_sample(function_env: dict[str, str], double: FirehoseDouble, tmp_path: Path) -> None:
    """Keys of rows follow SNOWFLAKE_IDENTIFIERS, and a row is one JSON object without a newline."""
    entry.open_function({**function_env, "SNOWFLAKE_IDENTIFIERS": "wrapped"})([record(1, bundle())], Context())
    (row,) = double.accepted
    assert json.loads(row)['"orgId"'] == "acme"
    assert b"\n" not in row
