"""The nine stacks, the optional tenth, and how environments differ: everything that makes one unlike another is here.

python -m infra.app                     the environment `example`: placeholders, no network, never deployed
LMDP_ENVIRONMENT=prod make synth        settings from .env and the environment
cdk diff -c environment=prod -c LMDP_PLANNED_DEVICES=2000
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aws_cdk as cdk
import cdk_nag
from aws_cdk import aws_iam as iam
from dotenv import dotenv_values

from infra.acknowledgements import acknowledge
from infra.assets import OUTPUT, ROOT
from infra.canary import Backing
from infra.settings import Settings
from infra.stacks.alarms import AlarmsStack
from infra.stacks.auth import AuthStack
from infra.stacks.base import BaseStack
from infra.stacks.containers import ContainersStack
from infra.stacks.delivery import DeliveryStack
from infra.stacks.network import NetworkStack
from infra.stacks.pipe import PipeStack, Sink, Source
from infra.stacks.snowflake_auth import SnowflakeAuthStack
from infra.stacks.snowflake_setup import SnowflakeSetupStack
from infra.stacks.storage import StorageStack
from infra.tasks import Keys
from lmdp.cost.capacity import advice
from lmdp.deployment.naming import CONTAINERS, PLACEHOLDER_ACCOUNT
from lmdp.errors import LmdpError
from lmdp.support.settings_reader import unread

# What an environment is when nobody says otherwise; `.env`, the environment and the context win over it.
ENVIRONMENTS: Final[Mapping[str, Mapping[str, str]]] = {
    "example": {
        "LMDP_AWS_ACCOUNT": PLACEHOLDER_ACCOUNT,
        "LMDP_ORG_ID": "example",
        "LMDP_PLANNED_DEVICES": "1000",
        "LMDP_PLANNED_DATAPOINTS": "720",
        "LMDP_PLANNED_MESSAGE_BYTES": "3400",
        "LMDP_MSK_CLUSTER_ARN": (
            f"arn:aws:kafka:us-east-1:{PLACEHOLDER_ACCOUNT}:cluster/example/00000000-0000-0000-0000-000000000000-1"
        ),
        "LMDP_VPC_ID": "vpc-00000000000000000",
        "LMDP_SUBNET_IDS": "subnet-00000000000000001,subnet-00000000000000002,subnet-00000000000000003",
        "LMDP_SECURITY_GROUP_ID": "sg-00000000000000000",
        "LMDP_COLLECTOR_CIDRS": "10.20.0.0/16",
        "LMDP_MONTHLY_BUDGET_USD": "2000",
        "SNOWFLAKE_ACCOUNT_URL": "example-account.snowflakecomputing.com",
    },
    "dev": {"LMDP_LOG_RETENTION_DAYS": "14", "LMDP_ERROR_RETENTION_DAYS": "30"},
    "prod": {
        "LMDP_LOG_RETENTION_DAYS": "90",
        "LMDP_ERROR_RETENTION_DAYS": "365",
        "LMDP_TERMINATION_PROTECTION": "true",
    },
}
_OURS: Final = ("LMDP_", "SNOWFLAKE_", "RETENTION_DAYS")


def gather(environment: str, context: Mapping[str, object]) -> dict[str, str]:
    """Every setting by name. `example` takes nothing from this machine, so that it is the same everywhere."""
    values = dict(ENVIRONMENTS.get(environment, {}))
    if environment != "example":
        file = {name: value for name, value in dotenv_values(ROOT / ".env").items() if value}
        values |= {name: value for name, value in {**file, **os.environ}.items() if name.startswith(_OURS)}
    return values | {name: str(value) for name, value in context.items() if name.startswith(_OURS)}


def build(app: cdk.App, settings: Settings, *, stub: bool = False) -> dict[str, cdk.Stack]:
    """Put the stacks into the app; `stub` leaves the built zips alone. Returns them by name."""
    names = settings.names
    env = cdk.Environment(account=names.account, region=names.region)
    # CDK's own resources (CDKToolkit, the qualifier hnb659fds) are left to other apps of the account and Region:
    # https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-customizing.html
    app.node.set_context("@aws-cdk/core:bootstrapQualifier", names.qualifier)

    def id_(stack: str) -> str:
        return names.stack(stack)

    base = BaseStack(app, id_("base"), settings=settings, env=env)
    storage = StorageStack(app, id_("storage"), settings=settings, env=env)
    snowflake = SnowflakeAuthStack(app, id_("snowflake-auth"), settings=settings, env=env)
    setup = SnowflakeSetupStack(
        app, id_("snowflake-setup"), settings=settings, env=env, secret=snowflake.setup,
        secret_keys=snowflake.setup_keys, stub=stub,
    )  # fmt: skip
    backing = Backing(storage.errors, storage.key, snowflake.loader, snowflake.loader_keys, snowflake.setup,
                      snowflake.setup_keys)  # fmt: skip
    delivery = DeliveryStack(app, id_("delivery"), settings=settings, env=env, backing=backing, stub=stub)
    network = NetworkStack(app, id_("network"), settings=settings, env=env)
    auth = AuthStack(app, id_("auth"), settings=settings, env=env)
    pipe = PipeStack(
        app, id_("pipe"), settings=settings, env=env, stub=stub,
        source=Source(network.cluster_arn, auth.secret, auth.keys),
        sink=Sink(storage.errors, storage.key, snowflake.loader, snowflake.loader_keys),
    )  # fmt: skip
    containers = [
        ContainersStack(app, id_(CONTAINERS), settings=settings, env=env, secrets=Keys.of(auth, snowflake),
                        data_key=storage.key)
        for _ in settings.containers.services[:1]
    ]  # fmt: skip
    alarms = AlarmsStack(app, id_("alarms"), settings=settings, env=env, alerts=base.alerts,
                         cluster_arn=network.cluster_arn,
                         balancer=containers[0].balancer if containers else None)  # fmt: skip
    # Firehose finds the table when it begins, and the function finds the stream.
    delivery.add_stack_dependency(setup)
    pipe.add_stack_dependency(delivery)
    pipe.add_stack_dependency(network)
    alarms.add_stack_dependency(pipe)
    # The log groups are there before who writes to them.
    writers: tuple[cdk.Stack, ...] = (setup, delivery, network, pipe, *containers, alarms)
    for stack in writers:
        stack.add_stack_dependency(base)
    in_order = (base, storage, snowflake, setup, delivery, network, auth, pipe, *containers, alarms)
    made: dict[str, cdk.Stack] = dict(zip(settings.stacks, in_order, strict=True))
    for stack in made.values():
        for key, value in {**settings.tags, "lmdp": names.environment}.items():
            cdk.Tags.of(stack).add(key, value)
        # On every role, those that CDK adds too: CloudFormation may make no other.
        iam.PermissionsBoundary.of(stack).apply(
            iam.ManagedPolicy.from_managed_policy_arn(stack, "Boundary", settings.boundary)
        )
        stack.termination_protection = settings.protect
    return made


def open_app(environment: str, *, outdir: Path | None = None) -> cdk.App:
    """An app with the flags of cdk.json, whoever started it."""
    flags = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"]
    app = cdk.App(context={**flags, "environment": environment}, outdir=str(outdir) if outdir else None)
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app, verbose=True), cdk_nag.ServerlessChecks(app))
    return app


def main() -> None:
    """Synthesise the environment that the context or LMDP_ENVIRONMENT names, into `cdk.out/<environment>`."""
    given: dict[str, object] = json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}"))
    environment = str(given.get("environment") or os.environ.get("LMDP_ENVIRONMENT") or "example")
    values = gather(environment, given)
    for name in unread(values):
        print(f"lmdp, environment {environment}: nothing reads the setting {name}", file=sys.stderr)
    try:
        settings = Settings.read(environment, values)
    except LmdpError as error:
        print(f"lmdp, environment {environment}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    folder = OUTPUT / environment
    if "CDK_OUTDIR" not in os.environ:
        # Templates of an earlier synthesis would be taken for this one's.
        shutil.rmtree(folder, ignore_errors=True)
    app = open_app(environment, outdir=None if "CDK_OUTDIR" in os.environ else folder)
    stacks = build(app, settings, stub=environment == "example")
    acknowledge(stacks, settings)
    app.synth()
    print(advice(settings.traffic, settings.pipe.batch, settings.names.region), file=sys.stderr)


if __name__ == "__main__":
    main()
