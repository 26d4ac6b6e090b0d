"""Resources that were kept under the names of a stack that is gone: its next creation would fail on them.

`make destroy` leaves no such thing. A stack that was deleted by other means does: what it held was kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

from infra.containers import CONTAINER_SECRETS, CONTAINER_SECRETS_PARAMETER
from infra.settings import Settings
from tools.deployment.cdk import run_cdk
from tools.deployment.runtime import Runtime

from lmdp.deployment.checks import stack_state
from lmdp.errors import LmdpError

_CREATED_AGAIN: Final = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS", "DELETE_COMPLETE")


def adopt(settings: Settings, runtime: Runtime) -> None:
    """Take kept buckets into their stack; stop where a kept secret or cluster has to be named in the settings."""
    faults = [*_secrets(settings, runtime), *_cluster(settings, runtime)]
    if faults:
        raise LmdpError(
            "Stopped: something is there under a name that this deployment would make. Nothing was changed.\n  - "
            + "\n  - ".join(faults)
            + "\nThen deploy again."
        )
    if not _stack_is_there(settings, runtime, "storage"):
        names = settings.names
        kept = [bucket for bucket in (names.error_bucket, names.log_bucket) if _bucket_is_there(runtime, bucket)]
        if kept:
            runtime.say(f"Taking what was kept into {names.stack('storage')}: {', '.join(kept)}")
            # Buckets and their policies have names that a template gives; keys are made again, and the old ones stay.
            unasked = ["--exclusively", "--require-approval", "never", "--import-existing-resources"]
            run_cdk(settings, runtime, ["deploy", names.stack("storage"), *unasked])


def _secrets(settings: Settings, runtime: Runtime) -> list[str]:
    names, delivery, manager = settings.names, settings.delivery, runtime.client("secretsmanager")
    wanted = (
        ("snowflake-auth", "snowflake-loader", "LMDP_LOADER_SECRET_ARN", delivery.loader_secret_arn),
        ("snowflake-auth", "snowflake-setup", "LMDP_SETUP_SECRET_ARN", delivery.setup_secret_arn),
        ("auth", "kafka-client", "LMDP_KAFKA_SECRET_ARN", settings.kafka.secret_arn),
    )
    free = {what: setting for stack, what, setting, given in wanted
            if not given and not _stack_is_there(settings, runtime, stack)}  # fmt: skip
    if settings.containers.services and not _has_container_secrets(settings, runtime):
        free |= dict.fromkeys(CONTAINER_SECRETS, "")
    found = {}
    for what in free:
        with contextlib.suppress(manager.exceptions.ResourceNotFoundException):
            found[what] = manager.describe_secret(SecretId=names.secret(what))
    # One setting for the keys of all that are given by their ARNs.
    keys = dict.fromkeys(settings.secrets_key_arns)
    keys |= dict.fromkeys(one["KmsKeyId"] for what, one in found.items() if free[what] and one.get("KmsKeyId"))
    return [_secret_fault(names.secret(what), free[what], one, list(keys)) for what, one in found.items()]


def _has_container_secrets(settings: Settings, runtime: Runtime) -> bool:
    """Return whether the secrets of the services in containers are in their stack, which is there without any too."""
    ssm = runtime.client("ssm")
    try:
        ssm.get_parameter(Name=settings.names.parameter(CONTAINER_SECRETS_PARAMETER))
    except ssm.exceptions.ParameterNotFound:
        return False
    return True


def _secret_fault(name: str, setting: str, found: dict[str, Any], keys: Sequence[str]) -> str:
    """Return what to do with a secret whose name is taken; one without a setting can only be made again."""
    key = f" and LMDP_SECRETS_KMS_KEY_ARN={','.join(keys)}" if found.get("KmsKeyId") else ""
    use = f"set {setting}={found['ARN']}{key}"
    delete = f"aws secretsmanager delete-secret --secret-id {name} --force-delete-without-recovery"
    restore = f"aws secretsmanager restore-secret --secret-id {name}"
    state = "was kept"
    if found.get("DeletedDate"):
        state, use, delete = (
            "is being deleted, and keeps its name",
            f"{restore}, then {use}",
            f"{restore}, then {delete}",
        )
    if not setting:
        return f"the secret {name} {state}. As an administrator: {delete}. Then fill it again"
    return f"the secret {name} {state}. To use it: {use}. To give it up: {delete}"


def _cluster(settings: Settings, runtime: Runtime) -> list[str]:
    if settings.kafka.cluster_arn or _stack_is_there(settings, runtime, "network"):
        return []
    name = settings.kafka.cluster_name
    found = runtime.client("kafka").list_clusters_v2(ClusterNameFilter=name)["ClusterInfoList"]
    return [
        f"the cluster {name} was kept: set LMDP_MSK_CLUSTER_ARN={one['ClusterArn']} instead of LMDP_MSK_CREATE=true"
        for one in found
        if one["ClusterName"] == name
    ]


def _stack_is_there(settings: Settings, runtime: Runtime, stack: str) -> bool:
    """Return whether CloudFormation has it, in a state that an update can follow.

    CDK deletes a stack whose creation was rolled back, and creates it again. The rollback deleted what that creation
    made (RetainExceptOnCreate); what a failed rollback left is retained by CDK's deletion, and its name is then taken:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html
    """
    state = stack_state(runtime.client("cloudformation"), settings.names.stack(stack))
    return bool(state) and state not in _CREATED_AGAIN


def _bucket_is_there(runtime: Runtime, bucket: str) -> bool:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as boto3

    try:
        runtime.client("s3").head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchBucket", "NotFound"):
            return False
        raise
    return True
