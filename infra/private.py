"""Functions that reach Snowflake from a VPC, for an account that answers through PrivateLink alone."""

from __future__ import annotations

from typing import cast

from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_

from infra.parts import allow
from infra.settings import Settings

# What Lambda does with an execution role to put a function into a VPC; it names no resource before it makes one:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
_INTERFACES = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)


def enter_vpc(function: lambda_.Function, settings: Settings) -> None:
    """Put the function into the subnets of the settings, if there are any."""
    delivery = settings.delivery
    if delivery.function_group:
        resource = cast("lambda_.CfnFunction", function.node.default_child)
        resource.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=list(delivery.function_subnets), security_group_ids=[delivery.function_group]
        )


def interfaces(settings: Settings) -> list[iam.PolicyStatement]:
    """Return what the function's role needs for that, and the function's own code does not get."""
    if not settings.delivery.function_group:
        return []
    names = settings.names
    inside = (names.setup_function, names.canary_function, *([names.function] if settings.is_direct else []))
    functions = [names.arn("lambda", f"function:{name}") for name in inside]
    return [
        allow("Interfaces", _INTERFACES, ["*"]),
        iam.PolicyStatement(
            sid="NoInterfacesFromCode",
            effect=iam.Effect.DENY,
            actions=list(_INTERFACES),
            resources=["*"],
            conditions={"ArnEquals": {"lambda:SourceFunctionArn": functions}},
        ),
    ]
