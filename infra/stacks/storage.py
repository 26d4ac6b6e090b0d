"""StorageStack: the error bucket, which holds what could not become a row. It outlives its stack."""

from __future__ import annotations

from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.parts import KEPT, allow, customer_key, from_here
from infra.settings import Settings

_NONCURRENT_DAYS = 30
_ABORT_DAYS = 7


class StorageStack(cdk.Stack):
    """The bucket `errors`, and `key`, the key of everything that holds rows."""

    def __init__(self, scope: Construct, id_: str, *, settings: Settings, env: cdk.Environment) -> None:
        """Make it."""
        super().__init__(scope, id_, env=env, description="lmdp: the error bucket")
        names, days = settings.names, settings.watch.error_days
        self.key = customer_key(self, "DataKey", alias=f"{names.prefix}-data", about="Rows, rejects, failed records")
        access_logs = _bucket(self, "AccessLogs", name=names.log_bucket, days=days, key=None, access_logs=None)
        if "receive" in settings.containers.services:
            _let_balancer_log(access_logs, settings)
        self.errors = _bucket(self, "Errors", name=names.error_bucket, days=days, key=self.key, access_logs=access_logs)


def _let_balancer_log(bucket: s3.Bucket, settings: Settings) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-access-logs.html."""
    names = settings.names
    source = from_here(names, names.arn("logs", "*"))
    services = ["delivery.logs.amazonaws.com"]
    for sid, action, where in (
        ("BalancerLooks", "s3:GetBucketAcl", bucket.bucket_arn),
        ("BalancerLogs", "s3:PutObject", bucket.arn_for_objects(f"receive/AWSLogs/{names.account}/*")),
    ):
        bucket.add_to_resource_policy(allow(sid, [action], [where], services=services, conditions=source))


def _bucket(
    scope: Construct, id_: str, *, name: str, days: int, key: kms.IKey | None, access_logs: s3.IBucket | None
) -> s3.Bucket:
    """A bucket for nobody else; without a key for access logs, which S3 writes with its own keys only.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/enable-server-access-logging.html
    """
    bucket = s3.Bucket(
        scope,
        id_,
        bucket_name=name,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        versioned=True,
        server_access_logs_bucket=access_logs,
        server_access_logs_prefix="errors/" if access_logs else None,
        lifecycle_rules=[
            s3.LifecycleRule(
                id="expire",
                expiration=cdk.Duration.days(days),
                noncurrent_version_expiration=cdk.Duration.days(_NONCURRENT_DAYS),
                abort_incomplete_multipart_upload_after=cdk.Duration.days(_ABORT_DAYS),
            )
        ],
        removal_policy=KEPT,
    )
    # A bucket that is kept keeps its protection.
    cast("s3.BucketPolicy", bucket.policy).apply_removal_policy(KEPT)
    return bucket
