"""Tasks of ECS: containers that run as nobody on a read-only root, what they read, and the roles that start them.

The first container of a task turns secrets into files, so that no secret is in a variable of the process that serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.parts import allow, from_here, service_role, via, write_logs
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.stacks.auth import AuthStack
    from infra.stacks.snowflake_auth import SnowflakeAuthStack

USER: Final = "10001"
HOME: Final = "/var/lib/lmdp"
_PYTHON: Final = ("/opt/lmdp/bin/python", "-I")
# The receiver answers what is under way within 8 s; the writer waits 6 s for what Snowflake has accepted.
_STOP_SECONDS: Final = 30
# vCPU units and MiB: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
_SIZES: Final = {"receive": ("1024", "2048"), "write": ("1024", "2048")}

_Environment = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets that tasks read, by the variable that a task has them in, and the keys that these have."""

    secrets: Mapping[str, Mapping[str, secretsmanager.ISecret]]
    keys: Mapping[str, Sequence[kms.IKey]]

    @classmethod
    def of(cls, auth: AuthStack, snowflake: SnowflakeAuthStack) -> Keys:
        """Return those of the stacks that have them."""
        own = auth.containers
        secrets = {
            "receive": {"KAFKA": own.get("kafka-receive"), "TOKENS": own.get("receive-tokens")},
            "write": {"KAFKA": own.get("kafka-write"), "SNOWFLAKE": snowflake.loader},
        }
        return cls(
            {service: {name: one for name, one in of.items() if one} for service, of in secrets.items()},
            {"receive": auth.containers_keys, "write": [*auth.containers_keys, *snowflake.loader_keys]},
        )


def task_definition(
    stack: Construct,
    settings: Settings,
    service: str,
    secrets: Keys,
    containers: Sequence[ecs.CfnTaskDefinition.ContainerDefinitionProperty],
    role: iam.IRole | None = None,
) -> ecs.CfnTaskDefinition:
    """Return a task whose first container makes files of secrets; `role` is the task's own."""
    cpu, memory = _SIZES[service]
    found = secrets.secrets[service]
    files = container(settings, service, "files", entry=[*_PYTHON, "/opt/lmdp/secret_files.py"], secrets=found)
    start = _start_role(stack, settings, service, secrets)
    home = ecs.CfnTaskDefinition.VolumeProperty(name="home", host=ecs.CfnTaskDefinition.HostVolumePropertiesProperty())
    return ecs.CfnTaskDefinition(
        stack,
        f"{service.title()}Task",
        family=f"{settings.names.prefix}-{service}",
        requires_compatibilities=["FARGATE"],
        network_mode="awsvpc",
        cpu=cpu,
        memory=memory,
        runtime_platform=ecs.CfnTaskDefinition.RuntimePlatformProperty(
            cpu_architecture=settings.containers.architecture, operating_system_family="LINUX"
        ),
        execution_role_arn=start.role_arn,
        task_role_arn=role.role_arn if role else None,
        container_definitions=[files, *containers],
        volumes=[home],
    )


def _start_role(stack: Construct, settings: Settings, service: str, secrets: Keys) -> iam.Role:
    """Return the role that starts a task: it pulls the image, reads the secrets, and writes the log."""
    names, found = settings.names, secrets.secrets[service]
    host, _, repository = settings.containers.image.partition("@")[0].partition("/")
    account, _, _, region, *_ = host.split(".")
    image = names.arn("ecr", f"repository/{repository}", region=region, account=account)
    pull = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
    keys = [key.key_arn for key in secrets.keys[service]]
    return service_role(
        stack,
        f"{service.title()}StartRole",
        settings=settings,
        what=f"{service}-start",
        service="ecs-tasks.amazonaws.com",
        about=f"Starts the tasks of lmdp's {service} service",
        statements=[
            # It knows no resource:
            # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
            allow("SignInToEcr", ["ecr:GetAuthorizationToken"], ["*"]),
            allow("PullImage", pull, [image]),
            allow("ReadSecrets", ["secretsmanager:GetSecretValue"], [one.secret_arn for one in found.values()]),
            allow("SecretKeys", ["kms:Decrypt"], keys, conditions=via(names, "secretsmanager")),
            write_logs(names.log_group(service), names),
        ],
        conditions=from_tasks(settings),
    )


def from_tasks(settings: Settings) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html."""
    return from_here(settings.names, settings.names.arn("ecs", "*"))


def container(  # noqa: PLR0913 - each is a part of a container
    settings: Settings,
    service: str,
    name: str,
    *,
    command: Sequence[str] = (),
    entry: Sequence[str] = (),
    environment: _Environment | None = None,
    secrets: Mapping[str, secretsmanager.ISecret] | None = None,
    after: Sequence[str] = (),
    ports: Sequence[int] = (),
) -> ecs.CfnTaskDefinition.ContainerDefinitionProperty:
    """Return a container that runs as nobody, on a read-only root; `environment` makes it the one that serves."""
    task = ecs.CfnTaskDefinition
    kafka = {
        "LMDP_BOOTSTRAP_SERVERS": ",".join(settings.containers.servers),
        "LMDP_KAFKA_CERT": f"{HOME}/keys/kafka.pem",
        "LMDP_KAFKA_KEY": f"{HOME}/keys/kafka.key",
    }
    variables = {"TMPDIR": HOME, **({**kafka, **environment} if environment else {})}
    health = task.HealthCheckProperty(
        command=["CMD", *_PYTHON, "/opt/lmdp/healthcheck.py"], interval=30, timeout=10, retries=3, start_period=90
    )
    return task.ContainerDefinitionProperty(
        name=name,
        image=settings.containers.image,
        essential=environment is not None,
        entry_point=list(entry) or None,
        command=list(command) or None,
        environment=[task.KeyValuePairProperty(name=key, value=value) for key, value in sorted(variables.items())],
        secrets=[task.SecretProperty(name=key, value_from=one.secret_arn) for key, one in (secrets or {}).items()]
        or None,
        depends_on=[task.ContainerDependencyProperty(container_name=one, condition="SUCCESS") for one in after] or None,
        health_check=health if environment else None,
        port_mappings=[task.PortMappingProperty(container_port=port) for port in ports] or None,
        user=f"{USER}:{USER}",
        readonly_root_filesystem=True,
        linux_parameters=task.LinuxParametersProperty(capabilities=task.KernelCapabilitiesProperty(drop=["ALL"])),
        stop_timeout=_STOP_SECONDS if environment else None,
        ulimits=[task.UlimitProperty(name="nofile", soft_limit=8192, hard_limit=8192)],
        mount_points=[task.MountPointProperty(container_path=HOME, source_volume="home", read_only=False)],
        log_configuration=task.LogConfigurationProperty(
            log_driver="awslogs",
            options={
                "awslogs-group": settings.names.log_group(service),
                "awslogs-region": settings.names.region,
                "awslogs-stream-prefix": name,
                # A log that cannot be written never stops a service.
                "mode": "non-blocking",
                "max-buffer-size": "4m",
            },
        ),
    )
