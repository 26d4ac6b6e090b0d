"""ContainersStack: the receiver and the direct writer on ECS Fargate, in the cluster's subnets; only where asked for.

A task has the cluster's security group, as the pipe's interfaces have it, so that it reaches Kafka by the same rule;
and a group of its own, which lets the load balancer in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.alarms.containers import LOG_METRICS, Balancer, LogMetric
from infra.parts import REJECTS_PREFIX, service_role, write_rejects
from infra.settings import Settings
from infra.tasks import HOME, Keys, container, from_tasks, task_definition
from lmdp.core.pipeline import TENANT_HEADER

PORT: Final = 4318
HTTPS_PORT: Final = 443

_Environment = Mapping[str, str]


class ContainersStack(cdk.Stack):
    """The services in containers; it exposes `balancer`, where the receiver is one of them."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: Settings,
        env: cdk.Environment,
        secrets: Keys,
        data_key: kms.IKey,
    ) -> None:
        """Make the services that are asked for."""
        super().__init__(scope, id_, env=env, description="lmdp: the receiver and the direct writer, in containers")
        names = settings.names
        # An account may have Container Insights on by default.
        off = ecs.CfnCluster.ClusterSettingsProperty(name="containerInsights", value="disabled")
        cluster = ecs.CfnCluster(self, "Cluster", cluster_name=names.containers, cluster_settings=[off])
        group = _group(self, "Tasks", settings, f"{names.prefix}-tasks", "Tasks of lmdp", [
            (HTTPS_PORT, "0.0.0.0/0", "to AWS and Snowflake")
        ])  # fmt: skip
        self.balancer: Balancer | None = None
        if "receive" in settings.containers.services:
            task = _receive_task(self, settings, secrets)
            self.balancer = _receive(self, settings, cluster, task, group)
        if "write" in settings.containers.services:
            _write(self, settings, cluster, group, secrets, data_key)
        for found in LOG_METRICS:
            if found.service in settings.containers.services:
                _count_lines(self, settings, found)


def _count_lines(stack: ContainersStack, settings: Settings, found: LogMetric) -> None:
    names = settings.names
    logs.CfnMetricFilter(
        stack,
        found.name,
        log_group_name=names.log_group(found.service),
        filter_name=found.name,
        filter_pattern=f'"{found.text}"',
        metric_transformations=[
            logs.CfnMetricFilter.MetricTransformationProperty(
                metric_namespace=names.prefix, metric_name=found.name, metric_value="1", unit="Count"
            )
        ],
    )


def _receive_task(stack: ContainersStack, settings: Settings, secrets: Keys) -> ecs.CfnTaskDefinition:
    """Return the receiver's task; it has no role of its own, since a receiver calls nothing of AWS."""
    certificate = container(settings, "receive", "certificate", command=["certs"])
    main = container(
        settings,
        "receive",
        "lmdp",
        command=["receive"],
        environment={
            "LMDP_TOPIC": settings.containers.receive_topic,
            "LMDP_RECEIVE_LISTEN": f"0.0.0.0:{PORT}",
            # The load balancer ends the senders' TLS and begins its own to here; it checks no certificate.
            "LMDP_RECEIVE_CERT": f"{HOME}/certs/server.pem",
            "LMDP_RECEIVE_KEY": f"{HOME}/certs/server.key",
            "LMDP_RECEIVE_TOKENS": f"{HOME}/keys/tokens.json",
        },
        after=("files", "certificate"),
        ports=[PORT],
    )
    return task_definition(stack, settings, "receive", secrets, [certificate, main])


def _receive(
    stack: ContainersStack, settings: Settings, cluster: ecs.CfnCluster, task: ecs.CfnTaskDefinition, group: str
) -> Balancer:
    """The service behind a network load balancer: ACM renews its certificate, and nothing is restarted for it."""
    names, containers = settings.names, settings.containers
    front = _group(stack, "Front", settings, f"{names.prefix}-receive", "Senders of lmdp", [
        (PORT, group, "to the receiver")
    ], [(HTTPS_PORT, cidr, "senders") for cidr in containers.cidrs])  # fmt: skip
    ec2.CfnSecurityGroupIngress(
        stack, "TasksFromFront", group_id=group, ip_protocol="tcp", from_port=PORT, to_port=PORT,
        source_security_group_id=front, description=f"{names.prefix}: from the load balancer",
    )  # fmt: skip
    balancer = elb.CfnLoadBalancer(
        stack,
        "Balancer",
        name=names.receiver,
        type="network",
        scheme="internet-facing" if containers.public_subnets else "internal",
        subnets=list(containers.public_subnets or settings.kafka.subnet_ids),
        security_groups=[front],
        load_balancer_attributes=_attributes(elb.CfnLoadBalancer.LoadBalancerAttributeProperty, {
            "access_logs.s3.enabled": "true",
            "access_logs.s3.bucket": names.log_bucket,
            "access_logs.s3.prefix": "receive",
            "load_balancing.cross_zone.enabled": "true",
        }),
    )  # fmt: skip
    targets = elb.CfnTargetGroup(
        stack,
        "Targets",
        name=names.receiver,
        target_type="ip",
        protocol="TLS",
        port=PORT,
        vpc_id=settings.kafka.vpc_id,
        health_check_protocol="HTTPS",
        health_check_path="/health",
        health_check_interval_seconds=10,
        healthy_threshold_count=2,
        unhealthy_threshold_count=2,
        target_group_attributes=_attributes(
            elb.CfnTargetGroup.TargetGroupAttributeProperty, {"deregistration_delay.timeout_seconds": "30"}
        ),
    )
    listener = elb.CfnListener(
        stack,
        "Listener",
        load_balancer_arn=balancer.ref,
        port=HTTPS_PORT,
        protocol="TLS",
        ssl_policy="ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
        certificates=[elb.CfnListener.CertificateProperty(certificate_arn=containers.certificate_arn)],
        default_actions=[elb.CfnListener.ActionProperty(type="forward", target_group_arn=targets.ref)],
    )
    service = _service(
        stack, settings, "receive", cluster, task, group, count=containers.tasks, minimum=100, maximum=200,
        load_balancers=[
            ecs.CfnService.LoadBalancerProperty(
                container_name="lmdp", container_port=PORT, target_group_arn=targets.ref
            )
        ],
        health_check_grace_period_seconds=60,
    )  # fmt: skip
    service.add_resource_dependency(listener)
    return Balancer(balancer.attr_load_balancer_full_name, targets.attr_target_group_full_name)


def _write(
    stack: ContainersStack, settings: Settings, cluster: ecs.CfnCluster, group: str, secrets: Keys, data_key: kms.IKey
) -> None:
    """One task: a second one of the same partitions would fence the first. Its rejects go to the error bucket."""
    containers, names = settings.containers, settings.names
    tenant = {"LMDP_ORG_ID": settings.org_id or ""}
    if containers.write_topic == containers.receive_topic:  # to which nobody but the receiver has a right to write
        tenant["LMDP_TENANT_HEADER"] = TENANT_HEADER
    role = service_role(
        stack, "WriteRole", settings=settings, what="write", service="ecs-tasks.amazonaws.com",
        about="Writes rejects of lmdp's direct writer", statements=write_rejects(names, data_key),
        conditions=from_tasks(settings),
    )  # fmt: skip
    main = container(
        settings,
        "write",
        "lmdp",
        command=["run", "--to", "snowflake", "--no-page", "--rejects", f"s3://{names.error_bucket}/{REJECTS_PREFIX}"],
        environment={
            "AWS_REGION": names.region,
            "LMDP_TOPIC": containers.write_topic,
            "LMDP_KAFKA_GROUP": names.writer_group,
            "SNOWFLAKE_ACCOUNT_URL": settings.delivery.setup_host,
            "SNOWFLAKE_WRITER_KEY_FILE": f"{HOME}/keys/snowflake.p8",
            "SNOWFLAKE_WRITER_USER": settings.snowflake.firehose_user,
            "SNOWFLAKE_DATABASE": settings.snowflake.database,
            "SNOWFLAKE_SCHEMA": settings.snowflake.schema,
            "SNOWFLAKE_IDENTIFIERS": settings.snowflake.identifiers,
            **{name: value for name, value in tenant.items() if value},
        },
        after=("files",),
    )
    task = task_definition(stack, settings, "write", secrets, [main], role=role)
    _service(stack, settings, "write", cluster, task, group, count=1, minimum=0, maximum=100)


def _service(  # noqa: PLR0913 - each is a part of a service
    stack: ContainersStack,
    settings: Settings,
    service: str,
    cluster: ecs.CfnCluster,
    task: ecs.CfnTaskDefinition,
    group: str,
    *,
    count: int,
    minimum: int,
    maximum: int,
    **more: Any,
) -> ecs.CfnService:
    return ecs.CfnService(
        stack,
        f"{service.title()}Service",
        service_name=service,
        cluster=cluster.ref,
        task_definition=task.ref,
        desired_count=count,
        launch_type="FARGATE",
        platform_version="1.4.0",
        deployment_configuration=ecs.CfnService.DeploymentConfigurationProperty(
            minimum_healthy_percent=minimum,
            maximum_percent=maximum,
            deployment_circuit_breaker=ecs.CfnService.DeploymentCircuitBreakerProperty(enable=True, rollback=True),
        ),
        network_configuration=ecs.CfnService.NetworkConfigurationProperty(
            awsvpc_configuration=ecs.CfnService.AwsVpcConfigurationProperty(
                subnets=list(settings.kafka.subnet_ids),
                security_groups=[settings.kafka.security_group, group],
                assign_public_ip="DISABLED",
            )
        ),
        propagate_tags="SERVICE",
        enable_ecs_managed_tags=True,
        **more,
    )


def _group(
    stack: ContainersStack,
    id_: str,
    settings: Settings,
    name: str,
    about: str,
    outwards: Sequence[tuple[int, str, str]],
    inwards: Sequence[tuple[int, str, str]] = (),
) -> str:
    """Return a security group with rules by port, and range or group."""

    def rule(kind: Any, peer: str, port: int, other: str, what: str) -> Any:
        to = {"cidr_ip": other} if "/" in other else {peer: other}
        return kind(ip_protocol="tcp", from_port=port, to_port=port, description=what, **to)

    group = ec2.CfnSecurityGroup
    made = group(
        stack,
        id_,
        group_name=name,
        group_description=about,
        vpc_id=settings.kafka.vpc_id,
        security_group_egress=[rule(group.EgressProperty, "destination_security_group_id", *one) for one in outwards],
        security_group_ingress=[rule(group.IngressProperty, "source_security_group_id", *one) for one in inwards],
    )
    return str(made.attr_group_id)


def _attributes(kind: Any, values: Mapping[str, str]) -> list[Any]:
    return [kind(key=key, value=value) for key, value in values.items()]
