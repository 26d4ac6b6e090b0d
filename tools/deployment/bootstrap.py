"""Bootstrap: CDK's own stack for one environment, whose CloudFormation role has our policy, not an administrator's."""

from __future__ import annotations

import json
from typing import Any

from infra.execution import execution_policy
from infra.settings import Settings
from tools.deployment.cdk import run_cdk, synthesise
from tools.deployment.world import Options, World, confirm


def bootstrap(settings: Settings, world: World, options: Options) -> None:
    """Make the policy and CDK's stack, or renew both. Other CDK apps of the account keep their own."""
    names = settings.names
    synthesise(settings, world)
    confirm(
        world,
        options,
        f"Make {names.toolkit_stack} (CDK's resources) in account {names.account}, {names.region}, with the policy "
        f"{names.policy_arn('cloudformation')}?",
        names.environment,
    )
    policies = _policies(settings, world)
    where = f"aws://{names.account}/{names.region}"
    tags = [part for key, value in ({**settings.tags, "lmdp": names.environment}).items()
            for part in ("--tags", f"{key}={value}")]  # fmt: skip
    run_cdk(settings, world, ["bootstrap", where, "--qualifier", names.qualifier, *policies, *tags])


def _policies(settings: Settings, world: World) -> list[str]:
    """Make or renew what CloudFormation's role gets; return CDK's arguments for it."""
    arn = _made(settings, world, "cloudformation", execution_policy(settings), "What CloudFormation may do for lmdp")
    # CDK's template writes `policy/<this>`, so that a path belongs to the name:
    # `InputPermissionsBoundary` in infra/cli/node_modules/aws-cdk/lib/api/bootstrap/bootstrap-template.yaml
    boundary = settings.boundary.partition(":policy/")[2] if settings.boundary else ""
    given = ["--custom-permissions-boundary", boundary] if boundary else []
    return ["--cloudformation-execution-policies", arn, *given]


def _made(settings: Settings, world: World, what: str, document: dict[str, Any], about: str) -> str:
    """Make a managed policy, or give it a new version. Returns its ARN."""
    names, iam = settings.names, world.client("iam")
    text = json.dumps(document, separators=(",", ":"))
    tags = [{"Key": key, "Value": value} for key, value in ({**settings.tags, "lmdp": names.environment}).items()]
    try:
        iam.create_policy(
            PolicyName=names.policy(what), Path=names.iam_path, PolicyDocument=text, Description=about, Tags=tags
        )
    except iam.exceptions.EntityAlreadyExistsException:
        _renewed(iam, names.policy_arn(what), text)
    return names.policy_arn(what)


def _renewed(iam: Any, arn: str, document: str) -> None:
    """A managed policy has five versions at most; the oldest that is not in use is deleted."""
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    if len(versions) >= 5:
        oldest = min((one for one in versions if not one["IsDefaultVersion"]), key=lambda one: one["CreateDate"])
        iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
