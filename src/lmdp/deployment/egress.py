"""Which way out a pipe needs: its interfaces have the cluster's own security group, as EC2 describes it.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

HTTPS_PORT: Final = 443
# https://docs.aws.amazon.com/msk/latest/developerguide/port-info.html
KAFKA_TLS_PORT: Final = 9094


def egress_faults(group: Mapping[str, Any]) -> list[str]:
    """What the group does not let out, each with what then fails; `group` is one of DescribeSecurityGroups."""
    name = str(group["GroupId"])
    rules = list(group.get("IpPermissionsEgress", ()))
    faults = []
    if not any(_covers(rule, HTTPS_PORT) for rule in rules):
        faults.append(
            f"{name} lets nothing out on port {HTTPS_PORT}: the pipe's interfaces reach neither Lambda nor Secrets "
            "Manager, and the pipe does not start"
        )
    if not any(_covers(rule, KAFKA_TLS_PORT) and _reaches(rule, name) for rule in rules):
        faults.append(
            f"{name} lets nothing out to itself on port {KAFKA_TLS_PORT}: the pipe's interfaces reach no broker"
        )
    return faults


def egress_fix(group_id: str) -> str:
    """The commands that let both out."""
    tcp = f"aws ec2 authorize-security-group-egress --group-id {group_id} --protocol tcp"
    return (
        f"{tcp} --port {HTTPS_PORT} --cidr 0.0.0.0/0; {tcp} --port {KAFKA_TLS_PORT} --source-group {group_id} "
        "(each where it is missing)"
    )


def _covers(rule: Mapping[str, Any], port: int) -> bool:
    protocol = str(rule.get("IpProtocol"))
    return protocol == "-1" or (protocol == "tcp" and int(rule["FromPort"]) <= port <= int(rule["ToPort"]))


def _reaches(rule: Mapping[str, Any], group: str) -> bool:
    """Whether the rule names the group, or ranges, which a broker's address may be in."""
    groups = {pair.get("GroupId") for pair in rule.get("UserIdGroupPairs", ())}
    return group in groups or bool(rule.get("IpRanges") or rule.get("Ipv6Ranges") or rule.get("PrefixListIds"))
