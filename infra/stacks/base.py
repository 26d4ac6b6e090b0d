"""BaseStack: who is alerted, the logs, and what the tools read. `make destroy` leaves it."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.parts import allow, customer_key, encrypted_log_group, from_here, parameter
from infra.settings import Settings

LOG_GROUPS = ("function", "setup", "canary", "watcher", "firehose", "pipe")
# The log streams that Firehose writes.
STREAM_LOGS = ("snowflake", "backup")
_ALERT_KEY_USE = ("kms:Decrypt", "kms:GenerateDataKey*")


class BaseStack(cdk.Stack):
    """The log groups of every stack, and `alerts`, the topic."""

    def __init__(self, scope: Construct, id_: str, *, settings: Settings, env: cdk.Environment) -> None:
        """Make it."""
        super().__init__(scope, id_, env=env, description="lmdp: alerts, logs and parameters")
        _log_groups(self, settings)
        self.alerts = _alerts(self, settings)
        for name, value in parameters(settings).items():
            parameter(self, name, value, names=settings.names)


def parameters(settings: Settings) -> dict[str, str]:
    """Return what the tools read, by the last part of the parameter's name."""
    names, kafka = settings.names, settings.kafka
    return {
        **({} if settings.is_direct else {"delivery-stream": names.stream}),
        "error-bucket": names.error_bucket,
        "function": names.function,
        "pipe": names.pipe,
        "topic": kafka.topic,
        "consumer-group": kafka.group,
        "snowflake-host": settings.delivery.host,
    }


def _log_groups(scope: Construct, settings: Settings) -> None:
    key = _logs_key(scope, settings)
    groups = {
        what: encrypted_log_group(scope, f"Logs-{what}", settings=settings, what=what, key=key)
        for what in (*LOG_GROUPS, *(() if settings.kafka.cluster_arn else ("kafka",)), *settings.containers.services)
        if not (settings.is_direct and what == "firehose")
    }
    for name in () if settings.is_direct else STREAM_LOGS:
        logs.LogStream(scope, f"LogStream-{name}", log_group=groups["firehose"], log_stream_name=name,
                       removal_policy=cdk.RemovalPolicy.DESTROY)  # fmt: skip


def _logs_key(scope: Construct, settings: Settings) -> kms.Key:
    """CloudWatch Logs says with each call for which log group it asks.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
    """
    names = settings.names
    key = customer_key(scope, "LogsKey", alias=f"{names.prefix}-logs", about="Log groups of lmdp")
    kinds = ("lambda", "kinesisfirehose", "vendedlogs/pipes", "vendedlogs/kafka")
    containers = ("ecs",) if settings.containers.services else ()
    named = [names.log_group("pipe"), *(f"/aws/{kind}/{names.prefix}-*" for kind in (*kinds, *containers))]
    groups = [names.arn("logs", f"log-group:{name}") for name in named]
    key.add_to_resource_policy(
        allow(
            "LogGroupsOfThisEnvironment",
            ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
            ["*"],
            services=[f"logs.{names.region}.amazonaws.com"],
            conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
        )
    )
    return key


def _alerts(scope: Construct, settings: Settings) -> sns.Topic:
    names = settings.names
    key = customer_key(scope, "AlertsKey", alias=f"{names.prefix}-alerts", about="The topic of lmdp's alarms")
    alarms, budgets = names.arn("cloudwatch", "alarm:*"), names.arn("budgets", "*", region="")
    for sid, service, source in (("Alarms", "cloudwatch", alarms), ("Budgets", "budgets", budgets)):
        key.add_to_resource_policy(
            allow(
                sid, _ALERT_KEY_USE, ["*"], services=[f"{service}.amazonaws.com"], conditions=from_here(names, source)
            )
        )
    # EventBridge sends neither aws:SourceArn nor aws:SourceAccount to the key; with conditions its messages would be
    # dropped silently: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    key.add_to_resource_policy(allow("Events", _ALERT_KEY_USE, ["*"], services=["events.amazonaws.com"]))
    topic = sns.Topic(scope, "Alerts", topic_name=names.alerts, master_key=key, enforce_ssl=True)
    for sid, service, source in (("Alarms", "cloudwatch", alarms), ("Budgets", "budgets", budgets)):
        topic.add_to_resource_policy(_publish(topic, sid, service, conditions=from_here(names, source)))
    # In a topic's policy too, conditions stop EventBridge:
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    topic.add_to_resource_policy(_publish(topic, "Events", "events"))
    for email in settings.watch.emails:
        topic.add_subscription(subscriptions.EmailSubscription(email))
    for url in settings.watch.urls:
        topic.add_subscription(subscriptions.UrlSubscription(url))
    return topic


def _publish(
    topic: sns.Topic, sid: str, service: str, *, conditions: dict[str, Any] | None = None
) -> iam.PolicyStatement:
    return allow(
        f"{sid}Publish",
        ["sns:Publish"],
        [topic.topic_arn],
        services=[f"{service}.amazonaws.com"],
        conditions=conditions,
    )
