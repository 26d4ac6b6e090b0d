"""Deploy, look at, or remove one environment, with CDK's own command line tool.

    python tools/deploy.py bootstrap --environment prod     once an environment
    python tools/deploy.py diff      --environment prod     what would change
    python tools/deploy.py deploy    --environment prod     step by step, after a question; repeat it to go on
    python tools/deploy.py canary    --environment prod     a marked row through Firehose; run it daily
    python tools/deploy.py status    --environment prod     the pipe, the alarms, the last canary
    python tools/deploy.py destroy   --environment prod     everything but the data

Exit codes: 0 done, 1 it stopped and said why, 2 wrong settings, 3 AWS could not be reached.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infra.app import gather  # noqa: E402 - it is beside this folder
from infra.naming import STACKS  # noqa: E402 - as above
from infra.secret_shapes import json_object, kafka_fault, snowflake_fault  # noqa: E402 - as above
from infra.settings import Settings  # noqa: E402 - as above
from tools.deployment.bootstrap import bootstrap  # noqa: E402 - as above
from tools.deployment.cdk import cdk, refuse_stubs, run_cdk, synthesise  # noqa: E402 - as above
from tools.deployment.world import Options, World, confirm, real_world  # noqa: E402 - as above

from lmdp.errors import LmdpError, SettingsError  # noqa: E402 - as above

FIRST = ("base", "storage", "snowflake-auth", "auth")
SECOND = ("snowflake-setup", "delivery")
THIRD = ("network",)
LAST = ("pipe", "alarms")

LMDP = str(Path(sys.executable).with_name("lmdp"))


def deploy(settings: Settings, world: World, options: Options) -> None:
    """Every step, each of which may be repeated. Raises LmdpError where it has to stop."""
    synthesise(settings, world)
    refuse_stubs(settings, world)
    cdk(settings, world, "diff", STACKS)
    names = settings.names
    confirm(world, options, f"Deploy this to account {names.account}, {names.region}?", names.environment)
    cdk(settings, world, "deploy", FIRST)
    check_secrets(settings, world)
    cdk(settings, world, "deploy", SECOND)
    canary(settings, world)
    cdk(settings, world, "deploy", THIRD)
    check_topic(settings, world, options)
    cdk(settings, world, "deploy", LAST)
    status(settings, world)


def diff(settings: Settings, world: World, _options: Options) -> None:
    """What would change."""
    synthesise(settings, world)
    cdk(settings, world, "diff", STACKS)


def destroy(settings: Settings, world: World, options: Options) -> None:
    """Remove the stacks, the last first. Buckets, keys, secrets and Snowflake's tables stay."""
    names = settings.names
    if settings.protect:
        raise SettingsError("LMDP_TERMINATION_PROTECTION is true: deploy with false first; then nothing protects it.")
    synthesise(settings, world)
    confirm(world, options, f"Remove the stacks of {names.prefix}? Kafka's messages then wait.", names.environment)
    run_cdk(settings, world, ["destroy", *map(names.stack, reversed(STACKS)), "--force"])
    if options.delete_data:
        confirm(
            world, Options(), "Delete rejects, failed records and secrets for good?", f"delete {names.error_bucket}"
        )
        _delete_data(settings, world)
    else:
        world.say(f"Kept: the buckets of {names.prefix}, its keys and secrets, and all of Snowflake.")


def status(settings: Settings, world: World, _options: Options | None = None) -> None:
    """The pipe's state, the alarms that are off, the last canary."""
    names = settings.names
    found = world.client("pipes").describe_pipe(Name=names.pipe)
    world.say(f"pipe {names.pipe}: {found['CurrentState']} {found.get('StateReason', '')}".rstrip())
    alarms = world.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{names.prefix}-", StateValue="ALARM")
    for alarm in alarms["MetricAlarms"]:
        world.say(f"ALARM {alarm['AlarmName']}: {alarm['AlarmDescription']}")
    world.say(f"canary landed: {_last_canary(settings, world) or 'never'}")


def check_secrets(settings: Settings, world: World) -> None:
    """Stop until each secret has the right shape. No value is ever shown."""
    names, delivery = settings.names, settings.delivery
    loader = delivery.loader_secret_arn or names.secret("snowflake-loader")
    setup = delivery.setup_secret_arn or names.secret("snowflake-setup")
    kafka = settings.kafka.secret_arn or names.secret("kafka-client")
    authority = settings.kafka.ca_arn or "ARN"
    wanted = (
        (loader, snowflake_fault, f"lmdp snowflake keypair --user firehose --secret {loader}"),
        (setup, snowflake_fault, f"lmdp snowflake keypair --user setup --secret {setup}"),
        (kafka, kafka_fault, f"lmdp certs --private-ca {authority} --client {names.prefix} --secret {kafka}"),
    )
    manager = world.client("secretsmanager")
    faults = [
        f"{name} {fault}. Fill it: {command}"
        for name, check, command in wanted
        if (fault := check(_secret(manager, name)))
    ]
    if faults:
        raise LmdpError("Stopped: a secret is not ready. Fill it, and deploy again.\n  - " + "\n  - ".join(faults))
    world.say("The three secrets have the right shape.")


def canary(settings: Settings, world: World, _options: Options | None = None) -> None:
    """A marked row has to land in Snowflake before anything reads Kafka."""
    names, delivery = settings.names, settings.delivery
    env = {
        "AWS_DEFAULT_REGION": names.region,
        "SNOWFLAKE_ACCOUNT_URL": delivery.host,
        "SNOWFLAKE_PRIVATE_KEY_SECRET": delivery.setup_secret_arn or names.secret("snowflake-setup"),
        "LMDP_DELIVERY_STREAM": names.stream,
        "LMDP_REJECTS_BUCKET": names.error_bucket,
    }
    world.say("Sending a canary row through Firehose; it may take three minutes.")
    done = world.keep([LMDP, "snowflake", "verify", "--canary", "--json"], env)
    landed, told = _landed(done.stdout)
    if not landed:
        raise LmdpError(
            f"Stopped: no canary row landed. {told or done.stderr.strip()}\nThe pipe was not made, so nothing is lost: "
            "Kafka keeps its messages. See docs/operations.md#canary, then deploy again."
        )
    world.client("ssm").put_parameter(
        Name=names.canary_parameter, Value=datetime.now(UTC).isoformat(), Type="String", Overwrite=True
    )
    world.say("A canary row landed.")


def check_topic(settings: Settings, world: World, options: Options) -> None:
    """The topic's shape and its ACLs, from here where the brokers can be reached; else the person says so."""
    kafka = settings.kafka
    check = ["topic", "check", "--topic", kafka.topic, "--partitions", str(kafka.partitions)]
    rights = ["topic", "acls", "--topic", kafka.topic]
    if options.topic_checked:
        return
    if not os.environ.get("LMDP_BOOTSTRAP_SERVERS"):
        raise LmdpError(
            "Stopped: the brokers are not known here. From a machine in the VPC, with a client certificate, run\n"
            f"  lmdp {' '.join(check)}\n  lmdp {' '.join(rights)} --collector … --reader … --group {kafka.group}\n"
            "then deploy again with TOPIC_CHECKED=1 (or set LMDP_BOOTSTRAP_SERVERS where they can be reached)."
        )
    for command in ([] if kafka.make_topic else [check]) + [rights]:
        done = world.keep([LMDP, *command], {})
        world.say(done.stdout.strip())
        if done.returncode or "No ACL speaks of" in done.stdout:
            raise LmdpError(f"Stopped: lmdp {' '.join(command)}: see above. {done.stderr.strip()} Then deploy again.")


def _landed(text: str) -> tuple[bool, str]:
    """What `verify --canary --json` says of the canary, whatever else it says of a table that is still empty."""
    held = json_object(text) or {}
    landings = held.get("canary") or []
    first = landings[0] if landings else {}
    return bool(first.get("landed")), str(first.get("error") or "")


def _secret(manager: Any, name: str) -> str | None:
    try:
        return str(manager.get_secret_value(SecretId=name)["SecretString"])
    except (manager.exceptions.ResourceNotFoundException, KeyError):
        return None


def _last_canary(settings: Settings, world: World) -> str | None:
    ssm = world.client("ssm")
    try:
        return str(ssm.get_parameter(Name=settings.names.canary_parameter)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return None


def _delete_data(settings: Settings, world: World) -> None:
    names, s3 = settings.names, world.client("s3")
    for bucket in (names.error_bucket, names.log_bucket):
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if found:
                objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found]
                s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
        s3.delete_bucket(Bucket=bucket)
        world.say(f"Deleted: s3://{bucket}")
    manager = world.client("secretsmanager")
    for what in ("snowflake-loader", "snowflake-setup", "kafka-client"):
        manager.delete_secret(SecretId=names.secret(what), RecoveryWindowInDays=30)
        world.say(f"Deleted, and for 30 days to be had back: {names.secret(what)}")
    world.say("Keys are kept: what was encrypted with them elsewhere (logs, backups) would be gone with them.")


COMMANDS: Mapping[str, Callable[[Settings, World, Options], None]] = {
    "bootstrap": bootstrap,
    "diff": diff,
    "deploy": deploy,
    "canary": canary,
    "status": status,
    "destroy": destroy,
}


def main() -> None:
    """Read the command line and the settings, and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--environment", required=True, help="dev, prod, or one that you add to infra/app.py")
    parser.add_argument("--yes", action="store_true", help="do not ask (CI)")
    parser.add_argument(
        "--topic-checked", action="store_true", help="topic and ACLs were looked at from inside the VPC"
    )
    parser.add_argument("--delete-data", action="store_true", help="destroy: buckets and secrets, too")
    given = parser.parse_args()
    options = Options(given.yes, given.topic_checked, given.delete_data)
    try:
        settings = Settings.read(given.environment, gather(given.environment, {}))
        _run(COMMANDS[given.command], settings, options)
    except LmdpError as error:
        print(f"deploy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _run(command: Callable[[Settings, World, Options], None], settings: Settings, options: Options) -> None:
    """Run it; AWS's own errors become ours."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - not for a settings fault
    from tools.deployment.aws_errors import translated  # noqa: PLC0415 - as above

    try:
        command(settings, real_world(settings), options)
    except (BotoCoreError, ClientError) as error:
        raise translated(error, settings.names.region) from error


if __name__ == "__main__":
    main()
