"""The rules that the cluster's security group has to have, both ways, and which of them it lacks. No vendor, no I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# https://docs.aws.amazon.com/msk/latest/developerguide/port-info.html
KAFKA_TLS_PORT: Final = 9094
HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for TCP: `peer` is a security group (sg-…) or an IPv4 range; `why` says who needs it."""

    peer: str
    port: int
    why: str

    def permission(self, description: str) -> dict[str, Any]:
        """Return it as EC2's AuthorizeSecurityGroupIngress takes it."""
        peer: dict[str, Any] = (
            {"UserIdGroupPairs": [{"GroupId": self.peer, "Description": description}]}
            if self.peer.startswith("sg-")
            else {"IpRanges": [{"CidrIp": self.peer, "Description": description}]}
        )
        return {"IpProtocol": "tcp", "FromPort": self.port, "ToPort": self.port, **peer}

    def command(self, group: str, region: str) -> str:
        """Return the command that adds it to a group."""
        peer = "--source-group" if self.peer.startswith("sg-") else "--cidr"
        return (
            f"aws ec2 authorize-security-group-ingress --region {region} --group-id {group} --protocol tcp "
            f"--port {self.port} {peer} {self.peer}"
        )


def wanted(group: str, collector_group: str | None, collector_cidrs: Sequence[str]) -> list[Rule]:
    """Return what has to reach the brokers: the pipe, whose interfaces have the cluster's own group, and Collectors."""
    collectors = [*([collector_group] if collector_group else []), *collector_cidrs]
    return [
        Rule(group, KAFKA_TLS_PORT, "the pipe"),
        *(Rule(peer, KAFKA_TLS_PORT, "Collectors") for peer in collectors),
    ]


def missing(found: Iterable[Mapping[str, Any]], rules: Sequence[Rule]) -> list[Rule]:
    """Return the rules that none of `found` covers; those are as EC2's DescribeSecurityGroupRules has them."""
    ingress = [one for one in found if not one.get("IsEgress")]
    return [rule for rule in rules if not any(_covers(one, rule) for one in ingress)]


def _covers(found: Mapping[str, Any], rule: Rule) -> bool:
    protocol, first, last = found.get("IpProtocol"), found.get("FromPort", -1), found.get("ToPort", -1)
    if protocol not in ("tcp", "6", "-1") or (protocol != "-1" and not first <= rule.port <= last):
        return False
    if rule.peer.startswith("sg-"):
        return bool(found.get("ReferencedGroupInfo", {}).get("GroupId") == rule.peer)
    cidr = found.get("CidrIpv4")
    return bool(cidr) and ipaddress.IPv4Network(rule.peer).subnet_of(ipaddress.IPv4Network(cidr, strict=False))


def egress_faults(group: Mapping[str, Any]) -> list[str]:
    """Return what the group does not let out, each with what then fails; `group` is one of DescribeSecurityGroups.

    A pipe's interfaces have the cluster's own group:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
    """
    name = str(group["GroupId"])
    rules = list(group.get("IpPermissionsEgress", ()))
    faults = []
    if not any(_lets_out(rule, HTTPS_PORT) for rule in rules):
        faults.append(
            f"{name} lets nothing out on port {HTTPS_PORT}: the pipe's interfaces reach neither Lambda nor Secrets "
            "Manager, and the pipe does not start"
        )
    if not any(_lets_out(rule, KAFKA_TLS_PORT) and _reaches(rule, name) for rule in rules):
        faults.append(
            f"{name} lets nothing out to itself on port {KAFKA_TLS_PORT}: the pipe's interfaces reach no broker"
        )
    return faults


def egress_fix(group_id: str) -> str:
    """Return the commands that let both out."""
    tcp = f"aws ec2 authorize-security-group-egress --group-id {group_id} --protocol tcp"
    return (
        f"{tcp} --port {HTTPS_PORT} --cidr 0.0.0.0/0; {tcp} --port {KAFKA_TLS_PORT} --source-group {group_id} "
        "(each where it is missing)"
    )


def _lets_out(rule: Mapping[str, Any], port: int) -> bool:
    protocol = str(rule.get("IpProtocol"))
    return protocol == "-1" or (protocol == "tcp" and int(rule["FromPort"]) <= port <= int(rule["ToPort"]))


def _reaches(rule: Mapping[str, Any], group: str) -> bool:
    """Return whether the rule names the group, or ranges, which a broker's address may be in."""
    groups = {pair.get("GroupId") for pair in rule.get("UserIdGroupPairs", ())}
    return group in groups or bool(rule.get("IpRanges") or rule.get("Ipv6Ranges") or rule.get("PrefixListIds"))
