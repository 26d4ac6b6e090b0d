"""The function without Firehose: a batch goes straight to Snowflake, with the key from Secrets Manager."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloud.names import LOADER, REGION, SECRET
from cloud.test_handler import Context, bundle, envelopes, record
from lmdp.cloud import handler as entry
from lmdp.cloud.snowflake_sink import read_key
from lmdp.errors import DeliveryError, LmdpError, RejectsNotWrittenError, SettingsError, UnreachableError
from lmdp.testing.snowpipe import Fault, SnowpipeDouble
from snowpipe_parts import KEY

RETRY = "ERR_GENERAL_EXCEPTION_RETRY_REQUEST"


def operations(pipe: SnowpipeDouble) -> list[str]:
    """What the double was asked, in order."""
    return [request.operation for request in pipe.requests]


def test_a_batch_is_one_request(direct_env: dict[str, str], pipe: SnowpipeDouble, bucket: Any) -> None:
    """Rows are in Snowflake when the function answers, rejects in S3; a warm function signs in no more."""
    function = entry.open_function(direct_env)
    assert operations(pipe) == []
    summary = function([record(7, bundle()), record(8, b"?"), record(9, bundle())], Context())
    assert (summary["delivered"], summary["refused"], summary["calls"], summary["snowflakeCode"]) == (2, 0, 1, None)
    assert (len(pipe.rows), len(envelopes(bucket))) == (2, 1)
    assert json.loads(pipe.rows[0])["orgId"] == "acme"
    function([record(10, bundle())], Context())
    assert operations(pipe) == ["hostname", "token", "elastic", "elastic"]
    assert {request.path.split("/pipes/")[0] for request in pipe.requests if request.operation == "elastic"} == {
        "/v2/streaming/data/databases/LM_METRICS_DEV/schemas/PIPELINE"
    }


def test_a_batch_without_rows_asks_nothing(direct_env: dict[str, str], pipe: SnowpipeDouble) -> None:
    """Nobody signs in for nothing."""
    assert entry.open_function(direct_env)([record(7, b"?")], Context())["delivered"] == 0
    assert operations(pipe) == []


@pytest.mark.parametrize(
    ("faults", "numbers"),
    [
        ([Fault("elastic", 429, "ERR_TOO_MANY_REQUESTS")], {"calls": 2, "throttledCalls": 1, "probableRepeats": 0}),
        ([Fault("elastic", 503, RETRY, bare=True)], {"calls": 2, "retried": 1, "probableRepeats": 1}),
        ([Fault("elastic", lose=True)], {"calls": 2, "retried": 1, "probableRepeats": 1}),
        ([Fault("hostname", drop=True), Fault("token", 500, RETRY)], {"calls": 1, "retried": 0}),
        ([Fault("elastic", 401, "ERR_TOKEN_EXPIRED")], {"calls": 2, "probableRepeats": 0}),
    ],
)
def test_what_a_retry_can_fix_is_tried_within_the_call(
    direct_env: dict[str, str], pipe: SnowpipeDouble, faults: list[Fault], numbers: dict[str, int]
) -> None:
    """The batch is delivered, and what may be there twice is counted."""
    pipe.script = [*faults]
    summary = entry.open_function(direct_env)([record(7, bundle())], Context())
    assert summary["delivered"] == 1
    assert {name: summary[name] for name in numbers} == numbers


@pytest.mark.parametrize(
    ("faults", "code", "retryable"),
    [
        ([Fault("elastic", 429, "ERR_TOO_MANY_REQUESTS")] * 500, "UnreachableError", True),
        ([Fault("elastic", 400, "ERR_MALFORMED_REQUEST")], "LmdpError", False),
        ([Fault("hostname", seconds=30.0)], "", True),
    ],
    ids=["throttled", "refused", "hangs"],
)
def test_what_cannot_be_delivered_raises_in_time(
    direct_env: dict[str, str],
    pipe: SnowpipeDouble,
    bucket: Any,
    faults: list[Fault],
    code: str,
    retryable: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The pipe sends the batch again; the log line has the code, and neither a row nor a key."""
    function = entry.open_function(direct_env)
    function([record(6, b"?")], Context())  # S3's client takes long to make
    pipe.script = [*faults]
    with pytest.raises(DeliveryError) as raised:
        function([record(7, bundle()), record(8, b"?")], Context(seconds=5))
    assert raised.value.retryable is retryable
    assert (len(pipe.rows), len(envelopes(bucket))) == (0, 2)
    output = capsys.readouterr().out
    batch = [line for line in map(json.loads, output.splitlines()) if line.get("message") == "batch"][-1]
    assert batch["snowflakeCode"] == (code or batch["snowflakeCode"])
    assert batch["delivered"] + batch["refused"] == batch["rows"] == 1
    for text in ("row content", SECRET, "PRIVATE"):
        assert text not in output + str(raised.value)


def test_rejects_come_first(direct_env: dict[str, str], pipe: SnowpipeDouble) -> None:
    """Where rejects cannot be written, nothing is sent."""
    function = entry.open_function({**direct_env, "LMDP_REJECTS_BUCKET": "lmdp-no-such-bucket"})
    with pytest.raises(RejectsNotWrittenError):
        function([record(7, b"?"), record(8, bundle())], Context())
    assert operations(pipe) == []


def test_a_secret_that_is_not_there_fails_the_batch(direct_env: dict[str, str], pipe: SnowpipeDouble) -> None:
    """It is the batch's error, so that the pipe tries again when somebody has fixed it."""
    function = entry.open_function({**direct_env, "SNOWFLAKE_WRITER_KEY_SECRET": "none"})
    with pytest.raises(DeliveryError, match="Secrets Manager refused the secret none: ResourceNotFoundException"):
        function([record(7, bundle())], Context())


@pytest.mark.parametrize("writer", ["snowflake", " snowflake "])
def test_wrong_settings_end_the_start(writer: str) -> None:
    """All faults in one message, before the first event; a stream is not asked for, also with space around the name."""
    with pytest.raises(SettingsError) as raised:
        entry.open_function({"AWS_REGION": REGION, "LMDP_WRITER": writer})
    text = str(raised.value)
    assert "LMDP_DELIVERY_STREAM" not in text
    for name in ("SNOWFLAKE_ACCOUNT_URL", "SNOWFLAKE_WRITER_KEY_SECRET", "LMDP_REJECTS_BUCKET"):
        assert name in text
    with pytest.raises(SettingsError, match="LMDP_WRITER is 'kafka'; it is firehose or snowflake"):
        entry.open_function({"LMDP_WRITER": "kafka"})


def test_the_key_is_what_the_secret_holds_now(secret: Any, s3_url: str) -> None:
    """It is read each time; a shape that Firehose does not read is refused without its content."""
    env = {"AWS_ENDPOINT_URL": s3_url}
    assert read_key(LOADER, REGION, env) == KEY
    secret.put_secret_value(SecretId=LOADER, SecretString='{"user": "U", "key": "hidden"}')
    with pytest.raises(SettingsError, match="not in Firehose's shape") as raised:
        read_key(LOADER, REGION, env)
    assert "hidden" not in str(raised.value)
    with pytest.raises(UnreachableError):
        read_key(LOADER, REGION, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    with pytest.raises(LmdpError, match="ResourceNotFoundException"):
        read_key("none", REGION, env)
