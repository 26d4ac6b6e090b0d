"""DeliveryStack: Firehose, which puts each row into Snowflake or the error bucket, and the canary that tries it.

Where the function writes straight to Snowflake, it has the canary alone.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from constructs import Construct

from infra.canary import Backing, add_canary
from infra.parts import USE_KEY, allow, bucket_key_use, secret_key_use, service_role
from infra.people import FAILED
from infra.settings import Settings
from infra.stacks.base import STREAM_LOGS
from lmdp.cost.capacity import advice

_Stream = firehose.CfnDeliveryStream
# The backup cannot be written without buffering: 60 s, 1 MiB at the least.
# https://docs.aws.amazon.com/firehose/latest/dev/create-configure-backup.html
_BACKUP_SECONDS = 60
_BACKUP_MIB = 5
_DAY = "year=!{timestamp:yyyy}/month=!{timestamp:MM}/day=!{timestamp:dd}/"


class DeliveryStack(cdk.Stack):
    """The delivery to Snowflake: `canary`, and `stream`, None where rows go straight there."""

    def __init__(
        self, scope: Construct, id_: str, *, settings: Settings, env: cdk.Environment, backing: Backing, stub: bool
    ) -> None:
        """Make it."""
        super().__init__(scope, id_, env=env, description="lmdp: Firehose to Snowflake")
        self.stream = None if settings.is_direct else _stream(self, settings, backing)
        self.canary = add_canary(self, settings=settings, backing=backing, stub=stub)
        cdk.CfnOutput(self, "PlannedLoad", value=advice(settings.traffic, settings.pipe.batch, settings.names.region))


def _stream(stack: DeliveryStack, settings: Settings, backing: Backing) -> firehose.CfnDeliveryStream:
    role = _role(stack, settings, backing)
    logging = {name: _logging(settings, name) for name in STREAM_LOGS}
    stream = _Stream(
        stack,
        "Stream",
        delivery_stream_name=settings.names.stream,
        delivery_stream_type="DirectPut",
        delivery_stream_encryption_configuration_input=_Stream.DeliveryStreamEncryptionConfigurationInputProperty(
            key_type="CUSTOMER_MANAGED_CMK", key_arn=backing.data_key.key_arn
        ),
        snowflake_destination_configuration=_destination(settings, backing, role, logging),
    )
    # A stream that another revision replaces still delivers what it took; AWS promises nothing for one in deletion:
    # https://docs.aws.amazon.com/firehose/latest/APIReference/API_DeleteDeliveryStream.html
    stream.cfn_options.update_replace_policy = cdk.CfnDeletionPolicy.RETAIN
    stream.cfn_options.deletion_policy = cdk.CfnDeletionPolicy.DELETE
    return stream


def _logging(settings: Settings, name: str) -> firehose.CfnDeliveryStream.CloudWatchLoggingOptionsProperty:
    return _Stream.CloudWatchLoggingOptionsProperty(
        enabled=True, log_group_name=settings.names.log_group("firehose"), log_stream_name=name
    )


def _destination(
    settings: Settings,
    backing: Backing,
    role: iam.Role,
    logging: dict[str, firehose.CfnDeliveryStream.CloudWatchLoggingOptionsProperty],
) -> firehose.CfnDeliveryStream.SnowflakeDestinationConfigurationProperty:
    delivery, snowflake = settings.delivery, settings.snowflake
    private = delivery.private_link
    return _Stream.SnowflakeDestinationConfigurationProperty(
        account_url=f"https://{delivery.host}",
        database=snowflake.database,
        schema=snowflake.schema,
        table="ROW_EVENTS",
        data_loading_option="JSON_MAPPING",
        snowflake_role_configuration=_Stream.SnowflakeRoleConfigurationProperty(
            enabled=True, snowflake_role=snowflake.firehose_role
        ),
        secrets_manager_configuration=_Stream.SecretsManagerConfigurationProperty(
            enabled=True, secret_arn=backing.secret.secret_arn, role_arn=role.role_arn
        ),
        role_arn=role.role_arn,
        retry_options=_Stream.SnowflakeRetryOptionsProperty(duration_in_seconds=delivery.retry_seconds),
        buffering_hints=_Stream.SnowflakeBufferingHintsProperty(
            interval_in_seconds=delivery.buffer_seconds, size_in_m_bs=delivery.buffer_mib
        ),
        s3_backup_mode="FailedDataOnly",
        s3_configuration=_backup(backing, role, logging["backup"]),
        cloud_watch_logging_options=logging["snowflake"],
        snowflake_vpc_configuration=_Stream.SnowflakeVpcConfigurationProperty(private_link_vpce_id=private)
        if private
        else None,
    )


def _backup(
    backing: Backing, role: iam.Role, logging: firehose.CfnDeliveryStream.CloudWatchLoggingOptionsProperty
) -> firehose.CfnDeliveryStream.S3DestinationConfigurationProperty:
    """Failed records. Which of the two prefixes is used is not documented for Snowflake, so both begin alike."""
    return _Stream.S3DestinationConfigurationProperty(
        bucket_arn=backing.bucket.bucket_arn,
        role_arn=role.role_arn,
        prefix=f"{FAILED}/{_DAY}",
        error_output_prefix=FAILED + "/!{firehose:error-output-type}/" + _DAY,
        compression_format="GZIP",
        buffering_hints=_Stream.BufferingHintsProperty(interval_in_seconds=_BACKUP_SECONDS, size_in_m_bs=_BACKUP_MIB),
        encryption_configuration=_Stream.EncryptionConfigurationProperty(
            kms_encryption_config=_Stream.KMSEncryptionConfigProperty(awskms_key_arn=backing.data_key.key_arn)
        ),
        cloud_watch_logging_options=logging,
    )


def _role(stack: DeliveryStack, settings: Settings, backing: Backing) -> iam.Role:
    """Make Firehose's role: https://docs.aws.amazon.com/firehose/latest/dev/controlling-access.html."""
    names = settings.names
    bucket = names.error_bucket_arn
    statements = [
        allow("BackupBucket", ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"], [bucket]),
        allow("BackupObjects", ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"], [f"{bucket}/*"]),
        allow("BackupKey", USE_KEY, [backing.data_key.key_arn], conditions=bucket_key_use(names)),
        allow("ReadSecret", ["secretsmanager:GetSecretValue"], [backing.secret.secret_arn]),
        allow("WriteLogs", ["logs:PutLogEvents"], [names.arn("logs", f"log-group:{names.log_group('firehose')}:*")]),
        *secret_key_use(names, backing.secret_keys),
    ]
    return service_role(
        stack,
        "Role",
        settings=settings,
        what="firehose",
        service="firehose.amazonaws.com",
        about="Reads the loader's secret and writes failed records of lmdp",
        statements=statements,
        # The condition that Firehose's page on access names for this role.
        conditions={"StringEquals": {"sts:ExternalId": names.account}},
    )
