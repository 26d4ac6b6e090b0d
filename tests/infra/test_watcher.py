"""The watcher, against moto: what it finds, and what it leaves out."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
ENV = {
    "LMDP_PREFIX": "lmdp-example",
    "LMDP_PIPE": "lmdp-example",
    "LMDP_KAFKA_SECRETS": "kafka",
    "LMDP_LOADER_SECRET": "loader",
    "LMDP_SETUP_SECRET": "setup",
    "LMDP_CANARY_PARAMETER": "/lmdp/example/state/canary-landed",
    "LMDP_KEY_MAX_AGE_DAYS": "365",
    "LMDP_CLUSTER_ARN": "arn:aws:kafka:us-east-1:123456789012:cluster/example/1-1",
    "LMDP_TOPIC": "lm.metrics.otlp",
    "LMDP_RETENTION_PARAMETER": "/lmdp/example/state/topic-retention-hours",
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes boto3's clients, with moto behind them."""
    moto = pytest.importorskip("moto", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with moto.mock_aws():
        yield boto3.client


def _pipe(aws: Any) -> None:
    aws("pipes").create_pipe(
        Name="lmdp-example",
        RoleArn="arn:aws:iam::123456789012:role/pipe",
        Source="arn:aws:sqs:us-east-1:123456789012:source",
        Target="arn:aws:lambda:us-east-1:123456789012:function:rows",
        DesiredState="RUNNING",
    )


def test_everything_that_stands_is_a_number(aws: Any) -> None:
    """Pipe running, days of certificate and keys, hours since the canary, hours that the topic keeps."""
    from infra.watcher.watcher import look  # noqa: PLC0415 - only where boto3 is

    _pipe(aws)
    secrets = aws("secretsmanager")
    for name in ("loader", "setup", "kafka"):
        secrets.create_secret(Name=name)
    version = secrets.put_secret_value(SecretId="kafka", SecretString="{}")["VersionId"]
    tag = {"Key": "lmdp:certificate", "Value": f"{version} 2026-12-03T12:00:00+00:00"}
    secrets.tag_resource(SecretId="kafka", Tags=[tag])
    for name in ("loader", "setup"):
        secrets.put_secret_value(SecretId=name, SecretString="{}")
    landed = {"Name": ENV["LMDP_CANARY_PARAMETER"], "Value": "2026-11-23T10:30:00+00:00", "Type": "String"}
    aws("ssm").put_parameter(**landed)
    aws("ssm").put_parameter(Name=ENV["LMDP_RETENTION_PARAMETER"], Value="36", Type="String")
    found, faults = look(ENV, aws, NOW)
    keys = {found.pop("LoaderKeyDaysLeft"), found.pop("SetupKeyDaysLeft")}
    made = secrets.list_secret_version_ids(SecretId="loader")["Versions"][0]["CreatedDate"]
    assert found == {
        "PipeRunning": 1.0,
        "CertificateDaysLeft": 10.0,
        "CanaryAgeHours": 1.5,
        "TopicRetentionHours": 36.0,
    }
    assert all(abs(365 - (NOW - made).total_seconds() / 86_400 - days) < 0.01 for days in keys)
    assert faults == {}


def test_what_cannot_be_told_is_left_out(aws: Any) -> None:
    """No pipe, no secret, no canary: no number, so that the alarms on missing data go off; one fault hides no other."""
    from infra.watcher.watcher import look  # noqa: PLC0415 - only where boto3 is

    found, faults = look({**ENV, "LMDP_PRIVATE_CA": "arn:aws:acm-pca:us-east-1:123456789012:nothing"}, aws, NOW)
    assert found == {}
    assert set(faults) == {
        "PipeRunning", "CertificateDaysLeft", "CanaryAgeHours", "LoaderKeyDaysLeft", "SetupKeyDaysLeft", "CaDaysLeft",
        "TopicRetentionHours",
    }  # fmt: skip


class Msk:
    """MSK's API for topics, and the parameter of the last deployment; `configs` is None where it has no such call."""

    def __init__(self, configs: str | None) -> None:
        self.configs = configs

    def describe_topic(self, **asked: str) -> dict[str, str]:
        """The topic's configuration, as MSK encodes it."""
        assert asked == {"ClusterArn": ENV["LMDP_CLUSTER_ARN"], "TopicName": "lm.metrics.otlp"}
        if self.configs is None:
            raise AttributeError("'Kafka' object has no attribute 'describe_topic'")
        return {"Configs": base64.b64encode(self.configs.encode()).decode()}

    def get_parameter(self, **_: str) -> dict[str, Any]:
        """What a deployment noted."""
        return {"Parameter": {"Value": "36"}}


RETENTION: list[tuple[str | None, float]] = [
    ("retention.ms=21600000\ncleanup.policy=delete\n", 6.0),
    ('{"cleanup.policy": "delete", "retention.ms": "21600000"}', 6.0),
    ("retention.ms=-1", 87_600.0),
    ("cleanup.policy=delete", 36.0),  # the broker's default, which it does not show
    ("delete.retention.ms=1000", 36.0),
    ("", 36.0),
    (None, 36.0),
]


@pytest.mark.parametrize(("configs", "hours"), RETENTION)
def test_the_retention_is_the_topics_own(configs: str | None, hours: float) -> None:
    """As MSK shows it now; where it does not, as the last deployment found it."""
    from infra.watcher.watcher import look  # noqa: PLC0415 - only where boto3 is

    assert look(ENV, lambda _: Msk(configs), NOW)[0]["TopicRetentionHours"] == hours


def test_a_tag_of_another_version_says_nothing(aws: Any) -> None:
    """A certificate that somebody wrote by hand has no date until it is told."""
    from infra.watcher.watcher import look  # noqa: PLC0415 - only where boto3 is

    secrets = aws("secretsmanager")
    old = secrets.create_secret(Name="kafka", SecretString="{}")["VersionId"]
    secrets.tag_resource(
        SecretId="kafka", Tags=[{"Key": "lmdp:certificate", "Value": f"{old} 2027-01-01T00:00:00+00:00"}]
    )
    secrets.put_secret_value(SecretId="kafka", SecretString='{"certificate": "another"}')
    found, faults = look(ENV, aws, NOW)
    assert "CertificateDaysLeft" not in found
    assert faults["CertificateDaysLeft"] == "unknown"


@pytest.mark.parametrize(
    ("ends", "days"),
    [
        ({"kafka": "2027-01-01", "kafka-receive": "2026-12-03", "kafka-write": "2026-12-24"}, 9.5),
        ({"kafka": "2027-01-01", "kafka-receive": "", "kafka-write": "2026-12-24"}, None),
    ],
)
def test_the_certificate_that_ends_first_counts(aws: Any, ends: dict[str, str], days: float | None) -> None:
    """The pipe's and those of the containers; one that is unknown makes the number unknown."""
    from infra.watcher.watcher import look  # noqa: PLC0415 - only where boto3 is

    secrets = aws("secretsmanager")
    for name, end in ends.items():
        version = secrets.create_secret(Name=name, SecretString="{}")["VersionId"]
        tag = {"Key": "lmdp:certificate", "Value": f"{version} {end}T00:00:00+00:00"}
        secrets.tag_resource(SecretId=name, Tags=[tag] if end else [])
    found, faults = look({**ENV, "LMDP_KAFKA_SECRETS": ",".join(ends)}, aws, NOW)
    assert found.get("CertificateDaysLeft") == days
    assert faults.get("CertificateDaysLeft") == (None if days else "unknown")


def test_a_pipe_that_stopped_is_zero(aws: Any) -> None:
    """Stopped is not missing."""
    from infra.watcher.watcher import look  # noqa: PLC0415 - only where boto3 is

    _pipe(aws)
    aws("pipes").stop_pipe(Name="lmdp-example")
    assert look(ENV, aws, NOW)[0]["PipeRunning"] == 0.0


def test_the_numbers_are_one_object_in_embedded_metric_format() -> None:
    """CloudWatch reads namespace, dimension and the names of what was found."""
    from infra.watcher.watcher import metrics  # noqa: PLC0415 - only where boto3 is

    assert metrics({"PipeRunning": 1.0}, {"CanaryAgeHours": "unknown"}, "lmdp-example", 1_000) == {
        "_aws": {
            "Timestamp": 1_000,
            "CloudWatchMetrics": [
                {"Namespace": "lmdp", "Dimensions": [["service"]], "Metrics": [{"Name": "PipeRunning", "Unit": "None"}]}
            ],
        },
        "service": "lmdp-example",
        "unknown": {"CanaryAgeHours": "unknown"},
        "PipeRunning": 1.0,
    }


def test_the_handler_prints_one_line(
    aws: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lambda's log takes the line as metrics."""
    from infra.watcher.watcher import handler  # noqa: PLC0415 - only where boto3 is

    _pipe(aws)
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    assert handler({}, None) == {"PipeRunning": 1.0}
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["PipeRunning"] == 1.0
