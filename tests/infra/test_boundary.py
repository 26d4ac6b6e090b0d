"""The boundaries let the stacks' roles work, and let nobody who may deploy become an administrator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from handler_permissions import Place, acted_on, resolved
from policy_evaluator import Decision, Document, Request, decide
from templates import listed, of_type

from .conftest import OTHER_OPTIONS, ROOT, Templates
from .test_execution import place, policies, settings

ACCOUNT = "000000000000"
IAM, LAMBDA = f"arn:aws:iam::{ACCOUNT}", f"arn:aws:lambda:us-east-1:{ACCOUNT}"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
STACK = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack"
OURS = {"iam:PermissionsBoundary": f"{IAM}:policy/lmdp-example-boundary"}
FOREIGN = {"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}
ADMINISTRATOR: Document = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def test_the_boundary_is_on_every_role(example: Templates, full: Templates) -> None:
    """Bootstrap's, or the customer's own; CloudFormation may make no role without it."""
    for templates, boundary in ((example, OURS["iam:PermissionsBoundary"]), (full, f"{IAM}:policy/boundary")):
        roles = [role for template in templates.values() for role in of_type(template, "AWS::IAM::Role")]
        assert {role["Properties"].get("PermissionsBoundary") for role in roles} == {boundary}


@pytest.mark.parametrize("changed", [{}, OTHER_OPTIONS], ids=["example", "full"])
def test_every_statement_is_within_the_boundary(example: Templates, full: Templates, changed: dict[str, str]) -> None:
    """What a role of the templates is allowed, it can do: on each resource, under the statement's own conditions."""
    from infra.boundary import role_boundary  # noqa: PLC0415 - only where the infrastructure's packages are

    templates, given = full if changed else example, settings(**changed)
    boundary = role_boundary(given)
    calls = list(_calls(templates, place(given)))
    assert len(calls) > 40
    assert [call for call in calls if decide(call, [ADMINISTRATOR], boundary) != "allow"] == []


def _calls(templates: Templates, at: Place) -> Iterator[Request]:
    for template in templates.values():
        for role in of_type(template, "AWS::IAM::Role"):
            assert "ManagedPolicyArns" not in role["Properties"]
            for policy in role["Properties"]["Policies"]:
                allowed = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
                for statement in allowed:
                    yield from _of_a_statement(statement, template, templates, at)


def _of_a_statement(
    statement: Mapping[str, Any], template: dict[str, Any], templates: Templates, at: Place
) -> Iterator[Request]:
    context = {
        key: _sample(str(listed(value)[0]))
        for keys in statement.get("Condition", {}).values()
        for key, value in keys.items()
    }
    for action in listed(statement["Action"]):
        for resource in listed(statement["Resource"]):
            yield Request(action, _sample(_arn(resource, template, templates, at)), context)


def _sample(pattern: str) -> str:
    """A name that a pattern matches."""
    return pattern if pattern == "*" else pattern.replace("*", "x").replace("?", "x")


def _arn(value: Any, template: dict[str, Any], templates: Templates, at: Place) -> str:
    """The ARN that a template's value becomes: of a resource of this stack, or of another stack's output."""
    if isinstance(value, str):
        return value
    ((function, given),) = value.items()
    if function == "Fn::GetStackOutput":
        other = templates[given["StackName"].removeprefix(f"{at.prefix}-")]
        return _arn(other["Outputs"][given["OutputName"]]["Value"], other, templates, at)
    assert function in ("Ref", "Fn::GetAtt"), value
    resource = template["Resources"][listed(given)[0]]
    acted = acted_on(resource["Type"], resolved(resource.get("Properties", {}), template), at)
    return next(iter(acted.values()))[0]


def _tags(key: str, value: str) -> dict[str, str]:
    return {f"aws:{key}Tag/lmdp": value}


# What a template does that somebody deploys who wants more than to deploy lmdp.
ESCALATIONS: list[tuple[str, str, str, dict[str, str], Decision]] = [
    ("a role with the boundary, to compare", "iam:CreateRole", f"{IAM}:role/lmdp-example-x", OURS, "allow"),
    ("a role without a boundary", "iam:CreateRole", f"{IAM}:role/lmdp-example-x", {}, "explicit deny"),
    ("a role with another boundary", "iam:CreateRole", f"{IAM}:role/lmdp-example-x", FOREIGN, "explicit deny"),
    ("a role of another name", "iam:CreateRole", f"{IAM}:role/admin", OURS, "implicit deny"),
    ("rights for a role without a boundary", "iam:PutRolePolicy", f"{IAM}:role/lmdp-example-x", {}, "explicit deny"),
    ("AdministratorAccess on an own role", "iam:AttachRolePolicy", f"{IAM}:role/lmdp-example-x",
     {**OURS, "iam:PolicyARN": "arn:aws:iam::aws:policy/AdministratorAccess"}, "implicit deny"),
    ("AdministratorAccess on a role without a boundary", "iam:AttachRolePolicy", f"{IAM}:role/lmdp-example-x", {},
     "explicit deny"),
    ("the boundary removed", "iam:DeleteRolePermissionsBoundary", f"{IAM}:role/lmdp-example-rows", OURS,
     "explicit deny"),
    ("the boundary replaced", "iam:PutRolePermissionsBoundary", f"{IAM}:role/lmdp-example-rows", FOREIGN,
     "explicit deny"),
    ("an own role passed to a function, to compare", "iam:PassRole", f"{IAM}:role/lmdp-example-x",
     {"iam:PassedToService": "lambda.amazonaws.com"}, "allow"),
    ("an own role passed to another service", "iam:PassRole", f"{IAM}:role/lmdp-example-x",
     {"iam:PassedToService": "ec2.amazonaws.com"}, "implicit deny"),
    ("a foreign role passed to a function", "iam:PassRole", f"{IAM}:role/admin",
     {"iam:PassedToService": "lambda.amazonaws.com"}, "implicit deny"),
    ("CloudFormation's role passed to a function", "iam:PassRole",
     f"{IAM}:role/cdk-lmexample-cfn-exec-role-{ACCOUNT}-us-east-1", {"iam:PassedToService": "lambda.amazonaws.com"},
     "explicit deny"),
    ("CloudFormation's role opened", "iam:UpdateAssumeRolePolicy",
     f"{IAM}:role/cdk-lmexample-cfn-exec-role-{ACCOUNT}-us-east-1", {}, "explicit deny"),
    ("rights for CloudFormation's role", "iam:PutRolePolicy",
     f"{IAM}:role/cdk-lmexample-cfn-exec-role-{ACCOUNT}-us-east-1", OURS, "explicit deny"),
    ("the deploy role's boundary removed", "iam:DeleteRolePermissionsBoundary",
     f"{IAM}:role/cdk-lmexample-deploy-role-{ACCOUNT}-us-east-1", {}, "explicit deny"),
    ("another toolkit's role opened", "iam:UpdateAssumeRolePolicy",
     f"{IAM}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1", {}, "explicit deny"),
    ("CDK's zips replaced", "s3:PutObject", f"arn:aws:s3:::cdk-lmexample-assets-{ACCOUNT}-us-east-1/x.zip", {},
     "implicit deny"),
    ("another environment's role opened", "iam:UpdateAssumeRolePolicy", f"{IAM}:role/lmdp-prod-rows", {},
     "implicit deny"),
    ("a neighbour of a longer name opened", "iam:UpdateAssumeRolePolicy", f"{IAM}:role/lmdp-example2-rows", {},
     "implicit deny"),
    ("another environment's function changed", "lambda:UpdateFunctionCode", f"{LAMBDA}:function:lmdp-prod-rows", {},
     "implicit deny"),
    ("a neighbour's pipe stopped", "pipes:StopPipe", f"arn:aws:pipes:us-east-1:{ACCOUNT}:pipe/lmdp-example2", {},
     "implicit deny"),
    ("a neighbour's log read", "logs:DeleteLogGroup",
     f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/lambda/lmdp-example2-rows", {}, "implicit deny"),
    ("a user", "iam:CreateUser", f"{IAM}:user/me", {}, "implicit deny"),
    ("a user's key", "iam:CreateAccessKey", f"{IAM}:user/admin", {}, "implicit deny"),
    ("a role assumed", "sts:AssumeRole", f"{IAM}:role/admin", {}, "implicit deny"),
    ("a secret read", "secretsmanager:GetSecretValue",
     f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:lmdp-example/snowflake-setup-AbCdEf", {}, "implicit deny"),
    ("a key of our own, to compare", "kms:PutKeyPolicy", KEY, _tags("Resource", "example"), "allow"),
    ("a foreign key opened", "kms:PutKeyPolicy", KEY, {}, "implicit deny"),
    ("another environment's key opened", "kms:PutKeyPolicy", KEY, _tags("Resource", "prod"), "implicit deny"),
    ("another environment's key taken over", "kms:TagResource", KEY,
     {**_tags("Request", "example"), **_tags("Resource", "prod")}, "implicit deny"),
    # What is left, and documents say so: KMS has no condition that tells tagging at creation from tagging later.
    ("a key without our tag taken over", "kms:TagResource", KEY, _tags("Request", "example"), "allow"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "resource", "context", "decision"), [one[1:] for one in ESCALATIONS],
                         ids=[one[0] for one in ESCALATIONS])  # fmt: skip
def test_cloudformation_is_no_way_to_more_rights(
    action: str, resource: str, context: dict[str, str], decision: Decision
) -> None:
    """Whoever may deploy any template of this environment can do no more than this."""
    assert decide(Request(action, resource, context), policies(settings())) == decision


@pytest.mark.parametrize("action", ["CreatePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicyVersion",
                                    "DeletePolicy", "CreatePolicy"])  # fmt: skip
def test_no_policy_of_bootstrap_can_be_rewritten(action: str) -> None:
    """CloudFormation's own policies, the boundaries and people's policies are an administrator's to change."""
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - as above

    given = settings()
    arns = [given.names.policy_arn(policy.what) for policy in bootstrap_policies(given)]
    assert len(arns) == 7
    decisions = {decide(Request(f"iam:{action}", arn), policies(given)) for arn in arns}
    assert decisions == {"explicit deny"}


@pytest.mark.parametrize(
    ("action", "resource", "decision"),
    [
        ("firehose:PutRecordBatch", f"arn:aws:firehose:us-east-1:{ACCOUNT}:deliverystream/lmdp-example-rows", "allow"),
        ("iam:CreateRole", f"{IAM}:role/lmdp-example-x", "explicit deny"),
        ("iam:PassRole", f"{IAM}:role/lmdp-example-x", "explicit deny"),
        ("sts:AssumeRole", f"{IAM}:role/cdk-lmexample-deploy-role-{ACCOUNT}-us-east-1", "explicit deny"),
        ("organizations:LeaveOrganization", "*", "explicit deny"),
        ("cloudformation:CreateStack", f"{STACK}/lmdp-example-x/1", "implicit deny"),
        ("lambda:UpdateFunctionCode", f"{LAMBDA}:function:lmdp-example-rows", "implicit deny"),
        ("lambda:InvokeFunction", f"{LAMBDA}:function:lmdp-prod-rows", "implicit deny"),
        ("s3:GetObject", f"arn:aws:s3:::lmdp-prod-errors-{ACCOUNT}-us-east-1/x", "implicit deny"),
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:lmdp-prod/x-AbCdEf",
         "implicit deny"),
        ("ssm:PutParameter", f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/cdk-bootstrap/lmexample/version",
         "implicit deny"),
        ("kms:Decrypt", KEY, "implicit deny"),
        ("ec2:RunInstances", f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/*", "implicit deny"),
    ],
)  # fmt: skip
def test_a_role_with_every_right_stays_within_the_boundary(action: str, resource: str, decision: Decision) -> None:
    """A role with `*` on `*`, passed to a function: it still has this environment's data alone, and no rights."""
    from infra.boundary import role_boundary  # noqa: PLC0415 - as above

    assert decide(Request(action, resource), [ADMINISTRATOR], role_boundary(settings())) == decision


@pytest.mark.parametrize(
    ("stack", "decision"),
    [
        ("lmdp-example-pipe", "allow"),
        ("lmdp-example-toolkit", "explicit deny"),
        ("lmdp-prod-pipe", "explicit deny"),
        ("lmdp-example2-pipe", "explicit deny"),
        ("CDKToolkit", "explicit deny"),
        ("SomebodyElsesApp", "explicit deny"),
    ],
)
def test_the_deploy_role_changes_no_other_stack(stack: str, decision: Decision) -> None:
    """CloudFormation would change it with the role that the stack has, be it an administrator's."""
    from infra.boundary import deploy_role_boundary  # noqa: PLC0415 - as above

    boundary = deploy_role_boundary(settings())
    for action in ("CreateChangeSet", "ExecuteChangeSet", "CreateStack", "UpdateStack", "DeleteStack"):
        request = Request(f"cloudformation:{action}", f"{STACK}/{stack}/1")
        assert decide(request, [ADMINISTRATOR], boundary) == decision
    assert decide(Request("cloudformation:DescribeStacks", f"{STACK}/{stack}/1"), [ADMINISTRATOR], boundary) == "allow"


def test_the_deploy_roles_boundary_covers_what_cdk_gives_it() -> None:
    """Every change of a stack that CDK's bootstrap template allows is limited; a new one fails here."""
    from infra.boundary import deploy_role_boundary  # noqa: PLC0415 - as above

    file = ROOT / "infra/cli/node_modules/aws-cdk/lib/api/bootstrap/bootstrap-template.yaml"
    if not file.exists():
        pytest.skip("the CDK command line is not installed: make deploy-tool")
    text = (
        file.read_text("utf-8").partition("  DeploymentActionRole:")[2].partition("  CloudFormationExecutionRole:")[0]
    )
    given = set(re.findall(r"cloudformation:\w+", text))
    boundary = deploy_role_boundary(settings())
    assert len(given) > 5
    foreign = f"{STACK}/SomebodyElsesApp/1"
    assert {decide(Request(action, foreign), [ADMINISTRATOR], boundary) for action in given} == {"explicit deny"}


def test_a_customers_boundary_takes_the_place_of_ours() -> None:
    """Bootstrap then makes none, and CloudFormation demands the customer's."""
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - as above

    given = settings(LMDP_PERMISSIONS_BOUNDARY_ARN=f"{IAM}:policy/team/theirs")
    theirs = {"iam:PermissionsBoundary": f"{IAM}:policy/team/theirs"}
    made = [
        decide(Request("iam:CreateRole", f"{IAM}:role/lmdp-example-x", key), policies(given)) for key in (theirs, OURS)
    ]
    assert made == ["allow", "explicit deny"]
    assert "boundary" not in {policy.what for policy in bootstrap_policies(given)}
