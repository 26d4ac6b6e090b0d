"""Small parts that several stacks are made of: roles, statements, log groups, keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.assets import RUNTIME
from infra.settings import LOG_DAYS, Settings
from lmdp.deployment.naming import Names

# What holds data outlives its stack, but not the rollback of the operation that made it: empty as it is, it would keep
# its name from the next try. https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html
KEPT: Final = cdk.RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE


REJECTS_PREFIX: Final = "rejects"
USE_KEY: Final = ("kms:Decrypt", "kms:GenerateDataKey")
"""The actions of who reads and writes with a key."""


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    *,
    conditions: Mapping[str, Any] | None = None,
    services: Sequence[str] = (),
) -> iam.PolicyStatement:
    """One statement that allows `actions`; `services` are its principals, in a resource's own policy."""
    return iam.PolicyStatement(
        sid=sid,
        effect=iam.Effect.ALLOW,
        actions=list(actions),
        resources=list(resources),
        conditions=dict(conditions or {}),
        principals=[iam.ServicePrincipal(service) for service in services] or None,
    )


def from_here(names: Names, source_arn: str | list[str]) -> dict[str, Any]:
    """The condition that a service acts for one resource (or these) of this account, and for nobody else's."""
    return {"StringEquals": {"aws:SourceAccount": names.account}, "ArnLike": {"aws:SourceArn": source_arn}}


def via(names: Names, service: str) -> dict[str, Any]:
    """The condition that a key is used through one service of this Region."""
    return {"StringEquals": {"kms:ViaService": f"{service}.{names.region}.amazonaws.com"}}


def bucket_key_use(names: Names) -> dict[str, Any]:
    """The condition that a key is used for objects of the error bucket (with a bucket key: for the bucket).

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
    """
    bucket = names.error_bucket_arn
    return {**via(names, "s3"), "StringLike": {"kms:EncryptionContext:aws:s3:arn": [bucket, f"{bucket}/*"]}}


def write_rejects(names: Names, key: kms.IKey) -> list[iam.PolicyStatement]:
    """Writing rejects to the error bucket, whose key that is."""
    return [
        allow("WriteRejects", ["s3:PutObject"], [f"{names.error_bucket_arn}/{REJECTS_PREFIX}/*"]),
        allow("RejectsKey", USE_KEY, [key.key_arn], conditions=bucket_key_use(names)),
    ]


def secret_key_use(names: Names, keys: Sequence[kms.IKey]) -> list[iam.PolicyStatement]:
    """Reading secrets that have a customer's keys; nothing where they have AWS's."""
    arns = list(dict.fromkeys(key.key_arn for key in keys))
    return [allow("SecretKey", ["kms:Decrypt"], arns, conditions=via(names, "secretsmanager"))] if arns else []


def service_role(  # noqa: PLR0913 - each is a part of a role
    scope: Construct,
    id_: str,
    *,
    settings: Settings,
    what: str,
    service: str,
    about: str,
    statements: Sequence[iam.PolicyStatement],
    conditions: Mapping[str, Any] | None = None,
) -> iam.Role:
    """A role that one service assumes, by a name that other stacks can rely on; `statements` are all that it may do."""
    principal: iam.IPrincipal = iam.ServicePrincipal(service)
    if conditions:
        principal = iam.PrincipalWithConditions(principal, dict(conditions))
    return iam.Role(
        scope,
        id_,
        role_name=settings.names.role(what),
        path=settings.names.iam_path,
        description=about,
        assumed_by=principal,
        inline_policies={"lmdp": iam.PolicyDocument(statements=list(statements))},
    )


def service_function(  # noqa: PLR0913 - each is a part of a function
    scope: Construct,
    id_: str,
    *,
    settings: Settings,
    role_id: str,
    role: str,
    about: str,
    statements: Sequence[iam.PolicyStatement],
    log: str,
    **properties: Any,
) -> lambda_.Function:
    """Make a function of lmdp with a role of its own, whose rights are `statements` and those to log and trace.

    `role` and `log` are the names of the role and of the log group in the base stack; `about` describes the role.
    """
    names = settings.names
    # Lambda sends no aws:SourceArn when it assumes an execution role:
    # https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
    executor = service_role(
        scope,
        role_id,
        settings=settings,
        what=role,
        service="lambda.amazonaws.com",
        about=about,
        statements=[*statements, write_logs(names.log_group(log), names), tracing()],
    )
    function = lambda_.Function(
        scope,
        id_,
        runtime=RUNTIME,
        architecture=lambda_.Architecture.ARM_64,
        role=executor.without_policy_updates(),
        log_group=logs.LogGroup.from_log_group_name(scope, f"Logs-{log}", names.log_group(log)),
        tracing=lambda_.Tracing.ACTIVE,
        **properties,
    )
    # The reference to the role is a dependency already (cfn-lint W3005).
    cast("cdk.CfnResource", function.node.default_child).add_deletion_override("DependsOn")
    return function


def call_every(
    scope: Construct, id_: str, *, name: str, every: cdk.Duration, function: lambda_.IFunction, retries: int,
    max_age: cdk.Duration,
) -> None:  # fmt: skip
    """Call a function by the clock."""
    rule = events.Rule(scope, id_, rule_name=name, schedule=events.Schedule.rate(every))
    rule.add_target(targets.LambdaFunction(function, retry_attempts=retries, max_event_age=max_age))


def encrypted_log_group(scope: Construct, id_: str, *, settings: Settings, what: str, key: kms.IKey) -> logs.LogGroup:
    """A log group of a known name, with the logs' key and a retention.

    All of them are in the base stack: what an error message points to has to outlive the rollback of its own stack.
    """
    return logs.LogGroup(
        scope,
        id_,
        log_group_name=settings.names.log_group(what),
        encryption_key=key,
        retention=logs.RetentionDays[LOG_DAYS[settings.watch.log_days]],
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )


def write_logs(group_name: str, names: Names) -> iam.PolicyStatement:
    """Writing to one log group that is there already."""
    arn = names.arn("logs", f"log-group:{group_name}:*")
    return allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], [arn])


def tracing() -> iam.PolicyStatement:
    """X-Ray's calls know no resource.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
    """
    return allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])


def customer_key(scope: Construct, id_: str, *, alias: str, about: str) -> kms.Key:
    """A key of this account that rotates each year and is kept when its stack is deleted."""
    return kms.Key(
        scope,
        id_,
        alias=alias,
        description=about,
        enable_key_rotation=True,
        removal_policy=KEPT,
        pending_window=cdk.Duration.days(30),
    )


def parameter(scope: Construct, what: str, value: str, *, names: Names) -> ssm.StringParameter:
    """A name that the tools read."""
    return ssm.StringParameter(scope, f"Parameter-{what}", parameter_name=names.parameter(what), string_value=value)


def as_text(value: object) -> str:
    """JSON with sorted keys: the same value is the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
