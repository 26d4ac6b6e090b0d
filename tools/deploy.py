"""Deploy, look at, or remove one environment, with CDK's own command line tool.

    python tools/deploy.py bootstrap --environment prod     once an account and Region
    python tools/deploy.py diff      --environment prod     what would change
    python tools/deploy.py deploy    --environment prod     step by step, after a question; repeat it to go on
    python tools/deploy.py canary    --environment prod     a marked row through Firehose; run it daily
    python tools/deploy.py status    --environment prod     the pipe, the alarms, the last canary
    python tools/deploy.py destroy   --environment prod     everything but the data

Exit codes: 0 done, 1 it stopped and said why, 2 wrong settings, 3 AWS could not be reached.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infra.app import gather  # noqa: E402 - it is beside this folder
from infra.assets import HANDLER_ZIP, SETUP_ZIP, STUB_MARK  # noqa: E402 - as above
from infra.execution import execution_policy  # noqa: E402 - as above
from infra.naming import PLACEHOLDER_ACCOUNT, STACKS  # noqa: E402 - as above
from infra.secret_shapes import json_object, kafka_fault, snowflake_fault  # noqa: E402 - as above
from infra.settings import Settings  # noqa: E402 - as above

from lmdp.errors import LmdpError, SettingsError, Unreachable  # noqa: E402 - as above

FIRST = ("base", "storage", "snowflake-auth", "auth")
SECOND = ("snowflake-setup", "delivery")
THIRD = ("network",)
LAST = ("pipe", "alarms")
CDK = ("npx", "--prefix", str(ROOT / "infra" / "cli"), "--no-install", "cdk")

LMDP = str(Path(sys.executable).with_name("lmdp"))

Run: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True, slots=True)
class World:
    """What is outside: commands (their output goes to the terminal, or is kept), AWS, and the person."""

    run: Run
    keep: Run
    client: Callable[[str], Any]
    ask: Callable[[str], str]
    say: Callable[[str], None]
    cloud: Path


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says beside the command and the environment."""

    yes: bool = False
    topic_checked: bool = False
    delete_data: bool = False


def deploy(settings: Settings, world: World, options: Options) -> None:
    """Every step, each of which may be repeated. Raises LmdpError where it has to stop."""
    synthesise(settings, world)
    refuse_stubs(world)
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


def bootstrap(settings: Settings, world: World, options: Options) -> None:
    """CDK's own stack, whose CloudFormation role has our policy and not an administrator's."""
    names = settings.names
    name = f"{names.prefix}-cloudformation"
    arn = names.arn("iam", f"policy/{name}", region="")
    document = json.dumps(execution_policy(settings), separators=(",", ":"))
    confirm(world, options, f"Bootstrap account {names.account}, {names.region}, with {arn}?", names.environment)
    iam = world.client("iam")
    try:
        iam.create_policy(PolicyName=name, PolicyDocument=document, Description="What CloudFormation may do for lmdp")
    except iam.exceptions.EntityAlreadyExistsException:
        _renew_policy(iam, arn, document)
    boundary = ["--custom-permissions-boundary", settings.boundary.rpartition("/")[2]] if settings.boundary else []
    where = f"aws://{names.account}/{names.region}"
    run_cdk(world, ["bootstrap", where, "--cloudformation-execution-policies", arn, *boundary])


def destroy(settings: Settings, world: World, options: Options) -> None:
    """Remove the stacks, the last first. Buckets, keys, secrets and Snowflake's tables stay."""
    names = settings.names
    if settings.protect:
        raise SettingsError("LMDP_TERMINATION_PROTECTION is true: deploy with false first; then nothing protects it.")
    synthesise(settings, world)
    confirm(world, options, f"Remove the stacks of {names.prefix}? Kafka's messages then wait.", names.environment)
    run_cdk(world, ["destroy", *map(names.stack, reversed(STACKS)), "--force", *_from(world)])
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


def synthesise(settings: Settings, world: World) -> None:
    """Once, so that what is shown is what is deployed."""
    if settings.names.account == PLACEHOLDER_ACCOUNT:
        raise SettingsError(
            f"The environment {settings.names.environment} has placeholders for ARNs and is never deployed. "
            "Name another one: make deploy ENVIRONMENT=prod, with its settings in .env."
        )
    env = {"LMDP_ENVIRONMENT": settings.names.environment, "CDK_OUTDIR": str(world.cloud)}
    if world.run([sys.executable, "-m", "infra.app"], env).returncode:
        raise LmdpError("The stacks cannot be synthesised; see above. Nothing was changed.")


def refuse_stubs(world: World) -> None:
    """A template with the stub in it runs nothing."""
    missing = [zip_file.name for zip_file in (HANDLER_ZIP, SETUP_ZIP) if not zip_file.exists()]
    stubs = [file.name for file in sorted(world.cloud.glob("*.template.json")) if STUB_MARK in file.read_text("utf-8")]
    if stubs:
        raise LmdpError(
            f"{', '.join(missing or stubs)}: not built. Run make build, then deploy again. Nothing was changed."
        )


def confirm(world: World, options: Options, question: str, word: str) -> None:
    """Go on only when the person types the word."""
    if not options.yes and world.ask(f"{question} Type {word} to go on: ").strip() != word:
        raise LmdpError("Not confirmed. Nothing more was changed.")


def cdk(settings: Settings, world: World, verb: str, stacks: Sequence[str]) -> None:
    """`diff` or `deploy` these stacks alone, as they were synthesised."""
    never = ["--require-approval", "never"] if verb == "deploy" else []
    run_cdk(world, [verb, *map(settings.names.stack, stacks), "--exclusively", *never, *_from(world)])


def run_cdk(world: World, arguments: Sequence[str]) -> None:
    """CDK's own tool, pinned in infra/cli."""
    if world.run([*CDK, *arguments], {}).returncode:
        raise LmdpError(
            f"cdk {arguments[0]} failed; see above. A stack that failed went back to what it was. "
            "Mend what it says, and repeat the command: what is done stays done."
        )


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


def _from(world: World) -> list[str]:
    return ["--app", str(world.cloud)]


def _renew_policy(iam: Any, arn: str, document: str) -> None:
    """A managed policy has five versions at most; the oldest that is not in use goes."""
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    if len(versions) >= 5:
        oldest = min((one for one in versions if not one["IsDefaultVersion"]), key=lambda one: one["CreateDate"])
        iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=document, SetAsDefault=True)


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
        COMMANDS[given.command](settings, _world(settings), options)
    except LmdpError as error:
        print(f"deploy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _world(settings: Settings) -> World:
    import boto3  # noqa: PLC0415 - half a second, and not for a settings fault
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    def client(service: str) -> Any:
        try:
            session = boto3.Session(region_name=settings.names.region)
            account = session.client("sts").get_caller_identity()["Account"]
        except (BotoCoreError, ClientError) as error:
            raise Unreachable(
                f"AWS cannot be asked who you are: {error}. Sign in (aws sso login), try again."
            ) from error
        if account != settings.names.account:
            raise SettingsError(
                f"You are signed in to the account {account}; the settings say {settings.names.account}."
            )
        return session.client(service)

    def command(
        arguments: Sequence[str], env: Mapping[str, str], *, keep: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments, check=False, text=True, cwd=ROOT, env={**os.environ, **env}, capture_output=keep
        )

    return World(
        run=command,
        keep=lambda arguments, env: command(arguments, env, keep=True),
        client=client,
        ask=input,
        say=print,
        cloud=ROOT / "cdk.out",
    )


if __name__ == "__main__":
    main()
