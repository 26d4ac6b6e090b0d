"""tools/deploy.py: its steps, where it stops, and what it never shows. Commands are noted, AWS is moto's."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lmdp.cli.topic import NO_ACL
from lmdp.deployment.security_group import wanted
from lmdp.errors import SettingsError

from .conftest import ROOT, STUB_MARK, example_values

ACCOUNT = "123456789012"
DER = base64.b64encode(b"\x30\x82 not really a key").decode()
SNOWFLAKE = json.dumps({"user": "LM_FIREHOSE_SVC", "private_key": DER})
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
KAFKA = json.dumps({"certificate": CERTIFICATE, "privateKey": "-----BEGIN " + "PRIVATE KEY-----\nx\n"})
LANDED = json.dumps({"landed": True, "error": "", "canary": [{"style": "quoted", "landed": True, "error": ""}]})
LOST = json.dumps({"landed": False, "error": "no canary landed in the style quoted (Snowflake.ExtraColumns: orgId)"})
SHAPE = json.dumps({"retention_ms": 36 * 3_600_000, "faults": []})
CHECK = "lmdp topic check --topic lm.metrics.otlp --partitions 12 --retention-hours 24 --max-message-bytes 65536"
STACK = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {}}}})
ACLS = "User:CN=pipe  allow read topic lm.metrics.otlp"


def load_tool() -> ModuleType:
    """The tool, as a module."""
    spec = importlib.util.spec_from_file_location("lmdp_deploy", ROOT / "tools" / "deploy.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look for the names in their annotations.
    sys.modules["lmdp_deploy"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool, loaded once."""
    return load_tool()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Makes boto3's clients, with moto behind them."""
    moto = pytest.importorskip("moto", reason="moto is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        yield boto_client


@functools.cache
def boto_client(service: str) -> Any:
    """A client, made once for all tests: each takes a tenth of a second, and moto's answers do not hang on it."""
    import boto3  # noqa: PLC0415 - only where the infrastructure's packages are

    return boto3.client(service, region_name="us-east-1")


def settings(**changed: str) -> Any:
    """An environment that is no example."""
    from infra.settings import Settings  # noqa: PLC0415 - only where the infrastructure's packages are

    values = {name: value.replace("000000000000:", f"{ACCOUNT}:") for name, value in example_values().items()}
    return Settings.read("dev", {**values, "LMDP_AWS_ACCOUNT": ACCOUNT, **changed})


def json_faults(answer: str) -> list[str]:
    """The faults that an answer of `lmdp topic check --json` names."""
    return list(json.loads(answer)["faults"]) if answer.startswith("{") else []


class Invoked:
    """Lambda, where the canary is the one function that is invoked."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def invoke(self, **call: Any) -> dict[str, Any]:
        """Note it, and answer as the function does."""
        self.place.commands.append(f"invoke {call['FunctionName']} {call['InvocationType']}")
        return {"Payload": io.BytesIO(self.place.canary.encode())}


class Place:
    """A runtime whose commands are noted; `said` is what the person sees."""

    def __init__(self, tool: ModuleType, folder: Path, client: Callable[[str], Any]) -> None:
        self.commands: list[str] = []
        self.said: list[str] = []
        self.answers = ["dev"]
        self.kept = {"check": SHAPE, "acls": ACLS}
        self.canary = LANDED
        self.fail = ""
        self.aws = client
        self.group = client("ec2").create_security_group(GroupName="kafka", Description="-")["GroupId"]
        self.template = "{}"
        self.runtime = tool.Runtime(
            run=self._run,
            capture=self._capture,
            client=self._client,
            ask=self._ask,
            say=self.said.append,
            cloud=folder / "dev",
        )

    def settings(self, **changed: str) -> Any:
        """The environment's, with the cluster's security group of this place."""
        return settings(LMDP_SECURITY_GROUP_ID=self.group, **changed)

    def _client(self, service: str) -> Any:
        # moto would need Docker to run a function.
        return Invoked(self) if service == "lambda" else self.aws(service)

    def _ask(self, question: str) -> str:
        self.said.append(question)
        return self.answers.pop(0)

    def _run(self, arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        if "infra.app" in arguments:
            assert env == {"LMDP_ENVIRONMENT": "dev", "CDK_OUTDIR": str(self.runtime.cloud)}
            self.runtime.cloud.mkdir(exist_ok=True)
            (self.runtime.cloud / "lmdp-dev-pipe.template.json").write_text(self.template)
            told = "synth"
        else:
            told = " ".join(arguments[5:])
            told = told.replace(f" --app {self.runtime.cloud} --toolkit-stack-name lmdp-dev-toolkit", "")
            told = told.replace("lmdp-dev-", "")
        self.commands.append(told)
        return subprocess.CompletedProcess(arguments, int(bool(self.fail) and self.fail in told))

    def _capture(self, arguments: Sequence[str], _env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        self.commands.append(" ".join(["lmdp", *arguments[1:]]))
        answer = self.kept[arguments[2]]
        return subprocess.CompletedProcess(arguments, int(bool(json_faults(answer))), answer, "")


@pytest.fixture
def place(tool: ModuleType, tmp_path: Path, client: Callable[[str], Any]) -> Place:
    """A place with the stacks that hold data, the three secrets filled, a pipe that runs, and an alarm's subscriber."""
    for stack in ("storage", "snowflake-auth", "auth"):
        client("cloudformation").create_stack(StackName=f"lmdp-dev-{stack}", TemplateBody=STACK)
    client("cloudwatch").put_metric_alarm(
        AlarmName="lmdp-dev-watcher-errors", AlarmDescription="[warn]", Namespace="n", MetricName="m",
        ComparisonOperator="GreaterThanThreshold", EvaluationPeriods=1, Period=60, Threshold=1, Statistic="Sum",
    )  # fmt: skip
    topic = client("sns").create_topic(Name="lmdp-dev-alerts")["TopicArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="on-call@example.com")
    manager = client("secretsmanager")
    for what, value in (("snowflake-loader", SNOWFLAKE), ("snowflake-setup", SNOWFLAKE), ("kafka-client", KAFKA)):
        manager.create_secret(Name=f"lmdp-dev/{what}", SecretString=value)
    client("pipes").create_pipe(
        Name="lmdp-dev",
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/pipe",
        Source=settings().kafka.cluster_arn,
        Target=f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:rows",
        DesiredState="RUNNING",
    )
    client("cloudformation").create_stack(StackName="lmdp-dev-toolkit", TemplateBody=STACK)
    made = Place(tool, tmp_path, client)
    for rule in wanted(made.group, None, ["10.20.0.0/16"]):
        client("ec2").authorize_security_group_ingress(GroupId=made.group, IpPermissions=[rule.permission("x")])
    return made


def test_deploy_goes_in_steps(tool: ModuleType, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown, asked, then in this order; the canary and the topic come before the pipe, a test alarm after it."""
    monkeypatch.setenv("LMDP_BOOTSTRAP_SERVERS", "b-1.example.com:9094")
    tool.deploy(place.settings(), place.runtime, tool.Options())
    assert place.commands == [
        "synth",
        "diff base storage snowflake-auth snowflake-setup delivery network auth pipe alarms --exclusively",
        "deploy base storage snowflake-auth auth --exclusively --require-approval never",
        "deploy snowflake-setup delivery --exclusively --require-approval never",
        "invoke lmdp-dev-canary RequestResponse",
        "deploy network --exclusively --require-approval never",
        f"{CHECK} --json",
        "lmdp topic acls --topic lm.metrics.otlp",
        "deploy pipe alarms --exclusively --require-approval never",
    ]
    assert place.said[-2:] != []
    assert any(line.startswith("pipe lmdp-dev: RUNNING") for line in place.said)
    assert "The topic lm.metrics.otlp keeps 36 h at least; the lag alarms count on that." in place.said
    assert "Sent a test alarm (lmdp-dev-watcher-errors) to on-call@example.com." in place.said
    assert (
        "canary landed, tables refreshed and tasks run: never" in place.said
    )  # the function notes it, and here is none
    assert not any("PRIVATE" in line or DER in line for line in place.said)


def test_the_network_comes_first_where_functions_are_in_a_vpc(tool: ModuleType, place: Place) -> None:
    """Setup and canary reach AWS through its endpoints, and would wait for them in vain."""
    private = {
        "LMDP_SNOWFLAKE_SUBNET_IDS": "subnet-00000000000000001,subnet-00000000000000002",
        "LMDP_SNOWFLAKE_SECURITY_GROUP_ID": "sg-00000000000000009",
        "LMDP_VPC_ENDPOINTS": "secretsmanager,kinesis-firehose,ssm",
        "LMDP_VPC_CIDRS": "10.0.0.0/16",
    }
    tool.deploy(place.settings(**private), place.runtime, tool.Options(yes=True, topic_checked=True))
    deployed = [command.partition(" --")[0] for command in place.commands if command.startswith("deploy")]
    assert deployed[1:3] == ["deploy network", "deploy snowflake-setup delivery"]


@pytest.mark.parametrize(
    ("stop", "last", "said"),
    [
        ("answer", "diff base", "Not confirmed"),
        ("cdk", "deploy snowflake-setup", "cdk deploy failed"),
        ("canary", "invoke lmdp-dev-canary", "Snowflake.ExtraColumns: orgId"),
        ("topic", "lmdp topic check", "retention is 6 h"),
        ("brokers", "deploy network", "the brokers are not known here"),
        ("acls", "lmdp topic acls", "see above"),
    ],
)
def test_deploy_stops_before_the_pipe(
    tool: ModuleType, place: Place, monkeypatch: pytest.MonkeyPatch, stop: str, last: str, said: str
) -> None:
    """What is not in order ends it there, with what to do, and nothing after it is run."""
    if stop != "brokers":
        monkeypatch.setenv("LMDP_BOOTSTRAP_SERVERS", "b-1.example.com:9094")
    place.answers = ["no"] if stop == "answer" else ["dev"]
    place.fail = "snowflake-setup delivery --ex" if stop == "cdk" else ""
    place.canary = LOST if stop == "canary" else LANDED
    if stop == "topic":
        place.kept["check"] = json.dumps({"retention_ms": 21_600_000, "faults": ["retention is 6 h: it is too short."]})
    place.kept["acls"] = f"{NO_ACL} lm.metrics.otlp" if stop == "acls" else ACLS
    if stop == "cdk":
        place.fail = "deploy snowflake-setup"
    with pytest.raises(tool.LmdpError, match=said):
        tool.deploy(place.settings(), place.runtime, tool.Options())
    assert place.commands[-1].startswith(last)


def test_a_person_may_say_that_the_topic_was_checked(tool: ModuleType, place: Place) -> None:
    """From inside the VPC, where this machine is not."""
    tool.deploy(place.settings(), place.runtime, tool.Options(yes=True, topic_checked=True))
    assert place.commands[-1].startswith("deploy pipe alarms")
    assert not any(line.startswith("lmdp topic") for line in place.commands)


def test_every_secret_that_is_not_ready_is_named(tool: ModuleType, place: Place, client: Callable[[str], Any]) -> None:
    """Empty, PEM where one line belongs, an encrypted key without its password: each with the command that fills it."""
    manager = client("secretsmanager")
    manager.delete_secret(SecretId="lmdp-dev/snowflake-loader", ForceDeleteWithoutRecovery=True)
    pem = json.dumps({"user": "LM_SETUP_SVC", "private_key": "-----BEGIN " + "PRIVATE KEY-----\nHIDDEN\n"})
    manager.put_secret_value(SecretId="lmdp-dev/snowflake-setup", SecretString=pem)
    locked = json.dumps({"certificate": CERTIFICATE, "privateKey": "-----BEGIN ENCRYPTED " + "PRIVATE KEY-----HIDDEN"})
    manager.put_secret_value(SecretId="lmdp-dev/kafka-client", SecretString=locked)
    with pytest.raises(tool.LmdpError) as caught:
        tool.deploy(place.settings(), place.runtime, tool.Options(yes=True))
    told = str(caught.value)
    assert "lmdp-dev/snowflake-loader is empty" in told
    assert "lmdp-dev/snowflake-setup has no `private_key` of one line" in told
    assert "lmdp-dev/kafka-client has no `privateKey` in PKCS#8" in told
    assert "lmdp snowflake keypair --environment dev --user setup --secret lmdp-dev/snowflake-setup" in told
    assert told.endswith("Then: make deploy ENVIRONMENT=dev")
    assert "HIDDEN" not in told
    assert place.commands[-1].startswith("deploy base")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "is empty or not a JSON object"),
        ("[]", "is empty or not a JSON object"),
        (json.dumps({"private_key": DER}), "has no `user`"),
        (json.dumps({"user": "U", "privateKey": DER}), "has no `private_key` of one line"),
        (json.dumps({"user": "U", "private_key": DER[:8] + "\n" + DER[8:]}), "has no `private_key` of one line"),
        (json.dumps({"user": "U", "private_key": DER, "key_passphrase": "p"}), ""),
    ],
)
def test_the_shape_that_firehose_reads(tool: ModuleType, text: str | None, fault: str) -> None:
    """One line of base64 of a DER key, and a user."""
    found = tool.snowflake_fault(text)
    assert found.startswith(fault)
    assert bool(found) == bool(fault)


def test_the_example_is_never_deployed(tool: ModuleType, place: Place) -> None:
    """Placeholder ARNs are refused before anything is run."""
    from infra.settings import Settings  # noqa: PLC0415 - only where the infrastructure's packages are

    with pytest.raises(SettingsError, match="never deployed"):
        tool.deploy(Settings.read("example", example_values()), place.runtime, tool.Options(yes=True))
    assert place.commands == []


def test_a_stub_is_never_deployed(tool: ModuleType, place: Place) -> None:
    """A template whose functions are not built is refused before the question."""
    place.template = f'{{"ZipFile": "{STUB_MARK}"}}'
    with pytest.raises(tool.LmdpError, match="Run make build"):
        tool.deploy(place.settings(), place.runtime, tool.Options(yes=True))
    assert place.commands == ["synth"]


def test_destroy_keeps_the_data(tool: ModuleType, place: Place, client: Callable[[str], Any]) -> None:
    """What runs is removed, the last stack first; the stacks that hold something stay."""
    tool.destroy(place.settings(), place.runtime, tool.Options(yes=True))
    assert place.commands[-2:] == [
        "destroy alarms pipe --exclusively --force",
        "destroy network delivery snowflake-setup --exclusively --force",
    ]
    assert len(client("secretsmanager").list_secrets()["SecretList"]) == 3


def test_destroy_deletes_data_only_when_told_twice(
    tool: ModuleType, place: Place, client: Callable[[str], Any]
) -> None:
    """The option, and the bucket's name typed, even with --yes."""
    s3 = client("s3")
    for bucket in ("lmdp-dev-errors-123456789012-us-east-1", "lmdp-dev-access-logs-123456789012-us-east-1"):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="rejects/one", Body=b"x")
    place.answers = ["yes"]
    with pytest.raises(tool.LmdpError, match="Not confirmed"):
        tool.destroy(place.settings(), place.runtime, tool.Options(yes=True, delete_data=True))
    assert len(s3.list_buckets()["Buckets"]) == 2
    place.answers = ["delete lmdp-dev-errors-123456789012-us-east-1"]
    tool.destroy(place.settings(), place.runtime, tool.Options(yes=True, delete_data=True))
    assert s3.list_buckets()["Buckets"] == []
    # Without a recovery window, in which a deployment could not make them again.
    assert client("secretsmanager").list_secrets(IncludePlannedDeletion=True)["SecretList"] == []
    assert place.commands[-1] == "destroy auth snowflake-auth storage base --exclusively --force"
    # The keys' aliases are gone with the stacks; their tag is left to find them by.
    assert "--resource-type-filters kms:key --tag-filters Key=lmdp,Values=dev" in place.said[-1]
    place.answers = ["delete lmdp-dev-errors-123456789012-us-east-1"]
    tool.destroy(place.settings(), place.runtime, tool.Options(yes=True, delete_data=True))  # it may be repeated


class Clock:
    """A clock that a wait advances."""

    def __init__(self, *, ends: bool = True) -> None:
        self.time, self.slept, self.ends = datetime.now(UTC), 0.0, ends

    def now(self) -> datetime:
        """Return its time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Advance, or be interrupted."""
        if not self.ends:
            raise KeyboardInterrupt
        self.slept += seconds
        self.time += timedelta(seconds=seconds)


def _hold_rows(place: Place, metric: str, value: float, at: datetime) -> None:
    data = {"MetricName": metric, "Dimensions": [{"Name": "DeliveryStreamName", "Value": "lmdp-dev-rows"}],
            "Value": value, "Timestamp": at}  # fmt: skip
    place.aws("cloudwatch").put_metric_data(Namespace="AWS/Firehose", MetricData=[data])


@pytest.mark.parametrize(
    ("metric", "value", "changed", "delete", "waits"),
    [
        ("IncomingRecords", 7.0, {}, False, True),
        ("DeliveryToSnowflake.DataFreshness", 5400.0, {}, False, True),
        ("DeliveryToSnowflake.DataFreshness", 0.0, {}, False, False),
        ("IncomingRecords", 7.0, {"LMDP_WRITER": "snowflake"}, False, False),
        ("IncomingRecords", 7.0, {}, True, False),
    ],
    ids=["rows came in", "rows wait", "nothing waits", "no stream", "the data goes too"],
)
def test_destroy_waits_until_the_stream_is_empty(
    tool: ModuleType, place: Place, metric: str, value: float, changed: dict[str, str], *, delete: bool, waits: bool
) -> None:
    """Rows of two minutes ago are delivered before the stream goes, ten minutes after the last one."""
    clock = Clock()
    _hold_rows(place, metric, value, clock.time - timedelta(minutes=2))
    runtime = dataclasses.replace(place.runtime, now=clock.now, sleep=clock.sleep)
    place.answers = ["dev", "no"]
    with pytest.raises(tool.LmdpError, match="Not confirmed") if delete else contextlib.nullcontext():
        tool.destroy(place.settings(**changed), runtime, tool.Options(delete_data=delete))
    assert (400 <= clock.slept <= 600) is waits
    said = "\n".join(place.said)
    assert ("Waiting for the last rows of lmdp-dev-rows" in said) is waits
    assert ("Rows that the stream lmdp-dev-rows has not delivered are deleted with it." in said) is delete


def test_the_wait_for_the_stream_can_be_ended(tool: ModuleType, place: Place) -> None:
    """The pipe is gone, the stream is there, and the message says what continues."""
    clock = Clock(ends=False)
    _hold_rows(place, "IncomingRecords", 1.0, clock.time - timedelta(minutes=2))
    runtime = dataclasses.replace(place.runtime, now=clock.now, sleep=clock.sleep)
    with pytest.raises(tool.LmdpError, match=r"the stream lmdp-dev-rows still delivers\. Repeat the command"):
        tool.destroy(place.settings(), runtime, tool.Options(yes=True))
    assert place.commands[-1] == "destroy alarms pipe --exclusively --force"


def test_destroy_begins_with_what_the_login_may_not(tool: ModuleType, place: Place) -> None:
    """Whoever may not empty the buckets is refused while all stacks are there."""
    denied = {"Error": {"Code": "AccessDenied", "Message": "not you"}}

    class Closed:
        """S3 for the deployer."""

        exceptions = place.aws("s3").exceptions

        def list_object_versions(self, **_: Any) -> None:
            raise ClientError(denied, "ListObjectVersions")

    runtime = dataclasses.replace(place.runtime, client=lambda one: Closed() if one == "s3" else place.aws(one))
    with pytest.raises(ClientError, match="ListObjectVersions"):
        tool.destroy(place.settings(), runtime, tool.Options(yes=True, delete_data=True))
    assert place.commands == ["synth"]


def test_what_is_protected_is_not_destroyed(tool: ModuleType, place: Place) -> None:
    """Termination protection is said before anything is tried."""
    protected = place.settings(LMDP_TERMINATION_PROTECTION="true", LMDP_ALERT_EMAILS="on-call@example.com")
    with pytest.raises(SettingsError, match="LMDP_TERMINATION_PROTECTION"):
        tool.destroy(
            protected,
            place.runtime,
            tool.Options(yes=True),
        )
    assert place.commands == []


@pytest.fixture
def toolkit(client: Callable[[str], Any]) -> str:
    """CDK's deploy role, as its bootstrap makes it; returns the name."""
    name = f"cdk-lmdev-deploy-role-{ACCOUNT}-us-east-1"
    client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    return name


def test_bootstrap_passes_our_policies(
    tool: ModuleType, place: Place, client: Callable[[str], Any], toolkit: str
) -> None:
    """Policies and boundaries are made, renewed each time; CDK's roles get them in the place of an administrator's."""
    for _ in range(7):
        tool.bootstrap(place.settings(), place.runtime, tool.Options(yes=True))
    policy = f"arn:aws:iam::{ACCOUNT}:policy/lmdp-dev-"
    # The place takes `lmdp-dev-` out of what it notes.
    passed = ",".join(f"arn:aws:iam::{ACCOUNT}:policy/cloudformation{part}" for part in ("", "-access", "-network"))
    options = f"--qualifier lmdev --cloudformation-execution-policies {passed} --tags lmdp=dev"
    assert place.commands[-2:] == ["synth", f"bootstrap aws://{ACCOUNT}/us-east-1 {options}"]
    iam = client("iam")
    assert {one["PolicyName"].removeprefix("lmdp-dev-") for one in iam.list_policies(Scope="Local")["Policies"]} == {
        "cloudformation", "cloudformation-access", "cloudformation-network", "boundary", "deploy-role-boundary",
        "LmdpOperator", "LmdpDeployer",
    }  # fmt: skip
    assert len(iam.list_policy_versions(PolicyArn=f"{policy}cloudformation")["Versions"]) == 5
    boundary = iam.get_role(RoleName=toolkit)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
    assert boundary == f"{policy}deploy-role-boundary"


def in_ireland() -> dict[str, str]:
    """The settings of the same environment in another Region."""
    moved = {name: value.replace("us-east-1", "eu-west-1").replace("000000000000:", f"{ACCOUNT}:")
             for name, value in example_values().items() if "us-east-1" in value}  # fmt: skip
    return moved | {"LMDP_AWS_REGION": "eu-west-1"}


@pytest.mark.usefixtures("toolkit")
def test_bootstrap_refuses_the_name_of_another_region(
    tool: ModuleType, place: Place, client: Callable[[str], Any]
) -> None:
    """IAM's names carry no Region: the policies would be the new Region's, and the first one would stop."""
    tool.bootstrap(place.settings(), place.runtime, tool.Options(yes=True))
    done = len(place.commands)
    with pytest.raises(SettingsError, match=r"^dev is deployed in us-east-1\..* Nothing was changed\. Name another"):
        tool.bootstrap(place.settings(**in_ireland()), place.runtime, tool.Options(yes=True))
    assert place.commands[done:] == ["synth"]
    for policy in client("iam").list_policies(Scope="Local")["Policies"]:
        assert policy["DefaultVersionId"] == "v1"


@pytest.mark.parametrize("theirs", [True, False])
def test_bootstrap_takes_a_template_of_the_customers(
    tool: ModuleType, place: Place, client: Callable[[str], Any], toolkit: str, tmp_path: Path, *, theirs: bool
) -> None:
    """The boundary that it puts on the deploy role stays; a role without one gets ours; a missing file is refused."""
    template, iam = tmp_path / "bootstrap.yaml", client("iam")
    wanted, options = place.settings(LMDP_BOOTSTRAP_TEMPLATE=str(template)), tool.Options(yes=True)
    with pytest.raises(SettingsError, match=f"LMDP_BOOTSTRAP_TEMPLATE: there is no file {template}"):
        tool.bootstrap(wanted, place.runtime, options)
    assert place.commands == []
    template.touch()
    nothing = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
    policy = iam.create_policy(PolicyName="acme", PolicyDocument=json.dumps(nothing))
    if theirs:
        iam.put_role_permissions_boundary(RoleName=toolkit, PermissionsBoundary=policy["Policy"]["Arn"])
    tool.bootstrap(wanted, place.runtime, options)
    assert f"--qualifier lmdev --template {template} --cloudformation-execution" in place.commands[-1]
    held = iam.get_role(RoleName=toolkit)["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"]
    assert held == f"arn:aws:iam::{ACCOUNT}:policy/{'acme' if theirs else 'lmdp-dev-deploy-role-boundary'}"
    assert any(f"keeps the boundary {held} of your template" in line for line in place.said) is theirs


@pytest.mark.usefixtures("toolkit")
def test_bootstrap_keeps_a_path(tool: ModuleType, place: Place, client: Callable[[str], Any]) -> None:
    """CDK's template writes `policy/` before the boundary, so that the path goes along; so do prefix and tags."""
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/team/x/boundary"
    changed = {
        "LMDP_PERMISSIONS_BOUNDARY_ARN": boundary,
        "LMDP_IAM_PATH": "/team/",
        "LMDP_ROLE_NAME_PREFIX": "acme-",
        "LMDP_TAGS": "team=observability,cost-center=42",
    }
    tool.bootstrap(place.settings(**changed), place.runtime, tool.Options(yes=True))
    assert place.commands[-1].endswith(
        f",arn:aws:iam::{ACCOUNT}:policy/team/acme-cloudformation-network "
        "--custom-permissions-boundary team/x/boundary --tags team=observability --tags cost-center=42 --tags lmdp=dev"
    )
    made = client("iam").list_policies(Scope="Local", PathPrefix="/team/")["Policies"]
    assert len(made) == 6
    assert {one["PolicyName"][:14] for one in made} == {"acme-lmdp-dev-"}


def test_nothing_of_another_environment_is_looked_at(tool: ModuleType, place: Place) -> None:
    """The example's stubs in the folder of the example, and in this one from before, stop nothing."""
    for folder in (place.runtime.cloud, place.runtime.cloud.parent, place.runtime.cloud.parent / "example"):
        folder.mkdir(exist_ok=True)
        (folder / "lmdp-example-pipe.template.json").write_text(f'{{"ZipFile": "{STUB_MARK}"}}')
    tool.deploy(place.settings(), place.runtime, tool.Options(yes=True, topic_checked=True))
    assert place.commands[-1].startswith("deploy pipe alarms")


@pytest.mark.parametrize(
    ("environment", "qualifier"),
    [("dev", "lmdev"), ("prod", "lmprod"), ("staging2", "lmstaging2"), ("production", "lm-ab8e18e")],
)
def test_each_environment_has_a_cdk_qualifier_of_its_own(environment: str, qualifier: str) -> None:
    """Ten characters at most, and never the one that other CDK apps share."""
    from lmdp.deployment.naming import Names  # noqa: PLC0415 - as above

    assert Names(environment, ACCOUNT, "us-east-1").qualifier == qualifier


def test_the_execution_policies_are_no_administrators() -> None:
    """They allow no service everywhere, and read no secret's value."""
    from infra.execution import execution_policies  # noqa: PLC0415 - as above

    from .conftest import OTHER_OPTIONS  # noqa: PLC0415 - as above

    others = {name: value.replace("000000000000:", f"{ACCOUNT}:") for name, value in OTHER_OPTIONS.items()}
    for changed in ({}, others):
        allowed = [
            (action, statement["Resource"])
            for document in execution_policies(settings(**changed)).values()
            for statement in document["Statement"]
            if statement["Effect"] == "Allow"
            for action in statement["Action"]
        ]
        assert not [action for action, resources in allowed if action.endswith(":*") and "*" in resources]
        never = {"*", "iam:*", "kms:*", "s3:*", "secretsmanager:*", "secretsmanager:GetSecretValue"}
        assert not never & {action for action, _ in allowed}
