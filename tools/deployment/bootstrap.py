"""Bootstrap: CDK's own stack for one environment, and the policies and boundaries that no deployment may change.

An administrator runs it. What it makes lets others deploy without an administrator's rights.
"""

from __future__ import annotations

from typing import Any

from infra.bootstrap import DEPLOY_BOUNDARY, BootstrapPolicy, bootstrap_policies, own_boundary
from infra.execution import execution_policies, policy_text
from infra.settings import Settings
from tools.deployment.cdk import run_cdk, synthesise
from tools.deployment.runtime import Options, Runtime, confirm


def bootstrap(settings: Settings, runtime: Runtime, options: Options) -> None:
    """Make the policies and CDK's stack, or renew them. Other CDK apps of the account keep their own."""
    names = settings.names
    synthesise(settings, runtime)
    policies = bootstrap_policies(settings)
    confirm(
        runtime,
        options,
        f"Make {names.toolkit_stack} (CDK's resources) in account {names.account}, {names.region}, and the policies "
        f"{', '.join(names.policy(policy.what) for policy in policies)}?",
        names.environment,
    )
    iam = runtime.client("iam")
    for policy in policies:
        _made(settings, iam, policy)
    where = f"aws://{names.account}/{names.region}"
    tags = [part for key, value in ({**settings.tags, "lmdp": names.environment}).items()
            for part in ("--tags", f"{key}={value}")]  # fmt: skip
    run_cdk(settings, runtime, ["bootstrap", where, "--qualifier", names.qualifier, *_rights(settings), *tags])
    # CDK puts a boundary on CloudFormation's role alone, and gives its deploy role every stack of the account.
    iam.put_role_permissions_boundary(
        RoleName=names.bootstrap_role_arn("deploy").rpartition("/")[2],
        PermissionsBoundary=names.policy_arn(DEPLOY_BOUNDARY),
    )


def _rights(settings: Settings) -> list[str]:
    """Return CDK's arguments for the rights of CloudFormation's role; a customer's own boundary is on it too."""
    arns = ",".join(settings.names.policy_arn(what) for what in execution_policies(settings))
    # CDK's template writes `policy/<this>`, so that a path belongs to the name:
    # `InputPermissionsBoundary` in infra/cli/node_modules/aws-cdk/lib/api/bootstrap/bootstrap-template.yaml
    boundary = (
        [] if own_boundary(settings) else ["--custom-permissions-boundary", settings.boundary.partition(":policy/")[2]]
    )
    return ["--cloudformation-execution-policies", arns, *boundary]


def _made(settings: Settings, iam: Any, policy: BootstrapPolicy) -> None:
    """Make a managed policy, or give it a new version."""
    names, text = settings.names, policy_text(policy.document)
    tags = [{"Key": key, "Value": value} for key, value in ({**settings.tags, "lmdp": names.environment}).items()]
    try:
        iam.create_policy(
            PolicyName=names.policy(policy.what),
            Path=names.iam_path,
            PolicyDocument=text,
            Description=policy.about,
            Tags=tags,
        )
    except iam.exceptions.EntityAlreadyExistsException:
        _renewed(iam, names.policy_arn(policy.what), text)


def _renewed(iam: Any, arn: str, document: str) -> None:
    """A managed policy has five versions at most; the oldest that is not in use is deleted."""
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    if len(versions) >= 5:
        oldest = min((one for one in versions if not one["IsDefaultVersion"]), key=lambda one: one["CreateDate"])
        iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)
