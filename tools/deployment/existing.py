"""Checks of what is there already, before a step would fail on it: stacks, network, pipe, stream, security group."""

from __future__ import annotations

from typing import Any

from infra.settings import Settings
from tools.deployment.runtime import Runtime

from lmdp.deployment.checks import stack_state
from lmdp.deployment.security_group import egress_faults, egress_fix, missing, wanted
from lmdp.errors import LmdpError

MOVING = "docs/operations.md#moving"


def check_stacks(settings: Settings, runtime: Runtime, *, verb: str = "deploy") -> None:
    """Stop while another deployment runs, and where a stack needs a decision first. Raises LmdpError."""
    names = settings.names
    cloudformation = runtime.client("cloudformation")
    states = {
        name: stack_state(cloudformation, name) for name in (names.toolkit_stack, *map(names.stack, settings.stacks))
    }
    if verb == "deploy" and not states[names.toolkit_stack]:
        raise LmdpError(
            f"There is no stack {names.toolkit_stack}, where CDK keeps its own resources. Nothing was changed. "
            f"First, once: make bootstrap ENVIRONMENT={names.environment}"
        )
    faults = [fault for name, state in states.items() if (fault := _fault(name, state, names.region))]
    if faults:
        raise LmdpError("Nothing was changed.\n  - " + "\n  - ".join(faults))


def check_network(settings: Settings, runtime: Runtime) -> None:
    """Stop where the pipe's interfaces have no way out, or where an endpoint would clash with one that is there."""
    ec2, kafka = runtime.client("ec2"), settings.kafka
    found = ec2.describe_security_groups(Filters=[{"Name": "group-id", "Values": [kafka.security_group]}])
    faults = [f"{fault}. Fix: {egress_fix(kafka.security_group)}"
              for group in found["SecurityGroups"] for fault in egress_faults(group)]  # fmt: skip
    if not found["SecurityGroups"]:
        faults.append(f"there is no security group {kafka.security_group}: LMDP_SECURITY_GROUP_ID is the cluster's")
    faults += [
        f"the VPC {kafka.vpc_id} has an endpoint for {service} already, with private DNS: leave {service} out of "
        f"LMDP_VPC_ENDPOINTS, and let {kafka.security_group} in on port 443 of that endpoint's security group"
        for service in _taken(settings, ec2)
    ]
    if faults:
        raise LmdpError("Stopped: nothing was changed.\n  - " + "\n  - ".join(faults) + "\nThen deploy again.")


def check_in_place(settings: Settings, runtime: Runtime) -> None:
    """Stop where a pipe or stream would have to be replaced under its own name, which CloudFormation refuses."""
    faults = [*_pipe_faults(settings, runtime), *_stream_faults(settings, runtime)]
    if faults:
        raise LmdpError(
            f"Nothing was changed. Some properties cannot be changed in place; see {MOVING}.\n  - "
            + "\n  - ".join(faults)
        )


def check_is_live(settings: Settings, runtime: Runtime) -> None:
    """Stop a deployment without a canary where rows do not take this way already, since that may be a wrong one."""
    names = settings.names
    found = {names.pipe: describe_pipe(settings, runtime)}
    if not settings.is_direct:
        found[names.stream] = describe_stream(settings, runtime)
    lacking = [name for name, one in found.items() if one is None]
    if lacking:
        raise LmdpError(
            f"SKIP_CANARY=1 is for an environment that runs, and there is no {' and no '.join(lacking)}. Nothing was "
            f"changed. Deploy without it: make deploy ENVIRONMENT={names.environment}"
        )


def describe_pipe(settings: Settings, runtime: Runtime) -> dict[str, Any] | None:
    """Return the pipe as AWS describes it, or None."""
    pipes = runtime.client("pipes")
    try:
        return dict(pipes.describe_pipe(Name=settings.names.pipe))
    except pipes.exceptions.NotFoundException:
        return None


def describe_stream(settings: Settings, runtime: Runtime) -> dict[str, Any] | None:
    """Return the Firehose stream as AWS describes it, or None."""
    firehose = runtime.client("firehose")
    try:
        found = firehose.describe_delivery_stream(DeliveryStreamName=settings.names.stream)
    except firehose.exceptions.ResourceNotFoundException:
        return None
    return dict(found["DeliveryStreamDescription"])


def check_rules(settings: Settings, runtime: Runtime) -> None:
    """The cluster's security group lets the pipe and the Collectors in; what is missing is added only when asked for.

    The group is not ours: a rule that is there is left alone, and a destroy removes none.
    """
    kafka, names, ec2 = settings.kafka, settings.names, runtime.client("ec2")
    group = kafka.security_group
    pages = ec2.get_paginator("describe_security_group_rules").paginate(
        Filters=[{"Name": "group-id", "Values": [group]}]
    )
    found = [rule for page in pages for rule in page["SecurityGroupRules"]]
    lacking = missing(found, wanted(group, kafka.collector_group, kafka.collector_cidrs))
    if lacking and not kafka.make_rules:
        commands = [f"for {rule.why}: {rule.command(group, names.region)}" for rule in lacking]
        raise LmdpError(
            f"Stopped: the security group {group} lacks a rule. Add it, and deploy again; or let the deployment add "
            "it: LMDP_CLUSTER_RULES=true. It stays when the environment is destroyed.\n  - " + "\n  - ".join(commands)
        )
    for rule in lacking:
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[rule.permission(f"{names.prefix}: Kafka with mutual TLS")]
        )
        runtime.say(f"Added to {group}: TCP {rule.port} from {rule.peer}, for {rule.why}.")


def _fault(name: str, state: str, region: str) -> str:
    """Return what blocks the deployment, with the command that continues.

    CDK itself replaces a stack whose creation failed.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
    """
    of = f"--region {region} --stack-name {name}"
    if state == "REVIEW_IN_PROGRESS":
        return ""
    if state.endswith("_IN_PROGRESS"):
        wait = f"aws cloudformation describe-stacks {of} --query 'Stacks[0].StackStatus'"
        return f"{name} is {state}: another deployment runs. Wait until it ends ({wait}), then repeat the command."
    if state == "UPDATE_ROLLBACK_FAILED":
        return (
            f"{name} is {state}: what it went back to could not be restored. Fix what its events report, then "
            f"(as an administrator) aws cloudformation continue-update-rollback {of}, and repeat the command."
        )
    if state == "DELETE_FAILED":
        return (
            f"{name} is {state}: something in it could not be deleted. Its events name it (as an administrator): "
            f"aws cloudformation describe-stack-events {of}. Fix that, then aws cloudformation delete-stack {of}, "
            "and repeat the command."
        )
    return ""


def _pipe_faults(settings: Settings, runtime: Runtime) -> list[str]:
    """Source, topic and group of a pipe are fixed when it is made.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-pipes-pipe.html
    """
    names, kafka, found = settings.names, settings.kafka, describe_pipe(settings, runtime)
    if found is None:
        return []
    given = found.get("SourceParameters", {}).get("ManagedStreamingKafkaParameters", {})
    pairs = (
        ("LMDP_MSK_CLUSTER_ARN", found.get("Source"), kafka.cluster_arn),
        ("LMDP_TOPIC", given.get("TopicName"), kafka.topic),
        ("LMDP_CONSUMER_GROUP", given.get("ConsumerGroupID"), kafka.group),
    )
    return [
        f"{name} is {new}, and the pipe {names.pipe} was made with {old}. Keep that, or move to a new pipe: "
        f"LMDP_PIPE_REVISION={names.pipe_revision + 1}"
        for name, old, new in pairs
        if old and new and old != new
    ]


def _stream_faults(settings: Settings, runtime: Runtime) -> list[str]:
    """PrivateLink of a stream is fixed when it is made.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kinesisfirehose-deliverystream.html
    """
    names, found = settings.names, describe_stream(settings, runtime)
    if found is None:
        return []
    destinations = found.get("Destinations") or [{}]
    to = destinations[0].get("SnowflakeDestinationDescription")
    if to is None:
        return []
    old, new = to.get("SnowflakeVpcConfiguration", {}).get("PrivateLinkVpceId"), settings.delivery.private_link
    if old == new:
        return []
    fault = (
        f"SNOWFLAKE_PRIVATELINK_VPCE_ID is {new or 'not set'}, and the stream {names.stream} was made with "
        f"{old or 'none'}. Keep that, or move to a new stream: LMDP_STREAM_REVISION={names.stream_revision + 1}"
    )
    return [fault]


def _taken(settings: Settings, ec2: object) -> list[str]:
    """Services that are to get an endpoint, and have one of somebody else's under the same private name."""
    kafka, names = settings.kafka, settings.names
    if not kafka.endpoints:
        return []
    filters = [{"Name": "vpc-id", "Values": [kafka.vpc_id]}]
    ours = {"Key": "lmdp", "Value": names.environment}
    pages = ec2.get_paginator("describe_vpc_endpoints").paginate(Filters=filters)  # type: ignore[attr-defined]  # boto3's
    theirs = {
        one["ServiceName"].rpartition(".")[2]
        for page in pages
        for one in page["VpcEndpoints"]
        if one.get("PrivateDnsEnabled") and ours not in one.get("Tags", ())
    }
    return [service for service in kafka.endpoints if service in theirs]
