"""Remove an environment. The stacks that hold data stay, so that the next deployment finds what it needs in them."""

from __future__ import annotations

import contextlib
from typing import Any

from infra.containers import CONTAINER_SECRETS
from infra.settings import Settings
from tools.deployment.cdk import run_cdk, synthesise
from tools.deployment.existing import check_stacks
from tools.deployment.runtime import Options, Runtime, confirm

from lmdp.errors import SettingsError

# Alerts and logs, the buckets, the secrets.
_DATA = ("base", "storage", "snowflake-auth", "auth")


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
    confirm(runtime, options, f"Remove the stacks of {names.prefix}? Kafka's messages then wait.", names.environment)
    _remove(settings, runtime, [stack for stack in settings.stacks if stack not in kept])
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
