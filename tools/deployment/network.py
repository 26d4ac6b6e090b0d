"""Checks of the VPC before the network stack and the pipe are made."""

from __future__ import annotations

from infra.settings import Settings
from tools.deployment.world import World

from lmdp.deployment.security_group import egress_faults, egress_fix
from lmdp.errors import LmdpError


def check_network(settings: Settings, world: World) -> None:
    """Stop where the pipe's interfaces have no way out, or where an endpoint would clash with one that is there."""
    ec2, kafka = world.client("ec2"), settings.kafka
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
