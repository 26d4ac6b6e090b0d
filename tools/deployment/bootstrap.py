"""Bootstrap: CDK's own stack for one environment, and the policies and boundaries that no deployment may change.

An administrator runs it. What it makes lets others deploy without an administrator's rights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from infra.assets import ROOT
from infra.bootstrap import DEPLOY_BOUNDARY, BootstrapPolicy, bootstrap_policies, own_boundary
from infra.execution import execution_policies, policy_text
from infra.settings import Settings
from tools.deployment.cdk import run_cdk, synthesise
from tools.deployment.runtime import Options, Runtime, confirm

from lmdp.errors import SettingsError


def bootstrap(settings: Settings, runtime: Runtime, options: Options) -> None:
    """Make the policies and CDK's stack, or renew them. Other CDK apps of the account keep their own."""
    names, template = settings.names, _template(settings)
    synthesise(settings, runtime)
    policies, iam = bootstrap_policies(settings), runtime.client("iam")
    _check_region(settings, iam, policies)
    confirm(
        runtime,
        options,
        f"Make {names.toolkit_stack} (CDK's resources) in account {names.account}, {names.region}, and the policies "
        f"{', '.join(names.policy(policy.what) for policy in policies)}?",
        names.environment,
    )
    for policy in policies:
        _made(settings, iam, policy)
    where = f"aws://{names.account}/{names.region}"
    tags = [part for key, value in ({**settings.tags, "lmdp": names.environment}).items()
            for part in ("--tags", f"{key}={value}")]  # fmt: skip
    run_cdk(settings, runtime,
            ["bootstrap", where, "--qualifier", names.qualifier, *template, *_rights(settings), *tags])  # fmt: skip
    _limit_deploy_role(settings, runtime)


def _limit_deploy_role(settings: Settings, runtime: Runtime) -> None:
    """Put the boundary on CDK's deploy role, unless the customer's own template put another one there.

    CDK puts one on CloudFormation's role alone, and gives its deploy role every stack of the account.
    """
    names, iam = settings.names, runtime.client("iam")
    role, ours = names.bootstrap_role_arn("deploy").rpartition("/")[2], names.policy_arn(DEPLOY_BOUNDARY)
    held = iam.get_role(RoleName=role)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ours)
    if settings.bootstrap_template and held != ours:
        runtime.say(
            f"The role {role} keeps the boundary {held} of your template, which has to deny the change of all stacks "
            f"but {names.prefix}-*, as {ours} does."
        )
        return
    iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=ours)


def _template(settings: Settings) -> list[str]:
    """Return CDK's argument for a template of the customer's own. Raises SettingsError where there is none."""
    if not settings.bootstrap_template:
        return []
    path = ROOT / settings.bootstrap_template
    if not path.is_file():
        raise SettingsError(f"LMDP_BOOTSTRAP_TEMPLATE: there is no file {path}. Nothing was changed.")
    return ["--template", str(path)]


def _check_region(settings: Settings, iam: Any, policies: Sequence[BootstrapPolicy]) -> None:
    """Refuse the name of another Region's environment: IAM's names have no Region, so that its rights would go.

    The Region is in the ARNs of what the policies allow now.
    """
    names = settings.names
    for policy in policies:
        arn = names.policy_arn(policy.what)
        try:
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        except iam.exceptions.NoSuchEntityException:
            continue
        found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        regions = set(re.findall(r"arn:aws:[a-z0-9-]+:([a-z0-9-]+):", json.dumps(found)))
        if regions and names.region not in regions:
            raise SettingsError(
                f"{names.environment} is deployed in {', '.join(sorted(regions))}. Its policies have the same names in "
                f"every Region of the account, and with those of {names.region} it would stop. Nothing was changed. "
                "Name another environment for this Region, or correct LMDP_AWS_REGION. Where nothing of it is left, "
                f"delete its policies ({names.policy('*')}) first."
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
