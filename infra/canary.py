"""The canary: a function with rights of its own that sends one marked row a day, and when somebody invokes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.assets import SETUP_ZIP, code
from infra.parts import allow, bucket_key_use, call_every, secret_key_use, service_function
from infra.people import FAILED
from infra.private import enter_vpc, interfaces
from infra.settings import Settings
from infra.stacks.snowflake_setup import sql_settings

# Three canaries of three minutes at most, the login and the answer.
_MINUTES = 12


@dataclass(frozen=True, slots=True)
class Backing:
    """The needed parts of other stacks: bucket and key of failed records, secrets of loader and setup owner."""

    bucket: s3.IBucket
    data_key: kms.IKey
    secret: secretsmanager.ISecret
    secret_keys: Sequence[kms.IKey]
    setup_secret: secretsmanager.ISecret
    setup_keys: Sequence[kms.IKey]


def add_canary(scope: Construct, *, settings: Settings, backing: Backing, stub: bool) -> lambda_.Function:
    """Make the function and its schedule. It logs in to Snowflake as the setup owner, who may read the table."""
    names = settings.names
    function = service_function(
        scope,
        "Canary",
        settings=settings,
        role_id="CanaryRole",
        role="canary",
        about="Sends a canary row of lmdp and looks for it",
        statements=_statements(settings, backing),
        log="canary",
        function_name=names.canary_function,
        description=f"One marked row {'' if settings.is_direct else 'through Firehose '}to Snowflake, each day",
        code=code(SETUP_ZIP, stub=stub),
        handler="lmdp.snowflake.canary_function.handler",
        memory_size=512,
        timeout=cdk.Duration.minutes(_MINUTES),
        retry_attempts=0,  # it answers whatever happens; a second try would send a second row
        environment=canary_environment(settings, backing),
    )
    enter_vpc(function, settings)
    call_every(scope, "EveryDay", name=names.canary_function, every=cdk.Duration.days(1), function=function,
               retries=2, max_age=cdk.Duration.hours(1))  # fmt: skip
    return function


def canary_environment(settings: Settings, backing: Backing) -> dict[str, str]:
    """Return the settings that the canary's handler reads."""
    names = settings.names
    through = (
        {"LMDP_WRITER": "snowflake", "SNOWFLAKE_WRITER_KEY_SECRET": backing.secret.secret_arn}
        if settings.is_direct
        else {"LMDP_DELIVERY_STREAM": names.stream, "LMDP_REJECTS_BUCKET": names.error_bucket}
    )
    return {
        **sql_settings(settings),
        **through,
        "LMDP_SETUP_SECRET": backing.setup_secret.secret_arn,
        "LMDP_CANARY_PARAMETER": names.canary_parameter,
        "SNOWFLAKE_ACCOUNT_URL": settings.delivery.setup_host,
        **({"LMDP_ORG_ID": settings.org_id} if settings.org_id else {}),
    }


def _statements(settings: Settings, backing: Backing) -> list[iam.PolicyStatement]:
    names = settings.names
    bucket = names.error_bucket_arn
    parameter = allow("NoteCanary", ["ssm:PutParameter"], [names.arn("ssm", f"parameter{names.canary_parameter}")])
    if settings.is_direct:
        secrets = [backing.setup_secret.secret_arn, backing.secret.secret_arn]
        way = [allow("ReadSecret", ["secretsmanager:GetSecretValue"], secrets)]
        keys = secret_key_use(names, [*backing.setup_keys, *backing.secret_keys])
        return [*way, parameter, *interfaces(settings), *keys]
    return [
        allow("SendCanary", ["firehose:PutRecord"], [names.stream_arn]),
        allow("ReadSecret", ["secretsmanager:GetSecretValue"], [backing.setup_secret.secret_arn]),
        allow("ListErrors", ["s3:ListBucket"], [bucket]),
        allow("ReadFailedRecords", ["s3:GetObject"], [f"{bucket}/{FAILED}/*"]),
        allow("FailedRecordsKey", ["kms:Decrypt"], [backing.data_key.key_arn], conditions=bucket_key_use(names)),
        parameter,
        *interfaces(settings),
        *secret_key_use(names, backing.setup_keys),
    ]
