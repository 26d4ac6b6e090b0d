"""The steps of tools/deploy.py by themselves: the network, what was kept, the test alarm, what the topic keeps."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from .test_deploy import ACCOUNT, STACK, Place, client, place, settings, tool

__all__ = ["client", "place", "tool"]

KAFKA_OUT = {"IpProtocol": "tcp", "FromPort": 9094, "ToPort": 9094}
HTTPS_OUT = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
ITSELF = {"UserIdGroupPairs": [{"GroupId": "sg-1"}]}
OTHER = {"UserIdGroupPairs": [{"GroupId": "sg-2"}]}
EGRESS: list[tuple[list[dict[str, Any]], list[int]]] = [
    ([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}], []),
    ([HTTPS_OUT, {**KAFKA_OUT, **ITSELF}], []),
    ([HTTPS_OUT, {**KAFKA_OUT, "FromPort": 9000, "ToPort": 9100, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}], []),
    ([{**HTTPS_OUT, "IpRanges": [], **OTHER}, {**KAFKA_OUT, **ITSELF}], []),  # to the endpoints' group, say
    ([{**KAFKA_OUT, **ITSELF}], [443]),
    ([HTTPS_OUT], [9094]),
    ([HTTPS_OUT, {**KAFKA_OUT, **OTHER}], [9094]),
    ([{**HTTPS_OUT, "IpProtocol": "udp"}, {"IpProtocol": "-1", **OTHER}], [9094]),
    ([], [443, 9094]),
]


@pytest.mark.parametrize(("rules", "ports"), EGRESS)
def test_the_way_out_that_a_pipe_needs(rules: list[dict[str, Any]], ports: list[int]) -> None:
    """Port 443 to anywhere, and the brokers' port to the group itself or to addresses."""
    from lmdp.deployment.security_group import egress_faults  # noqa: PLC0415 - as the others here

    found = egress_faults({"GroupId": "sg-1", "IpPermissionsEgress": rules})
    assert [port for port in (443, 9094) if any(f"port {port}" in fault for fault in found)] == ports
    assert len(found) == len(ports)


def test_a_group_without_a_way_out_stops_the_deployment(tool: ModuleType, place: Place) -> None:
    """Before the first change, with the command that adds the rule."""
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    place.aws("ec2").revoke_security_group_egress(GroupId=place.group, IpPermissions=everything)
    with pytest.raises(tool.LmdpError) as caught:
        tool.deploy(place.settings(), place.world, tool.Options(yes=True))
    assert f"aws ec2 authorize-security-group-egress --group-id {place.group}" in str(caught.value)
    assert place.commands == ["synth"]


def test_a_group_that_is_not_there_stops_the_deployment(tool: ModuleType, place: Place) -> None:
    """The message names the setting."""
    with pytest.raises(tool.LmdpError, match="LMDP_SECURITY_GROUP_ID"):
        tool.check_network(settings(), place.world)


@pytest.mark.parametrize(("tags", "clash"), [([], True), ([{"Key": "lmdp", "Value": "dev"}], False)])
def test_an_endpoint_that_the_vpc_has_is_left_out(
    tool: ModuleType, place: Place, tags: list[dict[str, str]], *, clash: bool
) -> None:
    """A second one of somebody else's service would clash in private DNS; our own is no clash."""
    ec2 = place.aws("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    tagged = [{"ResourceType": "vpc-endpoint", "Tags": tags}] if tags else []
    ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName="com.amazonaws.us-east-1.sts", VpcEndpointType="Interface", PrivateDnsEnabled=True,
        TagSpecifications=tagged,
    )  # fmt: skip
    wanted = place.settings(LMDP_VPC_ID=vpc, LMDP_VPC_ENDPOINTS="lambda,sts")
    if not clash:
        tool.check_network(wanted, place.world)
        return
    with pytest.raises(tool.LmdpError, match="leave sts out of LMDP_VPC_ENDPOINTS"):
        tool.check_network(wanted, place.world)


def test_a_kept_bucket_is_imported(tool: ModuleType, place: Place) -> None:
    """The storage stack is not there, and its bucket is: CloudFormation takes it in, and nothing is lost."""
    place.aws("cloudformation").delete_stack(StackName="lmdp-dev-storage")
    place.aws("s3").create_bucket(Bucket="lmdp-dev-errors-123456789012-us-east-1")
    tool.adopt(place.settings(), place.world)
    assert place.commands == ["deploy storage --exclusively --require-approval never --import-existing-resources"]


def test_nothing_is_adopted_where_all_is_in_its_stack(tool: ModuleType, place: Place) -> None:
    """The bucket of a stack that is there is its own."""
    place.aws("s3").create_bucket(Bucket="lmdp-dev-errors-123456789012-us-east-1")
    tool.adopt(place.settings(), place.world)
    assert place.commands == []


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (0, "the secret lmdp-dev/kafka-client was kept. To use it: set LMDP_KAFKA_SECRET_ARN=arn:aws:secretsmanager:"),
        (
            30,
            "aws secretsmanager restore-secret --secret-id lmdp-dev/kafka-client, then set LMDP_KAFKA_SECRET_ARN=arn:",
        ),
    ],
)
def test_a_kept_secret_stops_the_deployment(tool: ModuleType, place: Place, window: int, said: str) -> None:
    """Its ARN is named, as the line for .env; one that is being deleted has to be restored first."""
    place.aws("cloudformation").delete_stack(StackName="lmdp-dev-auth")
    manager = place.aws("secretsmanager")
    if window:
        manager.delete_secret(SecretId="lmdp-dev/kafka-client", RecoveryWindowInDays=window)
    with pytest.raises(tool.LmdpError) as caught:
        tool.adopt(place.settings(), place.world)
    assert said in str(caught.value)
    assert "snowflake" not in str(caught.value)
    assert place.commands == []


def test_a_kept_cluster_is_named(tool: ModuleType, place: Place) -> None:
    """A cluster of the name that the network stack would make is used by its ARN."""
    nodes = {"ClientSubnets": ["a"], "InstanceType": "kafka.m7g.large"}
    given = {"BrokerNodeGroupInfo": nodes, "KafkaVersion": "3.8.x", "NumberOfBrokerNodes": 3}
    made = place.aws("kafka").create_cluster_v2(ClusterName="lmdp-dev-kafka", Provisioned=given)["ClusterArn"]
    authority = f"arn:aws:acm-pca:us-east-1:{ACCOUNT}:certificate-authority/00000000-0000-0000-0000-000000000000"
    wanted = place.settings(LMDP_MSK_CLUSTER_ARN="", LMDP_MSK_CREATE="true", LMDP_PRIVATE_CA_ARN=authority)
    with pytest.raises(tool.LmdpError) as caught:
        tool.adopt(wanted, place.world)
    assert f"set LMDP_MSK_CLUSTER_ARN={made} instead of LMDP_MSK_CREATE=true" in str(caught.value)
    place.aws("cloudformation").create_stack(StackName="lmdp-dev-network", TemplateBody=STACK)
    tool.adopt(wanted, place.world)


def test_a_cluster_of_ours_keeps_its_stack(tool: ModuleType, place: Place) -> None:
    """Its messages wait there; the stack that owns it is not removed, with the data or without."""
    authority = f"arn:aws:acm-pca:us-east-1:{ACCOUNT}:certificate-authority/00000000-0000-0000-0000-000000000000"
    wanted = place.settings(LMDP_MSK_CLUSTER_ARN="", LMDP_MSK_CREATE="true", LMDP_PRIVATE_CA_ARN=authority)
    place.answers = ["delete lmdp-dev-errors-123456789012-us-east-1"]
    tool.destroy(wanted, place.world, tool.Options(yes=True, delete_data=True))
    assert not any("network" in command for command in place.commands)
    assert any("lmdp-dev-network" in line for line in place.said)


@pytest.mark.parametrize(
    ("changed", "subscribed", "said"),
    [
        ({}, True, "Sent a test alarm (lmdp-dev-watcher-errors) to on-call@example.com."),
        ({}, False, "Nobody hears an alarm of this environment"),
        (
            {"LMDP_ALERT_CHATBOT_ARN": f"arn:aws:chatbot::{ACCOUNT}:chat-configuration/slack-channel/on-call"},
            True,
            "slack-channel/on-call: add the topic arn:aws:sns:us-east-1:123456789012:lmdp-dev-alerts to that channel",
        ),
    ],
)
def test_a_test_alarm_is_sent(
    tool: ModuleType, place: Place, changed: dict[str, str], said: str, *, subscribed: bool
) -> None:
    """The alarm is raised as CloudWatch raises one; who hears it is named, and who does not."""
    if not subscribed:
        place.aws("sns").delete_topic(TopicArn="arn:aws:sns:us-east-1:123456789012:lmdp-dev-alerts")
        place.aws("sns").create_topic(Name="lmdp-dev-alerts")
    tool.test_alarm(place.settings(**changed), place.world)
    (alarm,) = place.aws("cloudwatch").describe_alarms(AlarmNames=["lmdp-dev-watcher-errors"])["MetricAlarms"]
    assert (alarm["StateValue"], "nobody has to act" in alarm["StateReason"]) == ("ALARM", True)
    assert any(said in line for line in place.said)


@pytest.mark.parametrize(
    ("retention_ms", "checked", "noted"),
    [(36 * 3_600_000, False, "36"), (-1, False, "87600"), (0, True, "24")],
    ids=["found", "for ever", "confirmed by a person"],
)
def test_what_the_topic_keeps_is_noted(
    tool: ModuleType, place: Place, monkeypatch: pytest.MonkeyPatch, retention_ms: int, noted: str, *, checked: bool
) -> None:
    """The watcher publishes it; where a person has checked the topic, the setting is what it keeps at least."""
    monkeypatch.setenv("LMDP_BOOTSTRAP_SERVERS", "b-1.example.com:9094")
    place.kept["check"] = json.dumps({"retention_ms": retention_ms, "faults": []})
    tool.check_topic(place.settings(), place.world, tool.Options(topic_checked=checked))
    parameter = place.aws("ssm").get_parameter(Name="/lmdp/dev/state/topic-retention-hours")["Parameter"]
    assert parameter["Value"] == noted


ANSWERS: list[tuple[str, str]] = [
    ('{"errorMessage": "Task timed out after 720.00 seconds"}', "Task timed out"),
    ("no JSON", "no JSON"),
    ('{"landed": false, "error": "Snowflake knows no such key"}', "Snowflake knows no such key"),
]


@pytest.mark.parametrize(("answer", "said"), ANSWERS)
def test_a_canary_that_did_not_land_stops_with_its_reason(
    tool: ModuleType, place: Place, answer: str, said: str
) -> None:
    """Whatever the function answers, or Lambda in its place."""
    place.canary = answer
    with pytest.raises(tool.LmdpError, match=said):
        tool.canary(place.settings(), place.world)
