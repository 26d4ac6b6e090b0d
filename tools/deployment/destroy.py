"""Remove an environment. The stacks that hold data stay, so that the next deployment finds what it needs in them."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any, Final

from infra.containers import CONTAINER_SECRETS
from infra.settings import Settings
from tools.deployment.cdk import run_cdk, synthesise
from tools.deployment.existing import check_stacks
from tools.deployment.runtime import Options, Runtime, confirm

from lmdp.deployment.naming import CONTAINERS
from lmdp.errors import LmdpError, SettingsError

# Alerts and logs, the buckets, the secrets.
_DATA = ("base", "storage", "snowflake-auth", "auth")
# The pipe, and what needs it.
_PIPE: Final = ("pipe", CONTAINERS, "alarms")
# AWS promises nothing for what a deleted stream holds; without either metric it holds nothing:
# https://docs.aws.amazon.com/firehose/latest/dev/monitoring-with-cloudwatch-metrics.html
_HELD: Final = ("IncomingRecords", "DeliveryToSnowflake.DataFreshness")
_QUIET: Final = timedelta(minutes=10)
_POLL_SECONDS: Final = 30


def data_stacks(settings: Settings) -> tuple[str, ...]:
    """The stacks that hold data or logs; the network is one where it made the cluster or the topic."""
    kafka = settings.kafka
    return (*_DATA, "network") if not kafka.cluster_arn or kafka.make_topic else _DATA


def destroy(settings: Settings, runtime: Runtime, options: Options) -> None:
    """Remove the stacks that hold no data, the last first; with `delete_data` the others, too, but for a cluster."""
    names, kept = settings.names, data_stacks(settings)
    if settings.protect:
        raise SettingsError("LMDP_TERMINATION_PROTECTION is true: deploy with false first; then nothing protects it.")
    synthesise(settings, runtime)
    check_stacks(settings, runtime, verb="destroy")
    if options.delete_data:
        _check_rights(settings, runtime)
    waits = not settings.is_direct and not options.delete_data
    if waits:
        _holds_rows(settings, runtime)  # AWS's refusal, before a stack is gone
    confirm(runtime, options, f"Remove the stacks of {names.prefix}? {_rows(settings, options)}", names.environment)
    removed = [stack for stack in settings.stacks if stack not in kept]
    _remove(settings, runtime, [stack for stack in removed if stack in _PIPE])
    if waits:
        _wait_for_delivery(settings, runtime)
    _remove(settings, runtime, [stack for stack in removed if stack not in _PIPE])
    if not options.delete_data:
        runtime.say(
            f"Kept: the stacks {', '.join(map(names.stack, kept))} with buckets, keys, secrets and logs, and all "
            "of Snowflake. make deploy continues with them."
        )
        return
    confirm(
        runtime, Options(), "Delete rejects, failed records, logs and secrets for good?", f"delete {names.error_bucket}"
    )
    _remove(settings, runtime, [stack for stack in settings.stacks if stack in _DATA])
    _delete_data(settings, runtime)
    if "network" in kept:
        network = names.stack("network")
        runtime.say(
            f"Kept: {network}, whose cluster or topic holds messages. To delete those: aws kafka delete-cluster, "
            f"then aws cloudformation delete-stack --stack-name {network}."
        )


def _remove(settings: Settings, runtime: Runtime, stacks: list[str]) -> None:
    run_cdk(settings, runtime, ["destroy", *map(settings.names.stack, reversed(stacks)), "--exclusively", "--force"])


def _rows(settings: Settings, options: Options) -> str:
    """Return what becomes of the rows on their way."""
    waiting, stream = "Kafka's messages then wait.", settings.names.stream
    if settings.is_direct:
        return waiting
    if options.delete_data:
        return f"{waiting} Rows that the stream {stream} has not delivered are deleted with it."
    return f"{waiting} The stream {stream} goes once it has delivered its rows: ten minutes after the last one."


def _wait_for_delivery(settings: Settings, runtime: Runtime) -> None:
    """Wait until the stream has delivered what it took. Raises LmdpError when the user ends that."""
    stream = settings.names.stream
    try:
        if _holds_rows(settings, runtime):
            runtime.say(
                f"Waiting for the last rows of {stream}: while Snowflake or the error bucket cannot take them, that "
                "takes hours. Ctrl-C ends the wait."
            )
        while _holds_rows(settings, runtime):
            runtime.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        raise LmdpError(
            f"Stopped: the pipe is removed, and the stream {stream} still delivers. Repeat the command to continue. To "
            f"give up those rows, first: aws firehose delete-delivery-stream --delivery-stream-name {stream}"
        ) from None


def _holds_rows(settings: Settings, runtime: Runtime) -> bool:
    """Return whether rows came into the stream or waited there within the last ten minutes."""
    cloudwatch, now = runtime.client("cloudwatch"), runtime.now()
    return any(
        point["Maximum"] > 0
        for metric in _HELD
        for point in cloudwatch.get_metric_statistics(
            Namespace="AWS/Firehose",
            MetricName=metric,
            Dimensions=[{"Name": "DeliveryStreamName", "Value": settings.names.stream}],
            StartTime=now - _QUIET,
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
    )


def _check_rights(settings: Settings, runtime: Runtime) -> None:
    """Raise AWS's refusal before a stack is gone: the deployer may not empty the buckets, an administrator may."""
    names, s3 = settings.names, runtime.client("s3")
    for bucket in (names.error_bucket, names.log_bucket):
        with contextlib.suppress(s3.exceptions.NoSuchBucket):
            s3.list_object_versions(Bucket=bucket, MaxKeys=1)


def _delete_data(settings: Settings, runtime: Runtime) -> None:
    """Delete what the stacks left. It may be repeated: what is gone is passed over."""
    names, s3 = settings.names, runtime.client("s3")
    for bucket in (names.error_bucket, names.log_bucket):
        with contextlib.suppress(s3.exceptions.NoSuchBucket):
            _delete_bucket(s3, bucket)
        runtime.say(f"Deleted: s3://{bucket}")
    manager = runtime.client("secretsmanager")
    for what in ("snowflake-loader", "snowflake-setup", "kafka-client", *CONTAINER_SECRETS):
        name = names.secret(what)
        with contextlib.suppress(manager.exceptions.ResourceNotFoundException):
            # With a recovery window the name would be taken for that long, and no deployment could make it.
            manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        runtime.say(f"Deleted: the secret {name}")
    runtime.say(
        "Keys are kept: what was encrypted with them elsewhere (backups) would be gone with them. To list them: aws "
        "resourcegroupstaggingapi get-resources --resource-type-filters kms:key --tag-filters "
        f"Key=lmdp,Values={names.environment} (aws kms schedule-key-deletion --key-id … deletes one)"
    )


def _delete_bucket(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if found:
            objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
    s3.delete_bucket(Bucket=bucket)
