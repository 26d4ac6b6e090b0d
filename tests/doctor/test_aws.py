"""AWS with moto behind boto3: what stands, what is off, what may not be asked, and what is never shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmdp.deployment.naming import STACKS, Names
from lmdp.doctor import aws
from lmdp.doctor.result import Context, Result
from lmdp.snowflake.keypair import make_pair

ACCOUNT = "123456789012"
NAMES = Names("dev", ACCOUNT, "us-east-1")
KEY = make_pair(2048).private
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nHIDDEN\n-----END CERTIFICATE-----\n"
TEMPLATE = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {}}}})
GROUPS = ("function", "setup", "canary", "watcher", "firehose", "pipe")
PATIENT = {"Namespace": "n", "MetricName": "m", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Makes boto3's clients, with moto behind them."""
    moto = pytest.importorskip("moto")
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with moto.mock_aws():
        yield lambda service: boto3.client(service, region_name="us-east-1")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """The environment dev of this account."""
    return Context(tmp_path, tmp_path / "w", {"LMDP_AWS_ACCOUNT": ACCOUNT}, "t", environment="dev")


@pytest.fixture
def deployed(client: Callable[[str], Any]) -> Callable[[str], Any]:
    """A deployment in which all is as it should be."""
    for name in STACKS:
        client("cloudformation").create_stack(StackName=NAMES.stack(name), TemplateBody=TEMPLATE)
    snowflake = json.dumps({"user": "U", "private_key": KEY})
    kafka = json.dumps({"certificate": CERTIFICATE, "privateKey": "-----BEGIN " + "PRIVATE KEY-----\nHIDDEN\n"})
    for what, value in (("snowflake-loader", snowflake), ("snowflake-setup", snowflake), ("kafka-client", kafka)):
        client("secretsmanager").create_secret(Name=NAMES.secret(what), SecretString=value)
    client("pipes").create_pipe(
        Name=NAMES.pipe,
        RoleArn=NAMES.role_arn("pipe"),
        Source=NAMES.arn("sqs", "source"),
        Target=NAMES.arn("lambda", "function:rows"),
        DesiredState="RUNNING",
    )
    for state in ("OK", "ALARM"):
        name = f"{NAMES.prefix}-{'lag' if state == 'OK' else 'rejects'}"
        client("cloudwatch").put_metric_alarm(AlarmName=name, ComparisonOperator="GreaterThanThreshold", **PATIENT)
        client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="OK", StateReason="r")
    for what in GROUPS:
        client("logs").create_log_group(logGroupName=NAMES.log_group(what))
    return client


LOOKS = (aws.credentials, aws.region, aws.stacks, aws.secrets, aws.pipe, aws.alarms, aws.logs)


def test_containers_that_are_asked_for_are_looked_at(deployed: Callable[[str], Any], context: Context) -> None:
    """Their stack, the receiver's certificate and its tokens; each fault has the command that fixes it."""
    asked = replace(context, env={**context.env, "LMDP_CONTAINERS": "receive"})
    assert aws.stacks(asked).text == "containers not deployed"
    deployed("cloudformation").create_stack(StackName=NAMES.stack("containers"), TemplateBody=TEMPLATE)
    assert aws.stacks(asked).text.startswith("10 stacks of lmdp-dev")
    manager = deployed("secretsmanager")
    found = aws.secrets(asked)
    assert found.text == (
        "lmdp-dev/kafka-receive is empty or not a JSON object; "
        "lmdp-dev/receive-tokens has no tokens as `lmdp receive token` writes them"
    )
    assert "--client lmdp-dev-receive --secret lmdp-dev/kafka-receive" in found.fix
    assert "put-secret-value --secret-id lmdp-dev/receive-tokens" in found.fix
    kafka = manager.get_secret_value(SecretId=NAMES.secret("kafka-client"))["SecretString"]
    manager.create_secret(Name=NAMES.secret("kafka-receive"), SecretString=kafka)
    manager.create_secret(Name=NAMES.secret("receive-tokens"), SecretString='{"tokens": [{"name": "a"}]}')
    assert aws.secrets(asked).state == "ok"


EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.mark.parametrize(("closed", "state"), [(False, "ok"), (True, "wrong")])
def test_the_way_out_of_the_pipe(context: Context, client: Callable[[str], Any], state: str, *, closed: bool) -> None:
    """The cluster's security group lets out what the pipe's interfaces need, or the commands that add it are named."""
    ec2 = client("ec2")
    group = ec2.create_security_group(GroupName="kafka", Description="-")["GroupId"]
    if closed:
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[EVERYTHING])
    found = aws.network(replace(context, env={**context.env, "LMDP_SECURITY_GROUP_ID": group}))
    assert found.state == state
    assert ("--port 443" in found.fix and "--port 9094" in found.fix) == closed


@pytest.mark.usefixtures("client")
def test_a_group_that_nobody_names_is_not_looked_at(context: Context) -> None:
    """Without the setting there is nothing to look at; with a wrong one that is said."""
    assert aws.network(context).state == "not tried"
    missing = replace(context, env={**context.env, "LMDP_SECURITY_GROUP_ID": "sg-00000000"})
    assert "there is no security group sg-00000000" in aws.network(missing).text


@pytest.mark.usefixtures("deployed")
def test_what_stands_is_told(context: Context) -> None:
    """Seven lines, each ok, with the numbers."""
    found = [look(context) for look in LOOKS]
    assert [result.state for result in found] == ["ok"] * 7
    assert found[0].text.startswith(f"account {ACCOUNT}, arn:aws:")
    assert [result.text for result in found[1:]] == [
        "us-east-1",
        "9 stacks of lmdp-dev in us-east-1",
        "Snowflake's two and Kafka's are in the right format",
        "lmdp-dev is RUNNING",
        "2 alarms, none in ALARM state",
        "6 log groups, such as /aws/lambda/lmdp-dev-rows",
    ]


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(("writer", "said"), [("firehose", "missing: "), (" snowflake", "5 log groups")])
def test_firehose_has_no_log_group_where_rows_go_to_snowflake(
    context: Context, client: Callable[[str], Any], writer: str, said: str
) -> None:
    """Firehose's log group is asked for only where there is a Firehose."""
    client("logs").delete_log_group(logGroupName=NAMES.log_group("firehose"))
    assert said in aws.logs(replace(context, env={**context.env, "LMDP_WRITER": writer})).text


def _no_stack(client: Callable[[str], Any]) -> None:
    client("cloudformation").delete_stack(StackName=NAMES.stack("pipe"))


def _stopped(client: Callable[[str], Any]) -> None:
    client("pipes").stop_pipe(Name=NAMES.pipe)


def _no_pipe(client: Callable[[str], Any]) -> None:
    client("pipes").delete_pipe(Name=NAMES.pipe)


def _off(client: Callable[[str], Any]) -> None:
    client("cloudwatch").set_alarm_state(AlarmName="lmdp-dev-rejects", StateValue="ALARM", StateReason="r")


def _no_group(client: Callable[[str], Any]) -> None:
    client("logs").delete_log_group(logGroupName=NAMES.log_group("pipe"))


def _spoilt(what: str, value: dict[str, str]) -> Callable[[Callable[[str], Any]], None]:
    def spoil(client: Callable[[str], Any]) -> None:
        client("secretsmanager").put_secret_value(SecretId=NAMES.secret(what), SecretString=json.dumps(value))

    return spoil


_NO_KEY = _spoilt("snowflake-loader", {"user": "U", "private_key": "MIIHIDDEN4HIDDEN"})
_PEM = _spoilt("snowflake-setup", {"user": "U", "private_key": "-----BEGIN " + "PRIVATE KEY-----\nHIDDEN"})
_NO_CERTIFICATE = _spoilt("kafka-client", {"privateKey": "HIDDEN"})


@pytest.mark.parametrize(
    ("spoil", "look", "told", "fix"),
    [
        (_no_stack, aws.stacks, "pipe not deployed", "make deploy ENVIRONMENT=dev"),
        (_stopped, aws.pipe, "lmdp-dev is STOPPED", "aws pipes start-pipe --name lmdp-dev"),
        (_no_pipe, aws.pipe, "there is no pipe lmdp-dev", "make deploy ENVIRONMENT=dev"),
        (_off, aws.alarms, "in ALARM state: lmdp-dev-rejects", "docs/operations.md"),
        (_no_group, aws.logs, "missing: /aws/vendedlogs/pipes/lmdp-dev", "make deploy ENVIRONMENT=dev"),
        (
            _NO_KEY,
            aws.secrets,
            "not a PKCS#8 key",
            "--environment dev --user firehose --secret lmdp-dev/snowflake-loader",
        ),
        (
            _PEM,
            aws.secrets,
            "one line of base64",
            "--environment dev --user setup --secret lmdp-dev/snowflake-setup",
        ),
        (_NO_CERTIFICATE, aws.secrets, "no `certificate` in PEM", "--client lmdp-dev --secret lmdp-dev/kafka-client"),
    ],
)
def test_what_is_off_is_told(
    context: Context,
    deployed: Callable[[str], Any],
    spoil: Callable[[Callable[[str], Any]], None],
    look: Callable[[Context], Result],
    told: str,
    fix: str,
) -> None:
    """The fault, and the command that fixes it; never what is in a secret."""
    spoil(deployed)
    found = look(context)
    assert (found.state, told in found.text, fix in found.fix) == ("wrong", True, True)
    assert "HIDDEN" not in str(found)
    assert KEY[:40] not in str(found)


@pytest.mark.usefixtures("client")
def test_nothing_is_deployed(context: Context) -> None:
    """Each missing part is named with the command that makes it; a secret that is not there, too."""
    found = {look.__name__: look(context) for look in LOOKS}
    states = {name: result.state for name, result in found.items()}
    assert states == dict.fromkeys(("stacks", "secrets", "pipe", "alarms", "logs"), "wrong") | {
        "credentials": "ok", "region": "ok"
    }  # fmt: skip
    assert found["stacks"].text == "none of lmdp-dev-* is deployed in us-east-1"
    assert found["secrets"].text.count("is empty") == 3


def test_stacks_without_a_region_are_in_the_default_one(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without LMDP_AWS_REGION a deployment is in us-east-1, wherever the profile is."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    found = aws.region(context)
    assert (found.state, found.text) == ("wrong", "the local tools use eu-west-1, the stacks are in us-east-1")
    assert aws.region(replace(context, environment=None)).state != "wrong"


@pytest.mark.parametrize(
    ("env", "look", "told", "fix"),
    [
        ({"LMDP_AWS_ACCOUNT": "999999999999"}, aws.credentials, "LMDP_AWS_ACCOUNT is 999999999999", "aws sso login"),
        ({"LMDP_AWS_REGION": "eu-west-1"}, aws.region, "the stacks are in eu-west-1", "AWS_DEFAULT_REGION=eu-west-1"),
        ({"LMDP_AWS_REGION": "eu-west-1"}, aws.stacks, "is deployed in eu-west-1", "make deploy"),
    ],
)
@pytest.mark.usefixtures("deployed")
def test_the_wrong_account_or_region_is_told(
    context: Context,
    env: dict[str, str],
    look: Callable[[Context], Result],
    told: str,
    fix: str,
) -> None:
    """A person with several accounts looks into the wrong one."""
    found = look(replace(context, env=env))
    assert (found.state, told in found.text, fix in found.fix) == ("wrong", True, True)


@pytest.mark.parametrize(
    ("code", "look", "state", "told"),
    [
        ("AccessDeniedException", aws.secrets, "not tried", "this user may not call GetSecretValue"),
        ("ExpiredToken", aws.credentials, "wrong", "GetCallerIdentity: ExpiredToken: gone"),
        ("ExpiredTokenException", aws.secrets, "not tried", "not signed in; see credentials"),
        ("InternalFailure", aws.secrets, "wrong", "GetSecretValue: InternalFailure: gone"),
    ],
)
def test_a_refusal_is_told_once(
    context: Context,
    deployed: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    look: Any,
    state: str,
    told: str,
) -> None:
    """A right that is missing is no fault of the deployment; a login that ended is told where the login is."""
    botocore = pytest.importorskip("botocore.exceptions")

    def refuse(_self: Any, operation: str, _arguments: Any) -> None:
        raise botocore.ClientError({"Error": {"Code": code, "Message": "gone"}}, operation)

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", refuse)
    found = look(context)
    assert (found.state, found.text.startswith(told)) == (state, True)


def test_without_credentials(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wrong once; all that needs them is not tried."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert aws.credentials(context).state == "wrong"
    assert aws.pipe(context) == Result("not tried", "not signed in; see credentials")


@pytest.mark.parametrize(
    ("env", "told"),
    [({}, "AWS is not configured here"), ({"AWS_PROFILE": "p"}, "no deployment is named")],
)
def test_what_is_not_set_up_is_not_tried(context: Context, env: dict[str, str], told: str) -> None:
    """Nobody is asked."""
    found = aws.stacks(replace(context, env=env, environment=None))
    assert (found.state, found.text.startswith(told)) == ("not tried", True)
