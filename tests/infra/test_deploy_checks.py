"""What a deployment looks at before and between its steps: stacks, rules, names that are taken, and AWS's errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from lmdp.deployment.security_group import missing, wanted

from . import test_deploy
from .test_deploy import ACCOUNT, Place

tool, client, place = test_deploy.tool, test_deploy.client, test_deploy.place
ROLE = f"arn:aws:iam::{ACCOUNT}:role/x"
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:rows"


class States:
    """CloudFormation with these states by stack; no other client."""

    class exceptions:  # noqa: N801 - as boto3 names it
        """The errors of the client."""

        ClientError = ClientError

    def __init__(self, **states: str) -> None:
        self._states = {f"lmdp-dev-{name}": state for name, state in states.items() if state}

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803 - as above
        """One stack, or CloudFormation's answer for none."""
        if StackName not in self._states:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "DescribeStacks")
        return {"Stacks": [{"StackStatus": self._states[StackName]}]}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("UPDATE_IN_PROGRESS", "another deployment runs. Wait until it ends"),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "another deployment runs"),
        (
            "UPDATE_ROLLBACK_FAILED",
            "(as an administrator) aws cloudformation continue-update-rollback --region ",
        ),
        ("DELETE_FAILED", "aws cloudformation delete-stack --region us-east-1 --stack-name lmdp-dev-pipe"),
    ],
)
@pytest.mark.parametrize("command", ["deploy", "destroy"])
def test_a_stack_left_half_made_stops_it_before_anything(
    tool: ModuleType, place: Place, command: str, state: str, said: str
) -> None:
    """One message, with the command that continues; neither asked, nor deployed, nor deleted."""
    cloudformation = States(toolkit="CREATE_COMPLETE", base="CREATE_COMPLETE", pipe=state)
    runtime = dataclasses.replace(place.runtime, client=lambda _service: cloudformation)
    with pytest.raises(tool.LmdpError) as caught:
        getattr(tool, command)(place.settings(), runtime, tool.Options(yes=True))
    assert said in str(caught.value)
    assert str(caught.value).startswith("Nothing was changed.")
    assert caught.value.exit_code == 1
    assert place.commands == ["synth"]


@pytest.mark.parametrize("state", ["ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS", ""])
def test_a_stack_whose_creation_failed_is_left_to_cdk(tool: ModuleType, place: Place, state: str) -> None:
    """CDK's tool deletes it and makes it again; no command is needed."""
    holding = dict.fromkeys(("storage", "snowflake-auth", "auth", "network"), "CREATE_COMPLETE")
    clients = {"cloudformation": States(toolkit="CREATE_COMPLETE", pipe=state, **holding)}
    runtime = dataclasses.replace(
        place.runtime, client=lambda service: clients.get(service) or place.runtime.client(service)
    )
    tool.deploy(place.settings(), runtime, tool.Options(yes=True, topic_checked=True))
    assert place.commands[-1].startswith("deploy pipe alarms")


@pytest.mark.parametrize(
    ("state", "left"),
    [
        ("CREATE_COMPLETE", False),
        ("UPDATE_ROLLBACK_COMPLETE", False),
        ("CREATE_FAILED", False),
        ("", True),
        ("REVIEW_IN_PROGRESS", True),
        ("ROLLBACK_COMPLETE", True),
        ("ROLLBACK_FAILED", True),
    ],
)
def test_a_secret_is_in_the_way_where_its_stack_is_made_again(
    tool: ModuleType, place: Place, state: str, *, left: bool
) -> None:
    """A stack that CDK updates owns its secrets; where CDK creates it, the same names would clash."""
    owning = dict.fromkeys(("storage", "snowflake-auth"), "CREATE_COMPLETE")
    clients = {"cloudformation": States(auth=state, **owning)}
    runtime = dataclasses.replace(place.runtime, client=lambda service: clients.get(service) or place.aws(service))
    if not left:
        tool.adopt(place.settings(), runtime)
        return
    with pytest.raises(tool.LmdpError, match="the secret lmdp-dev/kafka-client was kept"):
        tool.adopt(place.settings(), runtime)


def test_without_bootstrap_the_deployment_names_it(
    tool: ModuleType, place: Place, client: Callable[[str], Any]
) -> None:
    """CDK's own refusal speaks of an SSM parameter."""
    client("cloudformation").delete_stack(StackName="lmdp-dev-toolkit")
    with pytest.raises(tool.LmdpError, match="make bootstrap ENVIRONMENT=dev"):
        tool.deploy(place.settings(), place.runtime, tool.Options(yes=True))
    assert place.commands == ["synth"]


def test_a_missing_rule_is_named_with_the_command_that_adds_it(
    tool: ModuleType, place: Place, client: Callable[[str], Any]
) -> None:
    """The group is not ours: nothing is added to it unasked, and the pipe is not made."""
    rule = wanted(place.group, None, [])[0].permission("x")
    client("ec2").revoke_security_group_ingress(GroupId=place.group, IpPermissions=[rule])
    with pytest.raises(tool.LmdpError) as caught:
        tool.deploy(place.settings(), place.runtime, tool.Options(yes=True, topic_checked=True))
    add = (
        f"for the pipe: aws ec2 authorize-security-group-ingress --region us-east-1 --group-id {place.group} "
        f"--protocol tcp --port 9094 --source-group {place.group}"
    )
    assert str(caught.value).endswith(f"\n  - {add}")
    assert place.commands[-1].startswith("deploy network")


def test_only_what_is_missing_is_added_when_asked_for(
    tool: ModuleType, place: Place, client: Callable[[str], Any]
) -> None:
    """The rules of another environment on the same cluster are left alone; again adds nothing, a destroy takes none."""
    asked = {"LMDP_CLUSTER_RULES": "true", "LMDP_COLLECTOR_CIDRS": "10.20.7.0/24,10.30.0.0/16"}
    for _ in range(2):
        tool.deploy(place.settings(**asked), place.runtime, tool.Options(yes=True, topic_checked=True))
    assert [line for line in place.said if line.startswith("Added")] == [
        f"Added to {place.group}: TCP 9094 from 10.30.0.0/16, for Collectors."
    ]
    tool.destroy(place.settings(**asked), place.runtime, tool.Options(yes=True))
    rules = client("ec2").describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [place.group]}])
    assert missing(rules["SecurityGroupRules"], wanted(place.group, None, ["10.20.0.0/16", "10.30.0.0/16"])) == []


@pytest.mark.parametrize(
    ("found", "covered"),
    [
        ({"IpProtocol": "tcp", "FromPort": 9094, "ToPort": 9094, "CidrIpv4": "10.0.0.0/8"}, True),
        ({"IpProtocol": "-1", "FromPort": -1, "ToPort": -1, "CidrIpv4": "10.20.0.0/16"}, True),
        ({"IpProtocol": "tcp", "FromPort": 9000, "ToPort": 9100, "CidrIpv4": "10.20.0.0/16"}, True),
        ({"IpProtocol": "tcp", "FromPort": 9092, "ToPort": 9092, "CidrIpv4": "10.20.0.0/16"}, False),
        ({"IpProtocol": "udp", "FromPort": 9094, "ToPort": 9094, "CidrIpv4": "10.20.0.0/16"}, False),
        ({"IpProtocol": "tcp", "FromPort": 9094, "ToPort": 9094, "CidrIpv4": "10.20.0.0/17"}, False),
        ({"IpProtocol": "tcp", "FromPort": 9094, "ToPort": 9094, "CidrIpv4": "10.20.0.0/16", "IsEgress": True}, False),
        ({"IpProtocol": "tcp", "FromPort": 9094, "ToPort": 9094, "ReferencedGroupInfo": {"GroupId": "sg-1"}}, False),
    ],
)
def test_a_rule_covers_ports_and_ranges_that_are_within_it(found: dict[str, Any], covered: bool) -> None:
    """Wider rules do; another port, protocol or direction does not."""
    rules = wanted("sg-1", None, ["10.20.0.0/16"])[1:]
    assert (missing([found], rules) == []) is covered


def _make_pipe(client: Callable[[str], Any], name: str, source: str, **kafka: str) -> None:
    parameters = {"ManagedStreamingKafkaParameters": {**kafka, "StartingPosition": "TRIM_HORIZON"}}
    client("pipes").create_pipe(
        Name=name, RoleArn=ROLE, Source=source, SourceParameters=parameters, Target=FUNCTION, DesiredState="RUNNING"
    )


def test_what_cannot_be_changed_in_place_is_refused(
    tool: ModuleType, place: Place, client: Callable[[str], Any]
) -> None:
    """Another cluster, topic or group under the pipe's name would fail in CloudFormation; a new revision is the way."""
    client("pipes").delete_pipe(Name="lmdp-dev")
    for name in ("lmdp-dev", "lmdp-dev-r2"):
        _make_pipe(
            client, name, f"arn:aws:kafka:us-east-1:{ACCOUNT}:cluster/x", TopicName="old", ConsumerGroupID="old-group"
        )
    with pytest.raises(tool.LmdpError) as caught:
        tool.deploy(place.settings(), place.runtime, tool.Options(yes=True))
    lines = str(caught.value).split("\n  - ")[1:]
    assert [line.split(" is ")[0] for line in lines] == ["LMDP_MSK_CLUSTER_ARN", "LMDP_TOPIC", "LMDP_CONSUMER_GROUP"]
    assert all(line.endswith("LMDP_PIPE_REVISION=2") for line in lines)
    assert place.commands == ["synth"]
    with pytest.raises(tool.LmdpError, match="LMDP_PIPE_REVISION=3"):
        tool.deploy(place.settings(LMDP_PIPE_REVISION="2"), place.runtime, tool.Options(yes=True))
    _make_pipe(client, "lmdp-dev-r3", place.settings().kafka.cluster_arn, TopicName="lm.metrics.otlp",
               ConsumerGroupID="lmdp-dev-pipe-r3")  # fmt: skip
    third = place.settings(LMDP_PIPE_REVISION="3")
    tool.deploy(third, place.runtime, tool.Options(yes=True, topic_checked=True))
    assert place.commands[-1].startswith("deploy pipe alarms")


def test_private_link_under_the_streams_name_is_refused(
    tool: ModuleType, place: Place, client: Callable[[str], Any]
) -> None:
    """Firehose takes the way to Snowflake once, when the stream is made."""
    s3 = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::errors"}
    to = {"AccountUrl": "https://x.snowflakecomputing.com", "Database": "D", "Schema": "S", "Table": "T",
          "RoleARN": ROLE, "S3Configuration": s3}  # fmt: skip
    client("firehose").create_delivery_stream(DeliveryStreamName="lmdp-dev-rows", SnowflakeDestinationConfiguration=to)
    link = {"SNOWFLAKE_PRIVATELINK_VPCE_ID": "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0"}
    with pytest.raises(tool.LmdpError, match="LMDP_STREAM_REVISION=2"):
        tool.deploy(place.settings(**link), place.runtime, tool.Options(yes=True))
    assert place.commands == ["synth"]
    second = place.settings(**link, LMDP_STREAM_REVISION="2")
    tool.deploy(second, place.runtime, tool.Options(yes=True, topic_checked=True))
    assert place.commands[-1].startswith("deploy pipe alarms")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ClientError({"Error": {"Code": "ExpiredToken", "Message": "x"}}, "GetCallerIdentity"), 3, "aws sso login"),
        (ClientError({"Error": {"Code": "InvalidClientTokenId", "Message": "x"}}, "GetCallerIdentity"), 3,
         "us-east-1 is not enabled in this account"),
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, "DescribeStacks"), 1,
         "may not call DescribeStacks: not you"),
        (ClientError({"Error": {"Code": "Throttling", "Message": "slow"}}, "DescribePipe"), 1, "refused DescribePipe"),
        (NoCredentialsError(), 3, "Not signed in to AWS"),
        (EndpointConnectionError(endpoint_url="https://pipes.us-east-1.amazonaws.com"), 3,
         "us-east-1 does not have that service"),
    ],
)  # fmt: skip
def test_an_error_of_aws_is_one_clear_message(tool: ModuleType, error: Any, code: int, said: str) -> None:
    """An expired login, a Region that is not enabled or lacks a service, a missing right; and what becomes of it."""
    from tools.deployment.aws_errors import translated  # noqa: PLC0415 - the tool puts the folder on the path

    found = translated(error, "us-east-1")
    assert isinstance(found, tool.LmdpError)
    assert said in str(found)
    assert found.exit_code == code
    assert str(found).endswith("What was deployed stays; the same command continues.")
