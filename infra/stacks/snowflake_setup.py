"""SnowflakeSetupStack: a custom resource that runs the SQL, whenever the SQL or its settings change."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.assets import RUNTIME, SETUP_ZIP, code
from infra.parts import allow, as_text, log_group, service_role, tracing, via, without_redundant_dependency, write_logs
from infra.private import enter_vpc, interfaces
from infra.settings import Settings

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_FUNCTION_MINUTES = 14
# How long CloudFormation waits for an answer that never comes; an hour by default.
_SERVICE_MINUTES = 20


class SnowflakeSetupStack(cdk.Stack):
    """Exposes `function`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: Settings,
        env: cdk.Environment,
        secret: secretsmanager.ISecret,
        secret_key: kms.IKey | None,
        stub: bool,
    ) -> None:
        """Make it."""
        super().__init__(scope, id_, env=env, description="lmdp: tables, views and roles in Snowflake")
        role = _role(self, settings, secret, secret_key)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=settings.names.setup_function,
            description="Runs lmdp's SQL in Snowflake for CloudFormation",
            runtime=RUNTIME,
            architecture=lambda_.Architecture.ARM_64,
            code=code(SETUP_ZIP, stub=stub),
            handler="lmdp.snowflake.custom_resource.handler",
            role=role.without_policy_updates(),
            log_group=log_group(self, "setup", settings.names),
            memory_size=1024,
            timeout=cdk.Duration.minutes(_FUNCTION_MINUTES),
            # The handler answers whatever happens; a second try would answer twice.
            retry_attempts=0,
            tracing=lambda_.Tracing.ACTIVE,
            environment={"LMDP_SETUP_SECRET": secret.secret_arn, "SNOWFLAKE_ACCOUNT_URL": settings.delivery.setup_host},
        )
        without_redundant_dependency(self.function)
        enter_vpc(self.function, settings)
        cdk.CustomResource(
            self,
            "Sql",
            resource_type="Custom::LmdpSnowflakeSetup",
            service_token=self.function.function_arn,
            service_timeout=cdk.Duration.minutes(_SERVICE_MINUTES),
            properties={"Hash": setup_hash(settings), "Settings": sql_settings(settings)},
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )


def _role(
    stack: SnowflakeSetupStack, settings: Settings, secret: secretsmanager.ISecret, secret_key: kms.IKey | None
) -> iam.Role:
    statements = [
        allow("ReadSecret", ["secretsmanager:GetSecretValue"], [secret.secret_arn]),
        write_logs(settings.names.log_group("setup"), settings.names),
        tracing(),
        *interfaces(settings),
    ]
    if secret_key:
        statements.append(
            allow("SecretKey", ["kms:Decrypt"], [secret_key.key_arn], conditions=via(settings.names, "secretsmanager"))
        )
    # Lambda sends no aws:SourceArn when it assumes an execution role:
    # https://docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html
    return service_role(
        stack,
        "Role",
        settings=settings,
        what="snowflake-setup",
        service="lambda.amazonaws.com",
        about="Reads the setup owner's secret of lmdp",
        statements=statements,
    )


def sql_settings(settings: Settings) -> dict[str, str]:
    """What the SQL is rendered for, by the names of the environment variables that say the same."""
    given = asdict(settings.snowflake)
    days = given.pop("retention_days")
    texts = {f"SNOWFLAKE_{name.upper()}": value for name, value in given.items()}
    texts["RETENTION_DAYS"] = "forever" if days is None else days
    return {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in sorted(texts.items())}


def setup_hash(settings: Settings) -> str:
    """Changes when a SQL file, the specification or a setting does."""
    package = resources.files("lmdp")
    parts = [package / "kafka_ingest_spec.md", *_files(package / "sql")]
    whole = hashlib.sha256(as_text(sql_settings(settings)).encode())
    for part in parts:
        whole.update(part.name.encode() + b"\0" + part.read_bytes())
    return whole.hexdigest()


def _files(folder: Traversable) -> list[Traversable]:
    found = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    below = [file for one in folder.iterdir() if one.is_dir() for file in _files(one)]
    return sorted([*found, *below], key=lambda file: file.name)
