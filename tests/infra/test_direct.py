"""Without Firehose: what the stacks leave out, and what the function and the canary get instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmdp.cloud.settings import Settings as FunctionSettings
from lmdp.errors import SettingsError
from templates import of_type, only, statements

from .conftest import DIRECT_OPTIONS, Templates, example_values

FUNCTION = {
    "AWS_REGION": "us-east-1",
    "SNOWFLAKE_WRITER_KEY_SECRET": "arn",
    "LMDP_REJECTS_BUCKET": "bucket",
    "LMDP_REJECTS_KMS_KEY": "alias/x",
}


def _environment(template: dict[str, Any], **named: str) -> dict[str, str]:
    found: dict[str, str] = only(template, "AWS::Lambda::Function", **named)["Properties"]["Environment"]["Variables"]
    return found


def test_nothing_of_firehose_is_left(direct: Templates) -> None:
    """No stream, role, right, alarm, graph, log group or parameter of it."""
    whole = json.dumps(direct)
    assert [
        kind for kind in ("AWS::KinesisFirehose", "firehose:", "AWS/Firehose", "delivery-stream") if kind in whole
    ] == []
    roles = {role["Properties"]["RoleName"] for one in direct.values() for role in of_type(one, "AWS::IAM::Role")}
    assert roles == {f"lmdp-example-{what}" for what in ("canary", "pipe", "rows", "snowflake-setup", "watcher")}
    alarms = {one["Properties"]["AlarmName"] for one in of_type(direct["alarms"], "AWS::CloudWatch::Alarm")}
    assert {"lmdp-example-undelivered-rows", "lmdp-example-function-errors", "lmdp-example-canary-old"} <= alarms
    assert not {"lmdp-example-failed-records", "lmdp-example-freshness", "lmdp-example-quota-bytes"} & alarms


def test_the_function_has_the_writers_settings(direct: Templates) -> None:
    """All that it reads is there; the secret of the key, and interfaces in the VPC that its code may not make."""
    given = _environment(direct["pipe"])
    assert (given["LMDP_WRITER"], given["SNOWFLAKE_DATABASE"]) == ("snowflake", "LM_METRICS_EXAMPLE")
    assert given["SNOWFLAKE_ACCOUNT_URL"] == DIRECT_OPTIONS["SNOWFLAKE_PRIVATE_HOST"]
    found = FunctionSettings.from_env({**{name: str(value) for name, value in given.items()}, **FUNCTION})
    assert found.writer is not None
    assert (str(found.writer.place), found.writer.account.user) == (
        "LM_METRICS_EXAMPLE.PIPELINE.ROW_EVENTS_STREAM", "LM_FIREHOSE_EXAMPLE_SVC",
    )  # fmt: skip
    role = only(direct["pipe"], "AWS::IAM::Role", RoleName="lmdp-example-rows")["Properties"]
    allowed = [text.split(" on ")[0] for text in statements(role["Policies"][0]["PolicyDocument"], direct["pipe"])]
    assert allowed == [
        "ReadWriterKey Allow: secretsmanager:GetSecretValue", "SecretKey Allow: kms:Decrypt",
        allowed[2], allowed[3],
        "WriteRejects Allow: s3:PutObject", "RejectsKey Allow: kms:Decrypt kms:GenerateDataKey",
        "WriteLogs Allow: logs:CreateLogStream logs:PutLogEvents",
        "Trace Allow: xray:PutTelemetryRecords xray:PutTraceSegments",
    ]  # fmt: skip
    assert (allowed[2].split()[0], allowed[3].split()[0]) == ("Interfaces", "NoInterfacesFromCode")
    assert "VpcConfig" in only(direct["pipe"], "AWS::Lambda::Function")["Properties"]


def test_the_canary_takes_the_same_way(direct: Templates) -> None:
    """It has the writer's key, and looks for no failed records."""
    given = _environment(direct["delivery"])
    assert given["LMDP_WRITER"] == "snowflake"
    assert "SNOWFLAKE_WRITER_KEY_SECRET" in given
    assert not {"LMDP_DELIVERY_STREAM", "LMDP_REJECTS_BUCKET"} & given.keys()


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"LMDP_WRITER": "kafka"}, "LMDP_WRITER is 'kafka'; it is firehose or snowflake"),
        ({"SNOWFLAKE_IDENTIFIERS": "wrapped"}, "which only Firehose's keys need"),
        ({"LMDP_VPC_ENDPOINTS": "kinesis-firehose,ssm"}, "has kinesis-firehose, which nothing calls"),
    ],
)
def test_settings_that_do_not_fit(changed: dict[str, str], fault: str) -> None:
    """What only Firehose has is refused before anything is made."""
    from infra.settings import Settings  # noqa: PLC0415 - only where the infrastructure's packages are

    with pytest.raises(SettingsError, match=fault):
        Settings.read("example", {**example_values(), **DIRECT_OPTIONS, **changed})
