"""The managed policies that an administrator makes with `make bootstrap`, and that no deployment changes.

Whoever could rewrite one of them could have any right: they are CloudFormation's, the boundaries', and people's.
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_iam as iam

from infra.boundary import deploy_role_boundary, role_boundary
from infra.execution import Document, document, execution_policies
from infra.people import deployer_statements, operator_statements
from infra.settings import BOUNDARY, Settings

DEPLOY_BOUNDARY = "deploy-role-boundary"


@dataclass(frozen=True, slots=True)
class BootstrapPolicy:
    """A managed policy by the last part of its name."""

    what: str
    about: str
    document: Document


def bootstrap_policies(settings: Settings) -> list[BootstrapPolicy]:
    """Return all of them; a boundary of roles only where the customer has none."""
    made = [
        *(
            BootstrapPolicy(what, "What CloudFormation may do for lmdp", policy)
            for what, policy in execution_policies(settings).items()
        ),
        BootstrapPolicy(
            DEPLOY_BOUNDARY, "The most that CDK's deploy role may do: lmdp's stacks", deploy_role_boundary(settings)
        ),
        BootstrapPolicy("LmdpOperator", "Replay, canary and status of lmdp", _rendered(operator_statements(settings))),
        BootstrapPolicy(
            "LmdpDeployer",
            "Runs make deploy: assumes CDK's roles, checks secrets and what runs",
            _rendered(deployer_statements(settings)),
        ),
    ]
    if own_boundary(settings):
        made.append(BootstrapPolicy(BOUNDARY, "The most that any role of lmdp may do", role_boundary(settings)))
    return made


def own_boundary(settings: Settings) -> bool:
    """Return whether the roles' boundary is ours to make."""
    return settings.boundary == settings.names.policy_arn(BOUNDARY)


def _rendered(statements: list[iam.PolicyStatement]) -> Document:
    return document([dict(statement.to_statement_json()) for statement in statements])
