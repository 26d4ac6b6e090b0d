"""The calls that the code makes are the calls that it is allowed: each part runs against moto, and is compared."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from templates import Template, listed, only

from .conftest import OTHER_OPTIONS, Templates

# What AWS asks for beside a call, and moto does not: keys of what is read or written, logs, traces.
BESIDE = ("kms:", "logs:", "xray:")
SERVICES = {"monitoring": "cloudwatch", "acm-pca": "acm-pca"}
TARGETS = {
    "GraniteServiceVersion20100801": "cloudwatch",
    "ACMPrivateCA": "acm-pca",
    "AmazonSSM": "ssm",
    "secretsmanager": "secretsmanager",
}

# Services of which one call is made, by a path that does not name it.
REST = {"lambda": "lambda:InvokeFunction", "kafka": "kafka:ListClustersV2"}

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Calls:
    """A moto server that notes each call as an IAM action."""

    def __init__(self, app: Wsgi) -> None:
        self.app = app
        self.made: set[str] = set()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Note it, and let moto answer."""
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        self.made.add(_action(environ, body))
        return self.app(environ, start)


def _action(environ: dict[str, Any], body: bytes) -> str:
    target, path, method = environ.get("HTTP_X_AMZ_TARGET", ""), environ["PATH_INFO"], environ["REQUEST_METHOD"]
    service = environ.get("HTTP_AUTHORIZATION", "////").split("/")[3]
    if target:
        family, _, operation = target.rpartition(".")
        return f"{TARGETS.get(family, family.split('_')[0].lower())}:{operation}"
    if "/operation/" in path:
        return f"{SERVICES[service]}:{path.rpartition('/')[2]}"
    if b"Action=" in body:
        return f"{SERVICES.get(service, service)}:{body.split(b'Action=')[1].split(b'&')[0].decode()}"
    if service in REST:
        return REST[service]
    if service == "pipes":
        return {"GET": "pipes:DescribePipe", "POST": "pipes:CreatePipe"}[method]
    assert service == "s3", (service, path)
    return f"s3:{_s3(method, path, environ['QUERY_STRING'])}"


def _s3(method: str, path: str, query: str) -> str:
    if method == "HEAD":
        return "ListBucket"
    if method == "GET":
        return "ListBucket" if "list-type=2" in query else "GetObject"
    if method == "DELETE":
        return "DeleteObject"
    return "PutObject" if path.count("/") > 1 else "CreateBucket"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """AWS on this machine."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    serving = pytest.importorskip("werkzeug.serving")
    found = Calls(server.DomainDispatcherApplication(server.create_backend_app))
    running = serving.make_server("127.0.0.1", 0, found, threaded=True)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{running.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield found
    running.shutdown()
    thread.join()
    running.server_close()
    from moto.core.base_backend import BackendDict  # noqa: PLC0415 - as above

    BackendDict.reset()


def _client(service: str) -> Any:
    import boto3  # noqa: PLC0415 - only where it is

    return boto3.client(service)


def _granted(document: Template) -> set[str]:
    actions = {action for statement in document["Statement"] for action in listed(statement["Action"])}
    return {action for action in actions if not action.startswith(BESIDE)}


def _role(template: Template, name: str) -> set[str]:
    (policy,) = only(template, "AWS::IAM::Role", RoleName=name)["Properties"]["Policies"]
    return _granted(policy["PolicyDocument"])


def _managed(what: str, **changed: str) -> set[str]:
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - only where the infrastructure's packages are

    from .test_execution import settings  # noqa: PLC0415 - as above

    (document,) = [one.document for one in bootstrap_policies(settings(**changed)) if one.what == what]
    return _granted(document)


def _runbook() -> list[tuple[str, str]]:
    """Return the action of each AWS command in docs/operations.md, and for whom its mark says that it is."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    found = re.findall(r"`aws\s+([a-z0-9-]+)\s+([a-z-]+)\s[^`]*`(?:\s+\((deployer|administrator)\))?", text)
    assert len(found) == len(re.findall(r"`aws\s", text))
    calls = {("logs", "tail"): "FilterLogEvents"}
    return [
        (f"{service}:{calls.get((service, command), command.title().replace('-', ''))}", mark)
        for service, command, mark in found
    ]


def _message(value: bytes, offset: int) -> dict[str, Any]:
    return {
        "eventSource": "aws:kafka", "topic": "lm.metrics.otlp", "partition": 0, "offset": offset,
        "timestamp": 1_763_337_600_000, "timestampType": "CREATE_TIME", "value": base64.b64encode(value).decode(),
    }  # fmt: skip


BUNDLE = {
    "resourceMetrics": [
        {
            "resource": {"attributes": [{"key": "hostId", "value": {"stringValue": "7"}}]},
            "scopeMetrics": [
                {
                    "scope": {"name": "CPU"},
                    "metrics": [
                        {
                            "name": "Busy",
                            "gauge": {"dataPoints": [{"timeUnixNano": "1763337600000000000", "asDouble": 1.5}]},
                        }
                    ],
                }
            ],
        }
    ]
}


class Context:
    """Lambda's."""

    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        """As Lambda's."""
        return 30_000


def test_the_function(example: Templates, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row and a reject: every call that the handler makes, and no other, is allowed to its role."""
    pytest.importorskip("aws_lambda_powertools")
    from lmdp.cloud.handler import open_function  # noqa: PLC0415 - needs what is asked for above

    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")
    bucket, stream = "lmdp-example-errors-000000000000-us-east-1", "lmdp-example-rows"
    _client("s3").create_bucket(Bucket=bucket)
    to = {"RoleARN": "arn:aws:iam::123456789012:role/x", "BucketARN": f"arn:aws:s3:::{bucket}"}
    _client("firehose").create_delivery_stream(DeliveryStreamName=stream, ExtendedS3DestinationConfiguration=to)
    calls.made.clear()
    import os  # noqa: PLC0415 - the environment as it is set above

    env = {**os.environ, "LMDP_DELIVERY_STREAM": stream, "LMDP_REJECTS_BUCKET": bucket, "LMDP_ORG_ID": "example"}
    function = open_function(env)
    summary = function([_message(json.dumps(BUNDLE).encode(), 1), _message(b"no bundle", 2)], Context())
    assert (summary["delivered"], summary["rejectObjects"]) == (1, 1)
    assert calls.made == _role(example["pipe"], "lmdp-example-rows")


def test_the_setup_function(example: Templates, calls: Calls) -> None:
    """It reads its secret, and calls nothing else of AWS."""
    from lmdp.snowflake.secrets import read_secret  # noqa: PLC0415 - boto3

    held = json.dumps({"user": "LM_SETUP_SVC", "private_key": "MA=="})
    _client("secretsmanager").create_secret(Name="setup", SecretString=held)
    calls.made.clear()
    assert read_secret("setup").user == "LM_SETUP_SVC"
    assert calls.made == _role(example["snowflake-setup"], "lmdp-example-snowflake-setup")


def test_the_watcher(full: Templates, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at once, whether or not something is there to see."""
    from infra.watcher.watcher import look  # noqa: PLC0415 - boto3

    from .test_watcher import ENV  # noqa: PLC0415 - as above

    arn = "arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/00000000-0000-0000-0000-000000000000"
    monkeypatch.setitem(REST, "kafka", "kafka:DescribeTopic")
    look({**ENV, "LMDP_PRIVATE_CA": arn}, _client, dt.datetime.now(dt.UTC))
    # MSK asks the cluster in the caller's name.
    granted = {
        action for action in _role(full["alarms"], "acme-lmdp-example-watcher") if "kafka-cluster:" not in action
    }
    assert calls.made == granted


def test_the_canary(example: Templates, calls: Calls) -> None:
    """Its secret, its row, its failed record and its note, and no other call."""
    from lmdp.snowflake import canary, canary_function, reconcile, secrets, verify  # noqa: PLC0415 - boto3

    bucket = "lmdp-example-errors-000000000000-us-east-1"
    _client("s3").create_bucket(Bucket=bucket)
    failed = {"errorCode": "x", "rawData": "e30=", "arrivalTimestamp": 1}
    _client("s3").put_object(Bucket=bucket, Key="snowflake-failed/one", Body=json.dumps(failed).encode())
    to = {"RoleARN": "arn:aws:iam::123456789012:role/x", "BucketARN": f"arn:aws:s3:::{bucket}"}
    _client("firehose").create_delivery_stream(DeliveryStreamName="rows", ExtendedS3DestinationConfiguration=to)
    held = json.dumps({"user": "LM_SETUP_SVC", "private_key": "MA=="})
    _client("secretsmanager").create_secret(Name="setup", SecretString=held)
    calls.made.clear()
    secrets.read_secret("setup")
    canary.firehose("rows")(b"{}")
    assert list(reconcile.failed_records(bucket, dt.datetime(2020, 1, 1, tzinfo=dt.UTC))) != []
    landed, well = canary.Arrival("quoted", landed=True), verify.Check("refreshes", ok=True, said="")
    canary_function.record([landed], [well], "/lmdp/example/state/canary-landed")
    assert calls.made == _role(example["delivery"], "lmdp-example-canary")


def _deployers_tools(settings: Any, tool: Any, bucket: str, authority: str, folder: Path) -> None:
    """What make deploy, make destroy, lmdp snowflake keypair and lmdp certs call."""
    from lmdp.certificates import private_ca  # noqa: PLC0415 - boto3
    from lmdp.errors import LmdpError  # noqa: PLC0415 - as above
    from lmdp.snowflake import canary, reconcile, secrets  # noqa: PLC0415 - as above

    manager = _client("secretsmanager")
    done: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], 0)
    runtime = tool.Runtime(run=lambda *_: done, capture=None, client=_client, ask=None, say=print, cloud=folder)
    with pytest.raises(LmdpError, match="make bootstrap"):
        tool.check_stacks(settings, runtime)
    tool.check_in_place(settings, runtime)
    tool.check_rules(settings, runtime)
    with pytest.raises(LmdpError):
        tool.check_secrets(settings, runtime)
    held = secrets.KeySecret("U", "MA==")
    secrets.write_current("lmdp-dev/snowflake-loader", held, manager)
    secrets.write_pending("lmdp-dev/snowflake-loader", held, manager)
    secrets.promote("lmdp-dev/snowflake-loader", secrets.read_versions("lmdp-dev/snowflake-loader", manager), manager)
    private_ca.write_secret("lmdp-dev/kafka-client", private_ca.issue(authority, "lmdp-dev"))
    canary.firehose("lmdp-dev-rows")(b"{}")
    assert list(reconcile.failed_records(bucket, dt.datetime(2020, 1, 1, tzinfo=dt.UTC))) != []
    tool.status(settings, runtime)
    tool.destroy(settings, runtime, tool.Options(yes=True))
    _deployers_checks(tool, runtime)


def _deployers_checks(tool: Any, runtime: Any) -> None:
    """What make deploy looks at between its steps; moto has no function, so that the canary's call is refused."""
    from .test_deploy import ACCOUNT, settings  # noqa: PLC0415 - only where the infrastructure's packages are

    secret = f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:given-AbCdEf"
    wanted = settings(
        LMDP_LOADER_SECRET_ARN=secret, LMDP_SETUP_SECRET_ARN=secret, LMDP_KAFKA_SECRET_ARN=secret,
        LMDP_MSK_CLUSTER_ARN="", LMDP_MSK_CREATE="true", LMDP_VPC_ENDPOINTS="lambda", LMDP_VPC_CIDRS="10.0.0.0/16",
        LMDP_PRIVATE_CA_ARN=(
            f"arn:aws:acm-pca:us-east-1:{ACCOUNT}:certificate-authority/00000000-0000-0000-0000-000000000000"
        ),
    )  # fmt: skip
    with pytest.raises(tool.LmdpError):
        tool.check_network(wanted, runtime)
    tool.adopt(wanted, runtime)
    tool.check_topic(wanted, runtime, tool.Options(topic_checked=True))
    tool.test_alarm(wanted, runtime)
    with pytest.raises(Exception, match="Function not found"):
        tool.canary(wanted, runtime)


def _authority() -> str:
    pca = _client("acm-pca")
    subject = {"KeyAlgorithm": "RSA_2048", "SigningAlgorithm": "SHA256WITHRSA", "Subject": {"CommonName": "CA"}}
    made = pca.create_certificate_authority(CertificateAuthorityConfiguration=subject, CertificateAuthorityType="ROOT")[
        "CertificateAuthorityArn"
    ]
    csr = pca.get_certificate_authority_csr(CertificateAuthorityArn=made)["Csr"]
    root = pca.issue_certificate(
        CertificateAuthorityArn=made,
        Csr=csr.encode(),
        SigningAlgorithm="SHA256WITHRSA",
        TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
        Validity={"Value": 10, "Type": "YEARS"},
    )["CertificateArn"]
    signed = pca.get_certificate(CertificateAuthorityArn=made, CertificateArn=root)["Certificate"]
    pca.import_certificate_authority_certificate(CertificateAuthorityArn=made, Certificate=signed.encode())
    return str(made)


def test_the_deployers_tools(calls: Calls, tmp_path: Path) -> None:
    """Secrets, certificates, the canary, the status: the deployer's own policy has those calls and no other.

    Assuming CDK's roles is CDK's own tool's work.
    """
    from .test_deploy import load_tool, settings  # noqa: PLC0415 - only where the infrastructure's packages are

    bucket = "lmdp-dev-errors-123456789012-us-east-1"
    s3, to = _client("s3"), {"RoleARN": "arn:aws:iam::123456789012:role/x", "BucketARN": f"arn:aws:s3:::{bucket}"}
    s3.create_bucket(Bucket=bucket)
    failed = {"errorCode": "x", "rawData": "e30=", "arrivalTimestamp": 1}
    s3.put_object(Bucket=bucket, Key="snowflake-failed/one", Body=json.dumps(failed).encode())
    _client("firehose").create_delivery_stream(
        DeliveryStreamName="lmdp-dev-rows", ExtendedS3DestinationConfiguration=to
    )
    for what in ("snowflake-loader", "snowflake-setup", "kafka-client"):
        _client("secretsmanager").create_secret(Name=f"lmdp-dev/{what}")
    _client("pipes").create_pipe(
        Name="lmdp-dev",
        RoleArn="arn:aws:iam::123456789012:role/pipe",
        Source="arn:aws:kafka:us-east-1:123456789012:cluster/example/00000000-0000-0000-0000-000000000000-1",
        Target="arn:aws:lambda:us-east-1:123456789012:function:rows",
    )
    topic = _client("sns").create_topic(Name="lmdp-dev-alerts")["TopicArn"]
    _client("cloudwatch").put_metric_alarm(
        AlarmName="lmdp-dev-watcher-errors", AlarmDescription="-", Namespace="n", MetricName="m", Period=60,
        Threshold=1, EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
    )  # fmt: skip
    assert topic
    authority = _authority()
    group = _client("ec2").create_security_group(GroupName="kafka", Description="of the cluster")["GroupId"]
    calls.made.clear()
    asked = settings(LMDP_SECURITY_GROUP_ID=group, LMDP_CLUSTER_RULES="true")
    _deployers_tools(asked, load_tool(), bucket, authority, tmp_path / "cloud")
    assert calls.made | {"sts:AssumeRole"} == _managed("LmdpDeployer", **OTHER_OPTIONS)


def test_the_operators_tools(calls: Calls) -> None:
    """Replay, the canary, the status and the reconciliation: the operator's own policy has those calls and no other."""
    from typer.testing import CliRunner  # noqa: PLC0415 - only where it is

    from lmdp.cli.main import app  # noqa: PLC0415 - as above
    from lmdp.snowflake import canary, reconcile  # noqa: PLC0415 - as above

    from .test_deploy import load_tool, settings  # noqa: PLC0415 - only where the infrastructure's packages are

    bucket = "lmdp-dev-errors-123456789012-us-east-1"
    s3, to = _client("s3"), {"RoleARN": "arn:aws:iam::123456789012:role/x", "BucketARN": f"arn:aws:s3:::{bucket}"}
    s3.create_bucket(Bucket=bucket)
    reject = {
        "errorCode": "Row.MissingField", "errorMessage": "orgId", "attemptsMade": 1, "arrivalTimestamp": 1,
        "attemptEndingTimestamp": 1, "rawData": base64.b64encode(json.dumps(BUNDLE).encode()).decode(),
        "source": {"topic": "t", "partition": 0, "offset": 1, "timestamp": 1, "key": None}, "datapoints": 1,
    }  # fmt: skip
    s3.put_object(Bucket=bucket, Key="rejects/one.ndjson", Body=json.dumps(reject).encode())
    s3.put_object(Bucket=bucket, Key="snowflake-failed/one", Body=b'{"errorCode": "x", "arrivalTimestamp": 1}')
    _client("firehose").create_delivery_stream(
        DeliveryStreamName="lmdp-dev-rows", ExtendedS3DestinationConfiguration=to
    )
    _client("pipes").create_pipe(
        Name="lmdp-dev",
        RoleArn="arn:aws:iam::123456789012:role/pipe",
        Source="arn:aws:kafka:us-east-1:123456789012:cluster/example/00000000-0000-0000-0000-000000000000-1",
        Target="arn:aws:lambda:us-east-1:123456789012:function:rows",
    )
    calls.made.clear()
    tool, day = load_tool(), dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    source = f"s3://{bucket}/rejects/"
    replayed = CliRunner().invoke(
        app, ["replay", source, "--to", "firehose", "--stream", "lmdp-dev-rows", "--org-id", "example"]
    )
    assert replayed.exit_code == 0, replayed.output
    runtime = tool.Runtime(run=None, capture=None, client=_client, ask=None, say=print, cloud=None)
    with pytest.raises(Exception, match="Function not found"):
        tool.canary(settings(), runtime)
    tool.status(settings(), runtime)
    canary.firehose("lmdp-dev-rows")(b"{}")
    reconcile.delivered_by_hour("lmdp-dev", day, day + dt.timedelta(hours=1))
    list(reconcile.failed_records(bucket, dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))
    # The canary's function has rights of its own.
    by_hand = {action for action, mark in _runbook() if not mark and not action.startswith(BESIDE)}
    assert calls.made | {"lambda:InvokeFunction"} | by_hand == _managed("LmdpOperator", **OTHER_OPTIONS)


def test_the_runbook_says_who_may_run_its_commands() -> None:
    """A command without a mark is the operator's; a mark names who else runs it, as the two policies have it."""
    from infra.bootstrap import bootstrap_policies  # noqa: PLC0415 - only where the infrastructure's packages are

    from .test_execution import settings  # noqa: PLC0415 - as above

    policies = {one.what: one.document for one in bootstrap_policies(settings(**OTHER_OPTIONS))}
    by_policy = {
        action: mark
        for what, mark in (("LmdpDeployer", "deployer"), ("LmdpOperator", ""))
        for statement in policies[what]["Statement"]
        for action in listed(statement["Action"])
    }
    found = _runbook()
    assert {action for action, _ in found} >= {"pipes:StartPipe", "pipes:StopPipe", "logs:FilterLogEvents"}
    assert found == [(action, by_policy.get(action, "administrator")) for action, _ in found]
