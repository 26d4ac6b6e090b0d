"""PipeStack: the pipe from Kafka, and the function that it calls, which sends rows to Firehose or to Snowflake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_pipes as pipes
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.assets import HANDLER_ZIP, code
from infra.parts import (
    REJECTS_PREFIX,
    allow,
    from_here,
    secret_key_use,
    service_function,
    service_role,
    write_logs,
    write_rejects,
)
from infra.private import enter_vpc, interfaces
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Source:
    """The cluster, and the secret that opens it, with its keys."""

    cluster_arn: str
    secret: secretsmanager.ISecret
    secret_keys: Sequence[kms.IKey]


@dataclass(frozen=True, slots=True)
class Sink:
    """The bucket of rejects, and its key; the direct writer's secret, and its keys."""

    errors: s3.IBucket
    data_key: kms.IKey
    writer: secretsmanager.ISecret
    writer_keys: Sequence[kms.IKey]


class PipeStack(cdk.Stack):
    """The pipe and its function; it exposes `function` and `pipe`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: Settings,
        env: cdk.Environment,
        source: Source,
        sink: Sink,
        stub: bool,
    ) -> None:
        """Make it."""
        super().__init__(scope, id_, env=env, description=f"lmdp: Kafka to {settings.pipe.writer.title()}")
        self.function = _function(self, settings, sink, stub=stub)
        role = _pipe_role(self, settings, source, self.function)
        self.pipe = _pipe(self, settings, source, role.role_arn, self.function.function_arn)


def function_environment(settings: Settings, bucket: str, key_arn: str, writer_secret: str) -> dict[str, str]:
    """The settings that the handler reads."""
    snowflake = settings.snowflake
    through = {
        "LMDP_DELIVERY_STREAM": settings.names.stream,
        "LMDP_FIREHOSE_CONCURRENCY": str(settings.pipe.firehose_concurrency),
    }
    direct = {
        "LMDP_WRITER": "snowflake",
        "SNOWFLAKE_ACCOUNT_URL": settings.delivery.setup_host,
        "SNOWFLAKE_DATABASE": snowflake.database,
        "SNOWFLAKE_SCHEMA": snowflake.schema,
        "SNOWFLAKE_WRITER_USER": snowflake.firehose_user,
        "SNOWFLAKE_WRITER_KEY_SECRET": writer_secret,
    }
    texts = {
        **(direct if settings.is_direct else through),
        "LMDP_REJECTS_BUCKET": bucket,
        "LMDP_REJECTS_PREFIX": REJECTS_PREFIX,
        "LMDP_REJECTS_KMS_KEY": key_arn,
        "SNOWFLAKE_IDENTIFIERS": settings.snowflake.identifiers,
        "POWERTOOLS_SERVICE_NAME": settings.names.prefix,
        "POWERTOOLS_METRICS_NAMESPACE": "lmdp",
        "POWERTOOLS_LOG_LEVEL": "INFO",
    }
    tenant = {"LMDP_ORG_ID": settings.org_id, "LMDP_TENANT_HEADER": settings.pipe.tenant_header}
    return texts | {name: value for name, value in tenant.items() if value}


def _function(stack: PipeStack, settings: Settings, sink: Sink, *, stub: bool) -> lambda_.Function:
    names = settings.names
    direct = [
        allow("ReadWriterKey", ["secretsmanager:GetSecretValue"], [sink.writer.secret_arn]),
        *secret_key_use(names, sink.writer_keys),
        *interfaces(settings),
    ]
    statements = [
        *(direct if settings.is_direct else [allow("SendRows", ["firehose:PutRecordBatch"], [names.stream_arn])]),
        *write_rejects(names, sink.data_key),
    ]
    function = service_function(
        stack,
        "Function",
        settings=settings,
        role_id="FunctionRole",
        role="rows",
        about=f"Sends rows to {settings.pipe.writer.title()} and writes rejects of lmdp",
        statements=statements,
        log="function",
        function_name=names.function,
        description="Kafka messages to rows, for the pipe",
        code=code(HANDLER_ZIP, stub=stub),
        handler="lmdp.cloud.handler.handler",
        memory_size=settings.pipe.memory,
        timeout=cdk.Duration.seconds(settings.pipe.timeout),
        reserved_concurrent_executions=settings.pipe.reserved,
        environment=function_environment(
            settings, sink.errors.bucket_name, sink.data_key.key_arn, sink.writer.secret_arn
        ),
    )
    if settings.is_direct:
        enter_vpc(function, settings)
    return function


def _pipe_role(stack: PipeStack, settings: Settings, source: Source, function: lambda_.Function) -> iam.Role:
    """Make the role of a pipe from MSK: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-permissions.html."""
    names, kafka = settings.names, settings.kafka
    subnets = [names.arn("ec2", f"subnet/{subnet}") for subnet in kafka.subnet_ids]
    interface = names.arn("ec2", "network-interface/*")
    statements = [
        allow("FindCluster", ["kafka:DescribeClusterV2"], [source.cluster_arn]),
        allow("ReadSecret", ["secretsmanager:GetSecretValue"], [source.secret.secret_arn]),
        allow(
            "MakeInterfaces",
            ["ec2:CreateNetworkInterface"],
            [interface, *subnets, names.arn("ec2", f"security-group/{kafka.security_group}")],
        ),
        allow(
            "RemoveInterfaces",
            ["ec2:DeleteNetworkInterface"],
            [interface],
            conditions={"ArnEquals": {"ec2:Vpc": names.arn("ec2", f"vpc/{kafka.vpc_id}")}},
        ),
        # None of these knows a resource: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonmanagedstreamingforapachekafka.html
        allow(
            "LookAtNetwork",
            [
                *(f"ec2:Describe{what}" for what in ("NetworkInterfaces", "Vpcs", "Subnets", "SecurityGroups")),
                "kafka:GetBootstrapBrokers",
            ],
            ["*"],
        ),
        allow("CallFunction", ["lambda:InvokeFunction"], [function.function_arn]),
        write_logs(names.log_group("pipe"), names),
        *secret_key_use(names, source.secret_keys),
    ]
    return service_role(
        stack,
        "PipeRole",
        settings=settings,
        what="pipe",
        service="pipes.amazonaws.com",
        about="Reads Kafka and calls the function of lmdp",
        statements=statements,
        conditions=from_here(names, names.pipe_arns),
    )


def _pipe(stack: PipeStack, settings: Settings, source: Source, role_arn: str, function_arn: str) -> pipes.CfnPipe:
    kafka, pipe = settings.kafka, settings.pipe
    return pipes.CfnPipe(
        stack,
        "Pipe",
        name=settings.names.pipe,
        description="Kafka to rows of lmdp",
        role_arn=role_arn,
        desired_state="RUNNING",
        source=source.cluster_arn,
        source_parameters=pipes.CfnPipe.PipeSourceParametersProperty(
            managed_streaming_kafka_parameters=pipes.CfnPipe.PipeSourceManagedStreamingKafkaParametersProperty(
                topic_name=kafka.topic,
                consumer_group_id=kafka.group,
                # LATEST may miss messages while a pipe is made or changed.
                starting_position="TRIM_HORIZON",
                batch_size=pipe.batch,
                maximum_batching_window_in_seconds=pipe.window,
                credentials=pipes.CfnPipe.MSKAccessCredentialsProperty(
                    client_certificate_tls_auth=source.secret.secret_arn
                ),
            )
        ),
        target=function_arn,
        target_parameters=pipes.CfnPipe.PipeTargetParametersProperty(
            lambda_function_parameters=pipes.CfnPipe.PipeTargetLambdaFunctionParametersProperty(
                invocation_type="REQUEST_RESPONSE"
            )
        ),
        # Without include_execution_data: messages do not belong in logs.
        log_configuration=pipes.CfnPipe.PipeLogConfigurationProperty(
            level="ERROR",
            cloudwatch_logs_log_destination=pipes.CfnPipe.CloudwatchLogsLogDestinationProperty(
                log_group_arn=settings.names.arn("logs", f"log-group:{settings.names.log_group('pipe')}")
            ),
        ),
    )
