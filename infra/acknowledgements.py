"""Findings of the reviewers' rules that we keep: each by itself, with the reason.

A finding names the exact wildcard, so a new one is a new finding. A test compares this list with what is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import aws_cdk as cdk
from constructs import Construct

from infra.containers import CONTAINER_SECRETS
from infra.settings import Settings
from infra.stacks.alarms import topic_arn
from lmdp.deployment.naming import CONTAINERS

_LOG_STREAMS = (
    "The colon and star at the end of a log group's ARN stand for its streams, whose names AWS chooses as they begin; "
    "the group is this one alone."
)
_TRACING = "X-Ray's PutTraceSegments and PutTelemetryRecords know no resource, so that they need a star."
_ROTATION = (
    "The key pair is registered with Snowflake, in one of two slots. 'lmdp snowflake keypair' rotates it; the managed "
    "rotation writes other key names, which Firehose does not read. An alarm reports a key that grows old."
)
_NO_DEAD_LETTERS = (
    "The function is called synchronously by the pipe, which keeps the batch: a dead-letter queue stays empty."
)
_ANSWERS_ALWAYS = (
    "The handler itself reports every failure to CloudFormation, and CloudFormation waits 20 minutes at most; the "
    "stack is then rolled back, and a rule reports that. A queue would hold a request that nobody waits for."
)
_LOOKS_AGAIN = (
    "The watcher looks again in five minutes, and missing numbers are alarms; a kept event would only be late."
)
_FLIES_AGAIN = (
    "The canary flies again the next day, and the alarm canary-old counts the hours; a kept event would only be late."
)
_INTERFACES = (
    "Lambda makes the function's interfaces with this role, and EC2 numbers them as it makes them; code is denied it."
)
_PLAIN_VARIABLES = (
    "Variables have names and addresses alone. Secrets are Secrets Manager's, and only the container that writes them "
    "to files, and ends, has them."
)
_NO_INSIGHTS = (
    "The alarms count tasks by the samples of ECS's own metrics, which are free; logs and memory have alarms, too."
)
_FILLED = (
    "A certificate of a Private CA, or hashes of tokens: 'lmdp certs' and 'lmdp receive token' replace them; the tasks "
    "take them at their next start."
)
_NOTICE = "The target is the alerts topic of this account; EventBridge tries for 24 hours, and the event is a notice."


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One finding of a rule at one construct (its path in the stack), and why it stays."""

    stack: str
    path: str
    finding: str
    reason: str


def acknowledged(settings: Settings) -> list[Acknowledged]:
    """Every finding that stays; which ones there are depends on the settings."""
    return [*_wildcards(settings), *_secrets(settings), *_serverless(settings), *_containers(settings)]


def acknowledge(stacks: Mapping[str, cdk.Stack], settings: Settings) -> None:
    """Acknowledge the rules."""
    for one in acknowledged(settings):
        at = cast("Construct", stacks[one.stack])
        for name in one.path.split("/"):
            at = cast("Construct", at.node.find_child(name))
        cdk.Validations.of(at).acknowledge(cdk.Acknowledgment(id=one.finding, reason=one.reason))


def _iam5(stack: str, path: str, resource: str, reason: str) -> Acknowledged:
    return Acknowledged(stack, path, f"AwsSolutions-IAM5[Resource::{resource}]", reason)


def _wildcards(settings: Settings) -> list[Acknowledged]:
    names = settings.names
    errors = names.error_bucket_arn
    pipe, function = ("pipe", "PipeRole/Resource"), ("pipe", "FunctionRole/Resource")
    setup, watcher = ("snowflake-setup", "Role/Resource"), ("alarms", "WatcherRole/Resource")
    canary = ("delivery", "CanaryRole/Resource")
    in_vpc = f"{_TRACING} {_INTERFACES}" if settings.delivery.function_group else _TRACING
    firehose = ("delivery", "Role/Resource")
    found = [
        _iam5(*function, f"{errors}/rejects/*", "Reject objects are named by topic, partition and offset."),
        _iam5(*function, "*", in_vpc if settings.is_direct else _TRACING),
        _iam5(*pipe, names.arn("ec2", "network-interface/*"), "EC2 numbers an interface as it makes it; subnets, "
              "security group and, for removal, the VPC are named."),
        _iam5(*pipe, "*", "EC2's Describe calls and GetBootstrapBrokers know no resource; they only read."),
        _iam5(*setup, "*", in_vpc),
        _iam5(*canary, "*", in_vpc),
        _iam5(*watcher, "*", _TRACING),
    ]  # fmt: skip
    if not settings.is_direct:
        found += [
            _iam5(*firehose, f"{errors}/*", "Firehose names its objects itself; where it puts failed records of "
                  "Snowflake is not documented, and a refusal would stop delivery."),
            _iam5(*canary, f"{errors}/snowflake-failed/*", "It looks for its own failed record, by its content."),
        ]  # fmt: skip
    if not settings.kafka.cluster_arn:
        found.append(
            _iam5(*watcher, topic_arn(settings), "MSK gives the cluster its UUID as it makes it; only to read.")
        )
    found += [
        Acknowledged(*where, "Serverless-LambdaStarPermissions", _TRACING)
        for where in (function, setup, watcher, canary)
    ]
    groups = [
        (function, "function"),
        (pipe, "pipe"),
        (setup, "setup"),
        (watcher, "watcher"),
        (canary, "canary"),
        *([] if settings.is_direct else [(firehose, "firehose")]),
    ]
    found += [
        _iam5(*where, names.arn("logs", f"log-group:{names.log_group(what)}:*"), _LOG_STREAMS) for where, what in groups
    ]
    return found


def _secrets(settings: Settings) -> list[Acknowledged]:
    delivery, rule = settings.delivery, "AwsSolutions-SMG4"
    certificate = "The certificate comes from a Private CA: 'lmdp certs' renews it; alarms count the days from 30 down."
    listed = (
        (delivery.loader_secret_arn, Acknowledged("snowflake-auth", "Loader", rule, _ROTATION)),
        (delivery.setup_secret_arn, Acknowledged("snowflake-auth", "Setup", rule, _ROTATION)),
        (settings.kafka.secret_arn, Acknowledged("auth", "KafkaClient", rule, certificate)),
    )
    return [one for existing, one in listed if not existing]


def _serverless(settings: Settings) -> list[Acknowledged]:
    destination = "Serverless-LambdaAsyncFailureDestination"
    mail = "A notice that cannot be delivered has nobody to redrive it to; the alarm is in CloudWatch all the same."
    return [
        *(
            # CDK writes a slash in a construct's name as two dashes.
            Acknowledged("base", f"Alerts/{who.replace('/', '--')}/Resource", "Serverless-SNSRedrivePolicy", mail)
            for who in (*settings.watch.emails, *settings.watch.urls)
        ),
        Acknowledged("pipe", "Function/Resource", "Serverless-LambdaDLQ", _NO_DEAD_LETTERS),
        Acknowledged("snowflake-setup", "Function/Resource", "Serverless-LambdaDLQ", _ANSWERS_ALWAYS),
        Acknowledged("snowflake-setup", "Function/EventInvokeConfig/Resource", destination, _ANSWERS_ALWAYS),
        Acknowledged("delivery", "Canary/Resource", "Serverless-LambdaDLQ", _FLIES_AGAIN),
        Acknowledged("delivery", "Canary/EventInvokeConfig/Resource", destination, _FLIES_AGAIN),
        Acknowledged("delivery", "EveryDay/Resource", "Serverless-EventBusDLQ", _FLIES_AGAIN),
        Acknowledged("alarms", "Watcher/Resource", "Serverless-LambdaDLQ", _LOOKS_AGAIN),
        Acknowledged("alarms", "Watcher/EventInvokeConfig/Resource", destination, _LOOKS_AGAIN),
        Acknowledged("alarms", "EveryFiveMinutes/Resource", "Serverless-EventBusDLQ", _LOOKS_AGAIN),
        Acknowledged("alarms", "FailedDeployments", "Serverless-EventBusDLQ", _NOTICE),
    ]


def _containers(settings: Settings) -> list[Acknowledged]:
    names, services = settings.names, settings.containers.services
    filled = [Acknowledged("auth", id_, "AwsSolutions-SMG4", _FILLED) for id_, _ in CONTAINER_SECRETS.values()]
    found = [*filled, Acknowledged(CONTAINERS, "Cluster", "AwsSolutions-ECS4", _NO_INSIGHTS)] if services else []
    if "write" in services:
        errors = f"{names.error_bucket_arn}/rejects/*"
        found.append(
            _iam5(CONTAINERS, "WriteRole/Resource", errors, "Reject objects are named by topic, partition and offset.")
        )
    for service in services:
        role, task = f"{service.title()}StartRole/Resource", f"{service.title()}Task"
        group = names.arn("logs", f"log-group:{names.log_group(service)}:*")
        found += [
            _iam5(CONTAINERS, role, "*", "GetAuthorizationToken knows no resource; the image's repository is named."),
            _iam5(CONTAINERS, role, group, _LOG_STREAMS),
            Acknowledged(CONTAINERS, task, "AwsSolutions-ECS2", _PLAIN_VARIABLES),
        ]
    return found
