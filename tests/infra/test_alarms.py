"""Alarms: each way of losing data has one, each tells the topic, each names what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from templates import of_type, only, role_statements, text

from .conftest import OTHER_OPTIONS, ROOT, UUID, Templates

# What the topic really keeps, and never more than is planned.
KEPT = "IF(FILL(kept, 24) < 24, FILL(kept, 24), 24)"

# name: severity, section, metric or expression, comparison, threshold, missing data
ALARMS: dict[str, tuple[str, str, str, str, float, str]] = {
    "topic-retention": ("warn", "lag", "lmdp/TopicRetentionHours", "<", 24, "notBreaching"),
    "record-age-warn": ("warn", "lag", f"100 * delay / 3600000 / {KEPT}", ">", 16.7, "notBreaching"),
    "record-age-page": ("page", "lag", f"100 * delay / 3600000 / {KEPT}", ">", 50, "notBreaching"),
    "consumer-lag-warn": ("warn", "lag", f"100 * delay / 3600 / {KEPT}", ">", 16.7, "notBreaching"),
    "consumer-lag-page": ("page", "lag", f"100 * delay / 3600 / {KEPT}", ">", 50, "notBreaching"),
    "partitions-offline": ("page", "brokers", "AWS/Kafka/OfflinePartitionsCount", ">=", 1, "notBreaching"),
    **{
        f"broker-{number}-disk": ("page", "brokers", "AWS/Kafka/KafkaDataLogsDiskUsed", ">=", 80, "notBreaching")
        for number in (1, 2, 3)
    },
    **{
        f"broker-{number}-under-replicated": (
            "warn", "brokers", "AWS/Kafka/UnderReplicatedPartitions", ">=", 1, "notBreaching"
        )
        for number in (1, 2, 3)
    },
    "pipe-not-running": ("page", "pipe", "lmdp/PipeRunning", "<", 1, "breaching"),
    "pipe-failed": ("page", "pipe", "AWS/EventBridge/Pipes/ExecutionFailed", ">", 0, "notBreaching"),
    "pipe-timeout": ("page", "pipe", "AWS/EventBridge/Pipes/ExecutionTimeout", ">", 0, "notBreaching"),
    "pipe-throttled": ("warn", "pipe", "AWS/EventBridge/Pipes/ExecutionThrottled", ">", 0, "notBreaching"),
    "pipe-target-failed": ("page", "pipe", "AWS/EventBridge/Pipes/TargetStageFailed", ">", 0, "notBreaching"),
    "function-errors": ("page", "function", "AWS/Lambda/Errors", ">", 0, "notBreaching"),
    "function-throttled": ("warn", "function", "AWS/Lambda/Throttles", ">", 0, "notBreaching"),
    "function-slow": ("warn", "function", "AWS/Lambda/Duration", ">", 192_000, "notBreaching"),
    "silence": ("page", "silence", "lmdp/Rows", "<", 1, "breaching"),
    "rejects": ("warn", "rejects", "lmdp/Rejects", ">", 0, "notBreaching"),
    "undelivered-rows": ("page", "undelivered-rows", "FILL(rows, 0) - FILL(delivered, 0)", ">", 0, "notBreaching"),
    "probable-repeats": ("warn", "repeats", "lmdp/ProbableRepeats", ">", 0, "notBreaching"),
    "failed-records": ("page", "failed-records", "AWS/Firehose/DeliveryToS3.Records", ">", 0, "notBreaching"),
    "freshness": ("page", "freshness", "AWS/Firehose/DeliveryToSnowflake.DataFreshness", ">", 900, "notBreaching"),
    "delivery-success": (
        "page", "freshness", "IF(FILL(incoming, 0) > 0 AND FILL(success, 0) < 1, 1, 0)", ">", 0, "notBreaching"
    ),
    "stream-key": ("page", "freshness", "AWS/Firehose/KMSKeyAccessDenied", ">", 0, "notBreaching"),
    "quota-bytes": (
        "warn", "quota", "100 * incomingBytes / PERIOD(incomingBytes) / bytesPerSecondLimit", ">", 80, "notBreaching"
    ),
    "quota-records": (
        "warn", "quota", "100 * incomingRecords / PERIOD(incomingRecords) / recordsPerSecondLimit", ">", 80,
        "notBreaching",
    ),
    "quota-requests": (
        "warn", "quota", "100 * incomingPutRequests / PERIOD(incomingPutRequests) / putRequestsPerSecondLimit", ">", 80,
        "notBreaching",
    ),
    "throttled-records": ("warn", "quota", "AWS/Firehose/ThrottledRecords", ">", 0, "notBreaching"),
    "certificate-warn": ("warn", "certificates", "lmdp/CertificateDaysLeft", "<", 30, "breaching"),
    "certificate-page": ("page", "certificates", "lmdp/CertificateDaysLeft", "<", 7, "breaching"),
    "loader-key-old": ("warn", "keys", "lmdp/LoaderKeyDaysLeft", "<", 30, "breaching"),
    "setup-key-old": ("warn", "keys", "lmdp/SetupKeyDaysLeft", "<", 30, "breaching"),
    "canary-old": ("warn", "canary", "lmdp/CanaryAgeHours", ">", 26, "breaching"),
    "watcher-errors": ("warn", "watcher", "AWS/Lambda/Errors", ">", 0, "notBreaching"),
}  # fmt: skip

OF_CONTAINERS: dict[str, tuple[str, str, str, str, float, str]] = {
    **{
        f"{service}-{what}": (
            "page" if what == "stopped" else "warn",
            "containers",
            measured,
            compare,
            threshold,
            missing,
        )
        for service in ("receive", "write")
        for what, measured, compare, threshold, missing in (
            ("stopped", "AWS/ECS/CPUUtilization", "<", 1, "breaching"),
            ("memory", "AWS/ECS/MemoryUtilization", ">", 90, "notBreaching"),
        )
    },
    "receive-unhealthy": ("page", "receiver", "AWS/NetworkELB/HealthyHostCount", "<", 1, "breaching"),
    "receive-kafka": ("page", "receiver", "lmdp-example/ReceiverWithoutKafka", ">", 0, "notBreaching"),
    "receive-refused": ("warn", "receiver", "lmdp-example/ReceiverRefusals", ">", 0, "notBreaching"),
    "write-lag": ("page", "writer", f"100 * delay / 3600 / {KEPT}", ">", 50, "notBreaching"),
    "write-refused": ("page", "writer", "lmdp-example/WriterRefusals", ">", 0, "notBreaching"),
}

CLUSTER = f"arn:aws:kafka:us-east-1:000000000000:cluster/example/{UUID}-1"

COMPARE = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": ">=",
    "LessThanThreshold": "<",
}


def _alarms(templates: Templates) -> dict[str, dict[str, Any]]:
    found = [resource["Properties"] for resource in of_type(templates["alarms"], "AWS::CloudWatch::Alarm")]
    return {alarm["AlarmName"].removeprefix("lmdp-example-"): alarm for alarm in found}


def _told(alarm: dict[str, Any]) -> tuple[str, str, str, str, float, str]:
    words = re.fullmatch(r"\[(warn|page)\] .* See docs/operations\.md#([a-z-]+)", alarm["AlarmDescription"])
    assert words, alarm["AlarmDescription"]
    measured = f"{alarm['Namespace']}/{alarm['MetricName']}" if "MetricName" in alarm else _expression(alarm)
    compare = COMPARE[alarm["ComparisonOperator"]]
    return (words[1], words[2], measured, compare, alarm["Threshold"], alarm["TreatMissingData"])


def _expression(alarm: dict[str, Any]) -> str:
    (expression,) = [part["Expression"] for part in alarm["Metrics"] if "Expression" in part]
    return str(expression)


def test_every_way_of_losing_data_has_its_alarm(example: Templates) -> None:
    """All alarms: how bad, which section, what is measured, and a missing number; lag in percent of the retention."""
    assert {name: _told(alarm) for name, alarm in _alarms(example).items()} == ALARMS


@pytest.mark.parametrize(("seconds", "minutes"), [("60", 15), ("450", 15), ("600", 20), ("3600", 120)])
def test_silence_lasts_two_intervals_of_the_devices(seconds: str, minutes: int) -> None:
    """Devices that are polled once an hour send no row for most periods of five minutes."""
    from infra.alarms.path import path_rules  # noqa: PLC0415 - only where the infrastructure's packages are

    from .test_execution import settings  # noqa: PLC0415 - as above

    (rule,) = [one for one in path_rules(settings(LMDP_PLANNED_INTERVAL_SECONDS=seconds)) if one.name == "silence"]
    assert (rule.periods, rule.bad, rule.about) == (minutes // 5, minutes // 5, f"No row came for {minutes} minutes.")


def test_a_private_ca_is_watched_too(full: Templates) -> None:
    """One alarm more, where the CA is known."""
    assert set(_alarms(full)) - set(ALARMS) - set(OF_CONTAINERS) == {"ca"}


def test_containers_have_alarms(full: Templates) -> None:
    """A service that stopped, or has no memory left; senders that reach nothing, Kafka's silence, refusals; lag."""
    found = {name: _told(alarm) for name, alarm in _alarms(full).items()}
    assert {name: found.get(name) for name in OF_CONTAINERS} == OF_CONTAINERS
    body = text(only(full["alarms"], "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"], full["alarms"])
    assert all(f"{service}: CPU and memory" in body for service in ("receive", "write"))


@pytest.mark.parametrize(
    ("metric", "source"),
    [
        ("ReceiverWithoutKafka", "src/lmdp/receive/topic.py"),
        ("ReceiverRefusals", "src/lmdp/receive/server.py"),
        ("WriterRefusals", "src/lmdp/snowflake/streaming/sink.py"),
    ],
)
def test_lines_that_are_counted_are_written(full: Templates, metric: str, source: str) -> None:
    """The text of a metric filter is in the module that logs it."""
    found = only(full["containers"], "AWS::Logs::MetricFilter", FilterName=metric)["Properties"]
    assert found["FilterPattern"].strip('"') in (ROOT / source).read_text()


def test_every_alarm_tells_the_topic_when_it_goes_off_and_when_it_is_well(example: Templates) -> None:
    """The action is the alerts topic of the base stack."""
    actions = {
        text(action) for alarm in _alarms(example).values() for action in (*alarm["AlarmActions"], *alarm["OKActions"])
    }
    assert actions == {"<base:Alerts>"}
    assert all(len(alarm["AlarmActions"]) == len(alarm["OKActions"]) == 1 for alarm in _alarms(example).values())


def test_alarms_measure_what_the_stacks_make(example: Templates) -> None:
    """Dimensions are the names of this environment's pipe, functions, stream, cluster and consumer group."""
    found: set[tuple[str, str]] = set()
    for alarm in _alarms(example).values():
        metrics = [part["MetricStat"]["Metric"] for part in alarm.get("Metrics", ()) if "MetricStat" in part] or [alarm]
        found |= {(one["Name"], text(one["Value"])) for metric in metrics for one in metric["Dimensions"]}
    assert found == {
        ("service", "lmdp-example"),
        ("PipeName", only(example["pipe"], "AWS::Pipes::Pipe")["Properties"]["Name"]),
        ("FunctionName", "lmdp-example-rows"),
        ("FunctionName", "lmdp-example-watcher"),
        ("DeliveryStreamName", "lmdp-example-rows"),
        ("Cluster Name", "example"),
        ("Consumer Group", "lmdp-example-pipe"),
        ("Topic", "lm.metrics.otlp"),
        ("Broker ID", "1"),
        ("Broker ID", "2"),
        ("Broker ID", "3"),
    }


def test_the_function_writes_the_metrics_that_alarms_read(example: Templates) -> None:
    """Service and namespace are the ones that the function is given."""
    function = only(example["pipe"], "AWS::Lambda::Function")["Properties"]["Environment"]["Variables"]
    assert function["POWERTOOLS_SERVICE_NAME"] == "lmdp-example"
    assert function["POWERTOOLS_METRICS_NAMESPACE"] == "lmdp"
    source = (ROOT / "src" / "lmdp" / "cloud" / "telemetry.py").read_text()
    for name in ("OldestRecordAge", "Rows", "Delivered", "Rejects", "ProbableRepeats", "Retried", "ThrottledCalls"):
        assert f'"{name}"' in source


@pytest.mark.parametrize("section", sorted({alarm[1] for alarm in (ALARMS | OF_CONTAINERS).values()}))
def test_the_section_that_an_alarm_names_is_written(section: str) -> None:
    """docs/operations.md has that heading."""
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    assert section in headings


def test_the_budget_counts_what_is_tagged(example: Templates) -> None:
    """Eighty percent spent, or all of it forecast: the topic hears."""
    budget = only(example["alarms"], "AWS::Budgets::Budget")["Properties"]
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 2000, "Unit": "USD"}
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["user:lmdp$example"]}
    told = [
        (
            one["Notification"]["NotificationType"],
            one["Notification"]["Threshold"],
            text(one["Subscribers"][0]["Address"]),
        )
        for one in budget["NotificationsWithSubscribers"]
    ]
    assert told == [("ACTUAL", 80, "<base:Alerts>"), ("FORECASTED", 100, "<base:Alerts>")]


def test_a_deployment_that_goes_back_is_told(example: Templates) -> None:
    """EventBridge sends failed states of this environment's stacks to the topic."""
    rule = only(example["alarms"], "AWS::Events::Rule", Name="lmdp-example-failed-deployments")["Properties"]
    assert rule["EventPattern"]["resources"] == [
        {"prefix": "arn:aws:cloudformation:us-east-1:000000000000:stack/lmdp-example-"}
    ]
    assert "UPDATE_ROLLBACK_COMPLETE" in rule["EventPattern"]["detail"]["status-details"]["status"]
    assert [text(target["Arn"]) for target in rule["Targets"]] == ["<base:Alerts>"]


def test_the_watcher_looks_every_five_minutes(example: Templates) -> None:
    """The rule calls the watcher, which is told the names that the other stacks use."""
    rule = only(example["alarms"], "AWS::Events::Rule", Name="lmdp-example-watcher")["Properties"]
    watcher = only(example["alarms"], "AWS::Lambda::Function")["Properties"]
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    assert watcher["Environment"]["Variables"] == {
        "LMDP_PREFIX": "lmdp-example",
        "LMDP_PIPE": "lmdp-example",
        "LMDP_KAFKA_SECRETS": "lmdp-example/kafka-client",
        "LMDP_LOADER_SECRET": "lmdp-example/snowflake-loader",
        "LMDP_SETUP_SECRET": "lmdp-example/snowflake-setup",
        "LMDP_CANARY_PARAMETER": "/lmdp/example/state/canary-landed",
        "LMDP_CLUSTER_ARN": CLUSTER,
        "LMDP_TOPIC": "lm.metrics.otlp",
        "LMDP_RETENTION_PARAMETER": "/lmdp/example/state/topic-retention-hours",
        "LMDP_KEY_MAX_AGE_DAYS": "365",
    }


def test_the_watcher_looks_at_every_certificate(full: Templates) -> None:
    """The pipe's, by the ARN that was given, and those of both containers, to which its role has the right."""
    watcher = only(full["alarms"], "AWS::Lambda::Function")["Properties"]["Environment"]["Variables"]
    given = OTHER_OPTIONS["LMDP_KAFKA_SECRET_ARN"]
    assert watcher["LMDP_KAFKA_SECRETS"] == f"{given},lmdp-example/kafka-receive,lmdp-example/kafka-write"
    (looks,) = [one for one in role_statements(full["alarms"], "acme-lmdp-example-watcher") if "Certificate " in one]
    ours = "arn:aws:secretsmanager:us-east-1:000000000000:secret:lmdp-example/kafka"
    assert looks == (
        f"LookAtCertificate Allow: secretsmanager:DescribeSecret on {given} {ours}-receive-?????? {ours}-write-??????"
    )


def test_the_dashboard_shows_the_whole_path(example: Templates) -> None:
    """Kafka, pipe, function, Firehose, Snowflake and the alarms are on one page."""
    body = text(only(example["alarms"], "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"], example["alarms"])
    for namespace in ("AWS/Kafka", "AWS/EventBridge/Pipes", "AWS/Lambda", "AWS/Firehose", "lmdp"):
        assert json.dumps(namespace) in body
    assert "DeliveryToSnowflake.DataFreshness" in body
    assert Path(ROOT / "docs" / "operations.md").exists()
