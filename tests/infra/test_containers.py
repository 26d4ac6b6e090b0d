"""The receiver and the direct writer on ECS Fargate: what their stack makes, and which settings it wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmdp.errors import SettingsError
from templates import of_type, only, props, role_statements, text

from .conftest import OTHER_OPTIONS, Templates, example_values, synthesised

HERE = "us-east-1:000000000000"


def _task(full: Templates, service: str) -> dict[str, Any]:
    return props(only(full["containers"], "AWS::ECS::TaskDefinition", Family=f"lmdp-example-{service}"))


def _containers(full: Templates, service: str) -> dict[str, dict[str, Any]]:
    return {one["Name"]: one for one in _task(full, service)["ContainerDefinitions"]}


def test_nothing_runs_in_containers_unasked(example: Templates) -> None:
    """No stack, secret, alarm or log group of them."""
    assert "containers" not in example
    assert "receive" not in json.dumps({**example, "base": of_type(example["base"], "AWS::Logs::LogGroup")})


@pytest.mark.parametrize("service", ["receive", "write"])
def test_a_task_is_locked(full: Templates, service: str) -> None:
    """Every container runs by digest as nobody, on a read-only root, without capabilities, and logs to our group."""
    task = _task(full, service)
    assert (task["NetworkMode"], task["RequiresCompatibilities"]) == ("awsvpc", ["FARGATE"])
    for one in task["ContainerDefinitions"]:
        assert "@sha256:" in one["Image"]
        assert (one["User"], one["ReadonlyRootFilesystem"]) == ("10001:10001", True)
        assert one["LinuxParameters"] == {"Capabilities": {"Drop": ["ALL"]}}
        assert one["LogConfiguration"]["Options"]["awslogs-group"] == f"/aws/ecs/lmdp-example-{service}"
    main = _containers(full, service)["lmdp"]
    assert main["Essential"] is True
    assert "healthcheck.py" in main["HealthCheck"]["Command"][-1]
    assert {"ContainerName": "files", "Condition": "SUCCESS"} in main["DependsOn"]


@pytest.mark.parametrize("service", ["receive", "write"])
def test_the_process_that_serves_has_no_secret(full: Templates, service: str) -> None:
    """Only the container that writes files, and ends, has them as variables."""
    having = {name for name, one in _containers(full, service).items() if "Secrets" in one}
    assert having == {"files"}
    assert _containers(full, service)["files"]["Essential"] is False


def test_each_secret_is_the_services_own(full: Templates) -> None:
    """A certificate each, the tokens of the receiver, and Firehose's key of the writer."""
    found = {
        service: {one["Name"]: text(one["ValueFrom"]) for one in _containers(full, service)["files"]["Secrets"]}
        for service in ("receive", "write")
    }
    assert found == {
        "receive": {"KAFKA": "<auth:KafkaReceive>", "TOKENS": "<auth:ReceiveTokens>"},
        "write": {"KAFKA": "<auth:KafkaWrite>", "SNOWFLAKE": f"arn:aws:secretsmanager:{HERE}:secret:loader-AbCdEf"},
    }


def test_settings_that_a_command_reads(full: Templates) -> None:
    """Each variable is one that lmdp reads; files are on a volume that is mounted."""
    from lmdp.support.settings_reader import known  # noqa: PLC0415 - as its neighbours

    for service in ("receive", "write"):
        main = _containers(full, service)["lmdp"]
        given = {one["Name"]: one["Value"] for one in main["Environment"]}
        assert set(given) - {"TMPDIR", "AWS_REGION"} <= known()
        mounted = [one["ContainerPath"] for one in main["MountPoints"]]
        files = [value for value in given.values() if value.startswith("/")]
        assert all(any(value.startswith(path) for path in mounted) for value in files)
    assert _containers(full, "write")["lmdp"]["Command"][-2:] == [
        "--rejects", "s3://lmdp-example-errors-000000000000-us-east-1/rejects",
    ]  # fmt: skip
    assert {one["Name"]: one["Value"] for one in _containers(full, "write")["lmdp"]["Environment"]}.items() >= {
        "AWS_REGION": "us-east-1",
        "LMDP_TOPIC": "lm.metrics.received", "LMDP_TENANT_HEADER": "lmdp-tenant",
    }.items()  # fmt: skip


def test_secrets_of_all_services_are_there_with_one(tmp_path: Path) -> None:
    """A secret that left its stack would keep its name, and the service could not come back."""
    made = synthesised(tmp_path, {**example_values(), **WANTED, **SERVERS, "LMDP_CONTAINERS": "receive"})
    assert {props(one)["Name"] for one in of_type(made["auth"], "AWS::SecretsManager::Secret")} == {
        f"lmdp-example/{what}" for what in ("kafka-client", "kafka-receive", "receive-tokens", "kafka-write")
    }
    assert only(made["auth"], "AWS::SSM::Parameter", Name="/lmdp/example/container-secrets")


def test_roles_may_do_what_they_need(full: Templates) -> None:
    """The receiver has none; the writer's writes rejects; each start role reads its own secrets and image."""
    assert "TaskRoleArn" not in _task(full, "receive")
    assert role_statements(full["containers"], "acme-lmdp-example-write") == [
        "WriteRejects Allow: s3:PutObject on arn:aws:s3:::lmdp-example-errors-000000000000-us-east-1/rejects/*",
        ("RejectsKey Allow: kms:Decrypt kms:GenerateDataKey on <storage:DataKey> "
         "when kms:EncryptionContext:aws:s3:arn kms:ViaService"),
    ]  # fmt: skip
    assert role_statements(full["containers"], "acme-lmdp-example-receive-start") == [
        "SignInToEcr Allow: ecr:GetAuthorizationToken on *",
        f"PullImage Allow: ecr:BatchGetImage ecr:GetDownloadUrlForLayer on arn:aws:ecr:{HERE}:repository/lmdp",
        "ReadSecrets Allow: secretsmanager:GetSecretValue on <auth:KafkaReceive> <auth:ReceiveTokens>",
        "SecretKeys Allow: kms:Decrypt on <auth:ContainersKey> when kms:ViaService",
        (f"WriteLogs Allow: logs:CreateLogStream logs:PutLogEvents on arn:aws:logs:{HERE}:log-group:/aws/ecs/"
         "lmdp-example-receive:*"),
    ]  # fmt: skip


def test_senders_reach_the_receiver_through_tls_alone(full: Templates) -> None:
    """ACM's certificate in front, TLS to the tasks, health by HTTPS; ranges as configured; tasks let only it in."""
    stack = full["containers"]
    listener, targets = props(only(stack, "AWS::ElasticLoadBalancingV2::Listener")), props(
        only(stack, "AWS::ElasticLoadBalancingV2::TargetGroup")
    )  # fmt: skip
    assert (listener["Protocol"], listener["Port"], targets["Protocol"], targets["HealthCheckProtocol"]) == (
        "TLS", 443, "TLS", "HTTPS",
    )  # fmt: skip
    assert listener["Certificates"] == [{"CertificateArn": OTHER_OPTIONS["LMDP_RECEIVE_CERTIFICATE_ARN"]}]
    balancer = props(only(stack, "AWS::ElasticLoadBalancingV2::LoadBalancer"))
    attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}
    # The stack's termination protection is enough: a balancer's own would keep a rollback from deleting it.
    assert (balancer["Scheme"], attributes) == (
        "internal",
        {
            "access_logs.s3.enabled": "true",
            "access_logs.s3.bucket": "lmdp-example-access-logs-000000000000-us-east-1",
            "access_logs.s3.prefix": "receive",
            "load_balancing.cross_zone.enabled": "true",
        },
    )
    front = props(only(stack, "AWS::EC2::SecurityGroup", GroupName="lmdp-example-receive"))
    assert [(one["CidrIp"], one["FromPort"]) for one in front["SecurityGroupIngress"]] == [("10.30.0.0/16", 443)]
    (let_in,) = of_type(stack, "AWS::EC2::SecurityGroupIngress")
    assert text(props(let_in)["SourceSecurityGroupId"], stack) == "<AWS::EC2::SecurityGroup>"


def test_services_follow_one_another(full: Templates) -> None:
    """A new receiver is there before the old one goes; the writer's old task ends before the new one begins."""
    found = {
        props(one)["ServiceName"]: props(one)["DeploymentConfiguration"]
        for one in of_type(full["containers"], "AWS::ECS::Service")
    }
    assert {name: (one["MinimumHealthyPercent"], one["MaximumPercent"]) for name, one in found.items()} == {
        "receive": (100, 200),
        "write": (0, 100),
    }
    assert all(one["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True} for one in found.values())
    for one in of_type(full["containers"], "AWS::ECS::Service"):
        network = props(one)["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert (network["AssignPublicIp"], network["SecurityGroups"][0]) == ("DISABLED", "sg-00000000000000000")


def test_a_secret_of_ours_has_a_key_of_its_own(tmp_path: Path) -> None:
    """The writer reads two secrets with a key each, where the loader's was made here."""
    made = synthesised(tmp_path, {**example_values(), **WANTED, **SERVERS})
    (keys,) = [one for one in role_statements(made["containers"], "lmdp-example-write-start") if "SecretKeys" in one]
    assert keys == "SecretKeys Allow: kms:Decrypt on <auth:ContainersKey> <snowflake-auth:Key> when kms:ViaService"


SERVERS = {"LMDP_BOOTSTRAP_SERVERS": "b-1.example.com:9094"}
WANTED = {name: value for name, value in OTHER_OPTIONS.items() if "CONTAINER" in name or "RECEIVE" in name}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"LMDP_CONTAINERS": "run"}, "LMDP_CONTAINERS has 'run'"),
        ({"LMDP_CONTAINER_IMAGE": "lmdp:latest"}, "an image in ECR by its digest"),
        ({"LMDP_CONTAINER_IMAGE": ""}, "LMDP_CONTAINER_IMAGE is not set"),
        ({"LMDP_BOOTSTRAP_SERVERS": ""}, "LMDP_BOOTSTRAP_SERVERS is not set"),
        ({"LMDP_RECEIVE_TOPIC": ""}, "LMDP_WRITE_TOPIC is lm.metrics.otlp, which the pipe reads"),
        ({"LMDP_RECEIVE_CERTIFICATE_ARN": ""}, "LMDP_RECEIVE_CERTIFICATE_ARN is not set"),
        (
            {"LMDP_RECEIVE_CERTIFICATE_ARN": WANTED["LMDP_RECEIVE_CERTIFICATE_ARN"].replace("us-east-1", "eu-west-1")},
            "LMDP_RECEIVE_CERTIFICATE_ARN is in eu-west-1, and LMDP_AWS_REGION is us-east-1",
        ),
        ({"LMDP_RECEIVE_TOPIC": "größe"}, "LMDP_RECEIVE_TOPIC is 'größe'; it is a Kafka topic's name"),
        ({"LMDP_RECEIVE_CIDRS": ""}, "LMDP_RECEIVE_CIDRS is not set"),
        ({"LMDP_RECEIVE_CIDRS": "10.0.0.1/8"}, "LMDP_RECEIVE_CIDRS has '10.0.0.1/8'"),
        ({"LMDP_RECEIVE_TASKS": "0"}, "LMDP_RECEIVE_TASKS is '0'"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, str], fault: str) -> None:
    """Before anything is synthesised."""
    from infra.settings import Settings  # noqa: PLC0415 - only where the infrastructure's packages are

    assert Settings.read("example", {**example_values(), **WANTED, **SERVERS}).containers.services
    with pytest.raises(SettingsError, match=fault):
        Settings.read("example", {**example_values(), **WANTED, **SERVERS, **changed})
