"""The steps of tools/deploy.py by themselves: the network, what was kept, the test alarm, what the topic keeps."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from .conftest import OTHER_OPTIONS
from .test_deploy import ACCOUNT, STACK, Place, client, place, settings, tool

__all__ = ["client", "place", "tool"]

CONTAINERS = {
    name: value.replace("000000000000:", f"{ACCOUNT}:")
    for name, value in OTHER_OPTIONS.items()
    if name.startswith(("LMDP_CONTAINER_", "LMDP_RECEIVE_"))
} | {"LMDP_BOOTSTRAP_SERVERS": "b-1.example.com:9094"}
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
        tool.deploy(place.settings(), place.runtime, tool.Options(yes=True))
    assert f"aws ec2 authorize-security-group-egress --group-id {place.group}" in str(caught.value)
    assert place.commands == ["synth"]


def test_a_group_that_is_not_there_stops_the_deployment(tool: ModuleType, place: Place) -> None:
    """The message names the setting."""
    with pytest.raises(tool.LmdpError, match="LMDP_SECURITY_GROUP_ID"):
        tool.check_network(settings(), place.runtime)


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
    wanted = place.settings(LMDP_VPC_ID=vpc, LMDP_VPC_ENDPOINTS="lambda,sts", LMDP_VPC_CIDRS="10.0.0.0/16")
    if not clash:
        tool.check_network(wanted, place.runtime)
        return
    with pytest.raises(tool.LmdpError, match="leave sts out of LMDP_VPC_ENDPOINTS"):
        tool.check_network(wanted, place.runtime)


def test_a_kept_bucket_is_imported(tool: ModuleType, place: Place) -> None:
    """The storage stack is not there, and its bucket is: CloudFormation takes it in, and nothing is lost."""
    place.aws("cloudformation").delete_stack(StackName="lmdp-dev-storage")
    place.aws("s3").create_bucket(Bucket="lmdp-dev-errors-123456789012-us-east-1")
    tool.adopt(place.settings(), place.runtime)
    assert place.commands == ["deploy storage --exclusively --require-approval never --import-existing-resources"]


def test_nothing_is_adopted_where_all_is_in_its_stack(tool: ModuleType, place: Place) -> None:
    """The bucket of a stack that is there is its own."""
    place.aws("s3").create_bucket(Bucket="lmdp-dev-errors-123456789012-us-east-1")
    tool.adopt(place.settings(), place.runtime)
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
        tool.adopt(place.settings(), place.runtime)
    assert said in str(caught.value)
    assert "snowflake" not in str(caught.value)
    assert place.commands == []


def test_kept_secrets_with_two_keys_name_one_setting(tool: ModuleType, place: Place) -> None:
    """Snowflake's secrets have another key than Kafka's; a key that is set already stays."""
    keys = [f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{name}" for name in ("given", "snowflake", "kafka")]
    manager = place.aws("secretsmanager")
    for stack in ("snowflake-auth", "auth"):
        place.aws("cloudformation").delete_stack(StackName=f"lmdp-dev-{stack}")
    for what, key in (("snowflake-loader", keys[1]), ("snowflake-setup", keys[1]), ("kafka-client", keys[2])):
        manager.update_secret(SecretId=f"lmdp-dev/{what}", KmsKeyId=key)
    with pytest.raises(tool.LmdpError) as caught:
        tool.adopt(place.settings(LMDP_SECRETS_KMS_KEY_ARN=keys[0]), place.runtime)
    assert str(caught.value).count(f"and LMDP_SECRETS_KMS_KEY_ARN={','.join(keys)}. To give it up") == 3


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (None, "the secret lmdp-dev/kafka-write was kept. As an administrator: aws secretsmanager delete-secret"),
        (
            30,
            "As an administrator: aws secretsmanager restore-secret --secret-id lmdp-dev/kafka-write, then aws secret",
        ),
    ],
)
def test_a_secret_that_a_removed_service_left_stops_the_deployment(
    tool: ModuleType, place: Place, window: int | None, said: str
) -> None:
    """The stack of the secrets is there, and had none of the containers'; with them, nothing is in the way."""
    manager, wanted = place.aws("secretsmanager"), place.settings(**CONTAINERS, LMDP_CONTAINERS="receive")
    manager.create_secret(Name="lmdp-dev/kafka-write")
    if window:
        manager.delete_secret(SecretId="lmdp-dev/kafka-write", RecoveryWindowInDays=window)
    with pytest.raises(tool.LmdpError) as caught:
        tool.adopt(wanted, place.runtime)
    assert said in str(caught.value)
    place.aws("ssm").put_parameter(Name="/lmdp/dev/container-secrets", Value="x", Type="String")
    tool.adopt(wanted, place.runtime)


def test_a_kept_cluster_is_named(tool: ModuleType, place: Place) -> None:
    """A cluster of the name that the network stack would make is used by its ARN."""
    nodes = {"ClientSubnets": ["a"], "InstanceType": "kafka.m7g.large"}
    given = {"BrokerNodeGroupInfo": nodes, "KafkaVersion": "3.8.x", "NumberOfBrokerNodes": 3}
    made = place.aws("kafka").create_cluster_v2(ClusterName="lmdp-dev-kafka", Provisioned=given)["ClusterArn"]
    authority = f"arn:aws:acm-pca:us-east-1:{ACCOUNT}:certificate-authority/00000000-0000-0000-0000-000000000000"
    wanted = place.settings(LMDP_MSK_CLUSTER_ARN="", LMDP_MSK_CREATE="true", LMDP_PRIVATE_CA_ARN=authority)
    with pytest.raises(tool.LmdpError) as caught:
        tool.adopt(wanted, place.runtime)
    assert f"set LMDP_MSK_CLUSTER_ARN={made} instead of LMDP_MSK_CREATE=true" in str(caught.value)
    place.aws("cloudformation").create_stack(StackName="lmdp-dev-network", TemplateBody=STACK)
    tool.adopt(wanted, place.runtime)


def test_a_cluster_of_ours_keeps_its_stack(tool: ModuleType, place: Place) -> None:
    """Its messages wait there; the stack that owns it is not removed, with the data or without."""
    authority = f"arn:aws:acm-pca:us-east-1:{ACCOUNT}:certificate-authority/00000000-0000-0000-0000-000000000000"
    wanted = place.settings(LMDP_MSK_CLUSTER_ARN="", LMDP_MSK_CREATE="true", LMDP_PRIVATE_CA_ARN=authority)
    place.answers = ["delete lmdp-dev-errors-123456789012-us-east-1"]
    tool.destroy(wanted, place.runtime, tool.Options(yes=True, delete_data=True))
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
    tool.test_alarm(place.settings(**changed), place.runtime)
    (alarm,) = place.aws("cloudwatch").describe_alarms(AlarmNames=["lmdp-dev-watcher-errors"])["MetricAlarms"]
    assert (alarm["StateValue"], "nobody has to act" in alarm["StateReason"]) == ("ALARM", True)
    assert any(said in line for line in place.said)


@pytest.mark.parametrize(
    ("before", "retention_ms", "planned", "noted"),
    [
        ("", 36 * 3_600_000, "24", "36"),
        ("12", -1, "24", "87600"),
        ("", None, "24", "24"),
        ("36", None, "24", "24"),
        ("24", None, "72", "24"),
    ],
    ids=["found", "for ever", "confirmed", "confirmed, and kept for longer", "confirmed, and the setting was raised"],
)
def test_what_the_topic_keeps_is_noted(
    tool: ModuleType, place: Place, monkeypatch: pytest.MonkeyPatch, before: str, retention_ms: int | None,
    planned: str, noted: str,
) -> None:  # fmt: skip
    """The watcher publishes what was found; where it is confirmed, the setting, but never more than was noted."""
    monkeypatch.setenv("LMDP_BOOTSTRAP_SERVERS", "b-1.example.com:9094")
    name, ssm = "/lmdp/dev/state/topic-retention-hours", place.aws("ssm")
    if before:
        ssm.put_parameter(Name=name, Value=before, Type="String")
    place.kept["check"] = json.dumps({"retention_ms": retention_ms, "faults": []})
    wanted = place.settings(LMDP_TOPIC_RETENTION_HOURS=planned)
    tool.check_topic(wanted, place.runtime, tool.Options(topic_checked=retention_ms is None))
    assert ssm.get_parameter(Name=name)["Parameter"]["Value"] == noted
    assert any("put-parameter" in line for line in place.said) is (float(noted) < float(planned))


CHECKED: list[tuple[dict[str, str], list[str], list[str]]] = [
    (
        {"LMDP_CONTAINERS": "receive,write"},
        ["--topic lm.metrics.received --retention-hours 24"],
        ["--topic lm.metrics.received --collector lmdp-dev-receive --reader lmdp-dev-write --group lmdp-dev-write"],
    ),
    (
        {"LMDP_CONTAINERS": "receive,write", "LMDP_WRITE_TOPIC": "elsewhere"},
        ["--topic lm.metrics.received --retention-hours 24", "--topic elsewhere --retention-hours 24"],
        [
            "--topic lm.metrics.received --collector lmdp-dev-receive",
            "--topic elsewhere --reader lmdp-dev-write --group lmdp-dev-write",
        ],
    ),
    (
        {"LMDP_CONTAINERS": "receive", "LMDP_RECEIVE_TOPIC": ""},
        [],
        ["--topic lm.metrics.otlp --collector … --reader lmdp-dev --group lmdp-dev-pipe --collector lmdp-dev-receive"],
    ),
]


@pytest.mark.parametrize(("changed", "checks", "rights"), CHECKED)
def test_the_topics_of_the_containers_are_checked_too(
    tool: ModuleType, place: Place, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], checks: list[str],
    rights: list[str],
) -> None:  # fmt: skip
    """Each topic once: what it keeps, and its ACLs; where no broker is known, with the names that get rights."""
    wanted = place.settings(**(CONTAINERS | changed))
    with pytest.raises(tool.LmdpError) as caught:
        tool.check_topic(wanted, place.runtime, tool.Options())
    for command in (*(f"lmdp topic check {one}" for one in checks), *(f"lmdp topic acls {one}" for one in rights)):
        assert f"  {command}\n" in str(caught.value)
    monkeypatch.setenv("LMDP_BOOTSTRAP_SERVERS", "b-1.example.com:9094")
    tool.check_topic(wanted, place.runtime, tool.Options())
    assert place.commands[2:] == [
        command
        for one in checks
        for command in (f"lmdp topic check {one} --json", f"lmdp topic acls {' '.join(one.split()[:2])}")
    ]


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
        tool.canary(place.settings(), place.runtime)


def test_a_deployment_may_skip_the_canary_where_all_is_there(tool: ModuleType, place: Place) -> None:
    """Snowflake is away, and what rows wait in can still be changed; what is new waits for a canary."""
    options = tool.Options(yes=True, topic_checked=True, skip_canary=True)
    with pytest.raises(tool.LmdpError, match=r"there is no lmdp-dev-rows\. Nothing"):
        tool.deploy(place.settings(), place.runtime, options)
    assert place.commands == ["synth"]
    to = {"RoleARN": f"arn:aws:iam::{ACCOUNT}:role/x", "BucketARN": "arn:aws:s3:::x"}
    place.aws("firehose").create_delivery_stream(
        DeliveryStreamName="lmdp-dev-rows", ExtendedS3DestinationConfiguration=to
    )
    tool.deploy(place.settings(), place.runtime, options)
    assert not any(command.startswith("invoke") for command in place.commands)
    assert place.commands[-1].startswith("deploy pipe alarms")
    with pytest.raises(tool.LmdpError, match=r"there is no lmdp-dev-r2\. Nothing"):
        tool.deploy(place.settings(LMDP_PIPE_REVISION="2"), place.runtime, options)


def test_status_before_the_pipe(tool: ModuleType, place: Place) -> None:
    """A deployment that stopped for the secrets or the topic has none."""
    place.aws("pipes").delete_pipe(Name="lmdp-dev")
    tool.status(place.settings(), place.runtime)
    assert place.said[0] == "no pipe yet: make deploy ENVIRONMENT=dev continues"
    assert place.said[-1] == "canary landed, tables refreshed and tasks run: never"
