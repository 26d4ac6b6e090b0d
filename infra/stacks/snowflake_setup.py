"""SnowflakeSetupStack: a custom resource that runs the SQL, whenever the SQL or its settings change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.assets import SETUP_ZIP, code
from infra.parts import allow, as_text, secret_key_use, service_function
from infra.private import enter_vpc, interfaces
from infra.settings import Settings
from lmdp.sql.settings import variable

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_FUNCTION_MINUTES = 14
# How long CloudFormation waits for an answer that never comes; an hour by default.
_SERVICE_MINUTES = 20


class SnowflakeSetupStack(cdk.Stack):
    """The setup of Snowflake; it exposes `function`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: Settings,
        env: cdk.Environment,
        secret: secretsmanager.ISecret,
        secret_keys: Sequence[kms.IKey],
        stub: bool,
    ) -> None:
        """Make it."""
        super().__init__(scope, id_, env=env, description="lmdp: tables, views and roles in Snowflake")
        self.function = service_function(
            self,
            "Function",
            settings=settings,
            role_id="Role",
            role="snowflake-setup",
            about="Reads the setup owner's secret of lmdp",
            statements=[
                allow("ReadSecret", ["secretsmanager:GetSecretValue"], [secret.secret_arn]),
                *interfaces(settings),
                *secret_key_use(settings.names, secret_keys),
            ],
            log="setup",
            function_name=settings.names.setup_function,
            description="Runs lmdp's SQL in Snowflake for CloudFormation",
            code=code(SETUP_ZIP, stub=stub),
            handler="lmdp.snowflake.custom_resource.handler",
            memory_size=1024,
            timeout=cdk.Duration.minutes(_FUNCTION_MINUTES),
            # The handler answers whatever happens; a second try would answer twice.
            retry_attempts=0,
            environment={"LMDP_SETUP_SECRET": secret.secret_arn, "SNOWFLAKE_ACCOUNT_URL": settings.delivery.setup_host},
        )
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


def sql_settings(settings: Settings) -> dict[str, str]:
    """Return what the SQL is rendered for, as environment variables."""
    given = asdict(settings.snowflake)
    days = given.pop("retention_days")
    texts = {variable(name): value for name, value in given.items()}
    texts[variable("retention_days")] = "forever" if days is None else days
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
