"""NetworkStack: how an isolated subnet reaches AWS, and the cluster where none is there.

Rules of the cluster's security group are not made here: the group is not ours, and may have them already.
"""

from __future__ import annotations

import re

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.cluster import make_cluster, make_topic
from infra.containers import CONTAINER_SECRETS
from infra.parts import allow, parameter
from infra.settings import Settings

HTTPS_PORT = 443


class NetworkStack(cdk.Stack):
    """The network between pipe and cluster; it exposes `cluster_arn`.

    A pipe puts its interfaces into the cluster's subnets, with the cluster's security group; there is no group of its
    own to give it: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
    """

    def __init__(self, scope: Construct, id_: str, *, settings: Settings, env: cdk.Environment) -> None:
        """Make what is asked for."""
        super().__init__(scope, id_, env=env, description="lmdp: access to Kafka")
        kafka = settings.kafka
        if kafka.endpoints:
            _endpoints(self, settings)
        self.cluster_arn = kafka.cluster_arn or make_cluster(self, settings=settings).attr_arn
        if kafka.make_topic:
            make_topic(self, settings=settings, cluster_arn=self.cluster_arn)
        parameter(self, "cluster-arn", self.cluster_arn, names=settings.names)


def endpoint_policy(service: str, settings: Settings) -> iam.PolicyDocument | None:
    """Limit this environment's roles to what it calls, on its own resources; everybody else may call anything.

    An endpoint's private name is answered for the whole VPC, so that other workloads have no other way to the API. It
    gives nobody a right: https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html
    None for pipes-data: what Pipes calls there is not documented.
    """
    names = settings.names
    delivery, services = settings.delivery, settings.containers.services
    reads_loader = settings.is_direct or "write" in services
    secrets = {
        "kafka-client": settings.kafka.secret_arn,
        "snowflake-setup": delivery.setup_secret_arn,
        **({"snowflake-loader": delivery.loader_secret_arn} if reads_loader else {}),
        **(dict.fromkeys(CONTAINER_SECRETS) if services else {}),
    }
    function = names.arn("lambda", f"function:{names.function}")
    calls: dict[str, tuple[list[str], list[str]]] = {
        "lambda": (["lambda:InvokeFunction"], [function, f"{function}:*"]),
        "sts": (["sts:AssumeRole"], [names.role_arn("pipe")]),
        "secretsmanager": (
            ["secretsmanager:GetSecretValue"],
            [given or names.secret_arn(what) for what, given in secrets.items()],
        ),
        "kms": (["kms:Decrypt"], [names.arn("kms", "key/*")]),
        "kinesis-firehose": (["firehose:PutRecord"], [names.stream_arn]),
        "ssm": (["ssm:PutParameter"], [names.arn("ssm", f"parameter{names.canary_parameter}")]),
    }
    if service not in calls:
        return None
    actions, resources = calls[service]
    others = {"StringNotLike": {"aws:PrincipalArn": names.role_arn("*")}}
    statements = [
        allow("OurOwn", actions, resources),
        allow("Others", [f"{actions[0].partition(':')[0]}:*"], ["*"], conditions=others),
    ]
    for statement in statements:
        statement.add_any_principal()
    return iam.PolicyDocument(statements=statements)


def _endpoints(stack: NetworkStack, settings: Settings) -> None:
    """Interface endpoints, open to the VPC, for which they answer, and to the groups of the pipe and the functions."""
    kafka, names = settings.kafka, settings.names
    group = ec2.CfnSecurityGroup(
        stack,
        "EndpointGroup",
        group_name=f"{names.prefix}-endpoints",
        group_description="AWS services that the pipe of lmdp calls",
        vpc_id=kafka.vpc_id,
        # Answers need no rule; without one, EC2 would add 'everything to everywhere'.
        security_group_egress=[
            ec2.CfnSecurityGroup.EgressProperty(
                ip_protocol="tcp",
                from_port=HTTPS_PORT,
                to_port=HTTPS_PORT,
                destination_security_group_id=kafka.security_group,
                description="to the cluster's group",
            )
        ],
    )
    clients = (
        ("EndpointFromCluster", kafka.security_group, "the pipe's interfaces"),
        ("EndpointFromFunctions", settings.delivery.function_group, "the functions that reach Snowflake"),
    )
    for id_, client, what in clients:
        if client:
            ec2.CfnSecurityGroupIngress(
                stack,
                id_,
                group_id=group.attr_group_id,
                ip_protocol="tcp",
                from_port=HTTPS_PORT,
                to_port=HTTPS_PORT,
                source_security_group_id=client,
                description=f"{names.prefix}: from {what}",
            )
    for cidr in dict.fromkeys(kafka.vpc_cidrs):
        ec2.CfnSecurityGroupIngress(
            stack,
            f"EndpointFrom{re.sub('[./]', 'x', cidr)}",
            group_id=group.attr_group_id,
            ip_protocol="tcp",
            from_port=HTTPS_PORT,
            to_port=HTTPS_PORT,
            cidr_ip=cidr,
            description=f"{names.prefix}: from the VPC, for which the endpoints answer",
        )
    for service in kafka.endpoints:
        ec2.CfnVPCEndpoint(
            stack,
            f"Endpoint-{service}",
            service_name=f"com.amazonaws.{names.region}.{service}",
            vpc_endpoint_type="Interface",
            vpc_id=kafka.vpc_id,
            subnet_ids=list(kafka.subnet_ids),
            security_group_ids=[group.attr_group_id],
            private_dns_enabled=True,
            policy_document=endpoint_policy(service, settings),
        )
