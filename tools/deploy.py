"""Deploy, look at, or remove one environment, with CDK's own command line tool.

    python tools/deploy.py bootstrap --environment prod     once an environment
    python tools/deploy.py diff      --environment prod     what would change
    python tools/deploy.py deploy    --environment prod     step by step, after a question; repeat it to resume
    python tools/deploy.py canary    --environment prod     a marked row through Firehose, now; one is sent each day
    python tools/deploy.py status    --environment prod     the pipe, the alarms, the last canary
    python tools/deploy.py destroy   --environment prod     what runs; data stays

Exit codes: 0 done, 1 it stopped and said why, 2 wrong settings, 3 AWS could not be reached.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infra.app import gather  # noqa: E402 - it is next to this folder
from infra.settings import Settings  # noqa: E402 - as above
from tools.deployment.bootstrap import bootstrap  # noqa: E402 - as above
from tools.deployment.cdk import cdk, refuse_stubs, synthesise  # noqa: E402 - as above
from tools.deployment.destroy import destroy  # noqa: E402 - as above
from tools.deployment.existing import (  # noqa: E402 - as above
    check_in_place,
    check_is_live,
    check_network,
    check_rules,
    check_stacks,
    describe_pipe,
)
from tools.deployment.retained_resources import adopt  # noqa: E402 - as above
from tools.deployment.runtime import Options, Runtime, confirm, open_runtime  # noqa: E402 - as above
from tools.deployment.topic import check_topic  # noqa: E402 - as above
from tools.deployment.trials import canary, test_alarm  # noqa: E402 - as above

from lmdp.deployment.checks import secret_faults, snowflake_fault  # noqa: E402 - as above
from lmdp.deployment.naming import CONTAINERS  # noqa: E402 - as above
from lmdp.errors import LmdpError  # noqa: E402 - as above

FIRST = ("base", "storage", "snowflake-auth", "auth")
SECOND = ("snowflake-setup", "delivery")
THIRD = ("network",)
LAST = ("pipe", CONTAINERS, "alarms")


def deploy(settings: Settings, runtime: Runtime, options: Options) -> None:
    """Every step, each of which may be repeated. Raises LmdpError where it has to stop."""
    synthesise(settings, runtime)
    refuse_stubs(settings, runtime)
    check_stacks(settings, runtime)
    check_network(settings, runtime)
    check_in_place(settings, runtime)
    if options.skip_canary:
        check_is_live(settings, runtime)
    cdk(settings, runtime, "diff", settings.stacks)
    names = settings.names
    confirm(runtime, options, f"Deploy this to account {names.account}, {names.region}?", names.environment)
    adopt(settings, runtime)
    cdk(settings, runtime, "deploy", FIRST)
    check_secrets(settings, runtime)
    if settings.delivery.function_group:
        # Setup and canary call AWS through the endpoints of this stack, which let the current stream through alone.
        cdk(settings, runtime, "deploy", THIRD)
    cdk(settings, runtime, "deploy", SECOND)
    if options.skip_canary:
        runtime.say(f"No canary was sent. When Snowflake is back: make canary ENVIRONMENT={names.environment}")
    else:
        canary(settings, runtime)
    cdk(settings, runtime, "deploy", THIRD)
    check_rules(settings, runtime)
    check_topic(settings, runtime, options)
    cdk(settings, runtime, "deploy", [stack for stack in LAST if stack in settings.stacks])
    test_alarm(settings, runtime)
    status(settings, runtime)


def diff(settings: Settings, runtime: Runtime, _options: Options) -> None:
    """Show what would change."""
    synthesise(settings, runtime)
    cdk(settings, runtime, "diff", settings.stacks)


def status(settings: Settings, runtime: Runtime, _options: Options | None = None) -> None:
    """The pipe's state, the alarms in ALARM state, the last canary."""
    names = settings.names
    found = describe_pipe(settings, runtime)
    if found is None:
        runtime.say(f"no pipe yet: make deploy ENVIRONMENT={names.environment} continues")
    else:
        runtime.say(f"pipe {names.pipe}: {found['CurrentState']} {found.get('StateReason', '')}".rstrip())
    alarms = runtime.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{names.prefix}-", StateValue="ALARM")
    for alarm in alarms["MetricAlarms"]:
        runtime.say(f"ALARM {alarm['AlarmName']}: {alarm['AlarmDescription']}")
    runtime.say(f"canary landed, tables refreshed and tasks run: {_last_canary(settings, runtime) or 'never'}")


def check_secrets(settings: Settings, runtime: Runtime) -> None:
    """Stop until each secret has the right shape. No value is ever shown."""
    delivery, kafka = settings.delivery, settings.kafka
    arns = {
        "loader": delivery.loader_secret_arn,
        "setup": delivery.setup_secret_arn,
        "kafka": kafka.secret_arn,
        "ca": kafka.ca_arn,
    }
    services, manager = settings.containers.services, runtime.client("secretsmanager")
    faults = secret_faults(manager, settings.names, arns, "lmdp", snowflake_fault, services)
    if faults:
        raise LmdpError(
            "Stopped: a secret is not ready. Nothing else was changed.\n  - "
            + "\n  - ".join(f"{text}. Fill it: {command}" for text, command in faults)
            + f"\nThen: make deploy ENVIRONMENT={settings.names.environment}"
        )
    runtime.say(f"The {'' if services else 'three '}secrets have the right shape.")


def _last_canary(settings: Settings, runtime: Runtime) -> str | None:
    ssm = runtime.client("ssm")
    try:
        return str(ssm.get_parameter(Name=settings.names.canary_parameter)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return None


COMMANDS: Mapping[str, Callable[[Settings, Runtime, Options], None]] = {
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
    parser.add_argument("--skip-canary", action="store_true", help="deploy: send no canary (Snowflake is unreachable)")
    given = parser.parse_args()
    options = Options(given.yes, given.topic_checked, given.delete_data, given.skip_canary)
    try:
        settings = Settings.read(given.environment, gather(given.environment, {}))
        _run(COMMANDS[given.command], settings, options)
    except LmdpError as error:
        print(f"deploy: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _run(command: Callable[[Settings, Runtime, Options], None], settings: Settings, options: Options) -> None:
    """Run it; AWS's own errors become ours."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - not for a settings fault
    from tools.deployment.aws_errors import translated  # noqa: PLC0415 - as above

    try:
        command(settings, open_runtime(settings), options)
    except (BotoCoreError, ClientError) as error:
        raise translated(error, settings.names.region) from error


if __name__ == "__main__":
    main()
