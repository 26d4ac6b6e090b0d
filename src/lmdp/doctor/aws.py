"""AWS: identity, Region, and what is deployed. Of secrets only the format is checked."""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives import serialization

from lmdp.deployment.checks import DENIED, NO_LOGIN, json_object, secret_faults, snowflake_fault, stack_state
from lmdp.deployment.naming import CONTAINERS, STACKS, Names, revisions_of
from lmdp.deployment.security_group import egress_faults, egress_fix
from lmdp.doctor.result import NET_S, Context, Result, not_tried, ok, wrong
from lmdp.support.program import install_extras, program
from lmdp.support.settings_reader import is_direct

_REGION: Final = "us-east-1"  # what a deployment takes when LMDP_AWS_REGION is not set
_SIGNS: Final = (
    "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "LMDP_AWS_ACCOUNT",
    "LMDP_AWS_REGION", "LMDP_MSK_CLUSTER_ARN", "LMDP_MSK_CREATE", "LMDP_DELIVERY_STREAM", "LMDP_REJECTS_BUCKET",
)  # fmt: skip
_SIGN_IN: Final = "aws sso login, or set AWS_PROFILE; see docs/deploy.md"
_LOG_GROUPS: Final = ("function", "setup", "canary", "watcher", "firehose", "pipe")

_Look: TypeAlias = Callable[[Context, Callable[[str], Any], Names], Result]
"""Looks at AWS: it takes the context, what makes the client of a service, and the deployment's names."""


def _not_here(context: Context, *, needs_environment: bool) -> Result | None:
    if not context.environment and not any(context.env.get(name) for name in _SIGNS):
        return not_tried("AWS is not configured here: --environment prod, or AWS_PROFILE")
    if needs_environment and not context.environment:
        return not_tried("no deployment is named: --environment prod (LMDP_ENVIRONMENT)")
    if find_spec("boto3") is None:
        return wrong("boto3 is not installed", install_extras())
    return None


def _asks(*, is_login: bool = False) -> Callable[[_Look], Callable[[Context], Result]]:
    """Make a check of what looks at AWS; a call that AWS refused or did not answer has a result, too.

    The login itself is checked without a deployment's name.
    """

    def decorated(look: _Look) -> Callable[[Context], Result]:
        @functools.wraps(look)
        def check(context: Context) -> Result:
            return _not_here(context, needs_environment=not is_login) or _answered(context, look, is_login=is_login)

        return check

    return decorated


def _answered(context: Context, look: _Look, *, is_login: bool) -> Result:
    import boto3  # noqa: PLC0415 - half a second, and only where AWS is set up
    from botocore import exceptions as failed  # noqa: PLC0415 - as above
    from botocore.config import Config  # noqa: PLC0415 - as above

    calls = Config(connect_timeout=NET_S, read_timeout=NET_S, retries={"mode": "standard", "total_max_attempts": 2})
    where = _region(context)
    try:
        session = boto3.Session(region_name=where)
        pipe, stream = revisions_of(context.env)
        region = session.region_name or _REGION
        names = Names(context.environment or "", "", region, pipe_revision=pipe, stream_revision=stream)
        return look(context, functools.partial(session.client, region_name=region, config=calls), names)
    except failed.ClientError as error:
        return _refused(error.operation_name, error.response["Error"], is_login=is_login)
    except (
        failed.NoCredentialsError, failed.PartialCredentialsError, failed.SSOError, failed.TokenRetrievalError
    ) as error:  # fmt: skip
        return _no_login(str(error), is_login=is_login)
    except failed.BotoCoreError as error:
        text = " ".join(str(error).split())
        return wrong(text, "check the network, the proxy and AWS_CA_BUNDLE") if is_login else not_tried(text)


def _refused(operation: str, error: dict[str, str], *, is_login: bool) -> Result:
    code = error.get("Code", "")
    text = f"{operation}: {code}: {error.get('Message', '')}".rstrip(": ")
    if code in NO_LOGIN:
        return _no_login(text, is_login=is_login)
    if code in DENIED:
        return not_tried(f"this user may not call {operation} ({code})")
    return wrong(text, f"fix what AWS reports; then {program()} doctor --only aws")


def _no_login(text: str, *, is_login: bool) -> Result:
    """Return the failed login, as wrong where the login itself is checked."""
    return wrong(text, _SIGN_IN) if is_login else not_tried("not signed in; see credentials")


def _region(context: Context) -> str | None:
    """Return the Region of the stacks; None where nothing names a deployment."""
    return context.env.get("LMDP_AWS_REGION") or (_REGION if context.environment else None)


def region(context: Context) -> Result:
    """Compare the Region of the local tools with that of the stacks."""
    if (result := _not_here(context, needs_environment=False)) is not None:
        return result
    import boto3  # noqa: PLC0415 - half a second, and only where AWS is set up

    # boto3 reads AWS_DEFAULT_REGION and the profile, not AWS_REGION:
    # https://docs.aws.amazon.com/boto3/latest/guide/configuration.html
    here, wanted = boto3.Session().region_name, _region(context)
    if here is None:
        return wrong("no Region is set for the local tools", f"AWS_DEFAULT_REGION={wanted or _REGION} in .env")
    if wanted and here != wanted:
        return wrong(f"the local tools use {here}, the stacks are in {wanted}", f"AWS_DEFAULT_REGION={wanted} in .env")
    return ok(here)


@_asks(is_login=True)
def credentials(context: Context, client: Callable[[str], Any], _names: Names) -> Result:
    """Check the identity, and that its account is that of the settings."""
    who = client("sts").get_caller_identity()
    wanted = context.env.get("LMDP_AWS_ACCOUNT") or who["Account"]
    if who["Account"] != wanted:
        return wrong(f"signed in to the account {who['Account']}; LMDP_AWS_ACCOUNT is {wanted}", _SIGN_IN)
    return ok(f"account {who['Account']}, {who['Arn']}")


@_asks()
def stacks(context: Context, client: Callable[[str], Any], names: Names) -> Result:
    """Check the stacks of the environment, by name."""
    cloudformation, wanted = client("cloudformation"), (*STACKS, *((CONTAINERS,) if _services(context) else ()))
    deploy = f"make deploy ENVIRONMENT={names.environment}"
    found = {name: stack_state(cloudformation, names.stack(name)) for name in wanted}
    missing = [name for name, state in found.items() if not state]
    if len(missing) == len(wanted):
        return wrong(f"none of {names.prefix}-* is deployed in {names.region}", deploy)
    faults = [f"{name} is {state}" for name, state in found.items() if state and not _is_good(state)]
    faults += [f"{', '.join(missing)} not deployed"] if missing else []
    return (
        wrong("; ".join(faults), deploy) if faults else ok(f"{len(wanted)} stacks of {names.prefix} in {names.region}")
    )


def _is_good(state: str) -> bool:
    return state.endswith("_COMPLETE") and "ROLLBACK" not in state and "DELETE" not in state


@_asks()
def secrets(context: Context, client: Callable[[str], Any], names: Names) -> Result:
    """Check that the secrets have a value in the format that their readers need."""
    env = context.env
    arns = {
        "loader": env.get("LMDP_LOADER_SECRET_ARN"),
        "setup": env.get("LMDP_SETUP_SECRET_ARN"),
        "kafka": env.get("LMDP_KAFKA_SECRET_ARN"),
        "ca": env.get("LMDP_PRIVATE_CA_ARN"),
    }
    faults = secret_faults(client("secretsmanager"), names, arns, program(), _snowflake_fault, _services(context))
    if faults:
        return wrong("; ".join(text for text, _ in faults), "; ".join(fix for _, fix in faults))
    containers = ", and those of the containers," if _services(context) else ""
    return ok(f"Snowflake's two and Kafka's{containers} are in the right format")


def _services(context: Context) -> list[str]:
    return [name.strip() for name in context.env.get("LMDP_CONTAINERS", "").split(",") if name.strip()]


def _snowflake_fault(text: str | None) -> str:
    """Return what the deployment's own check finds, or that the key is not valid."""
    fault = snowflake_fault(text)
    content = json_object(text)
    if fault or content is None:
        return fault
    passphrase = content.get("key_passphrase")
    try:
        der = base64.b64decode(content["private_key"], validate=True)
        serialization.load_der_private_key(der, str(passphrase).encode() if passphrase else None)
    except (binascii.Error, ValueError, TypeError):
        return "has a `private_key` that is not a PKCS#8 key, or not one with its `key_passphrase`"
    return ""


@_asks()
def pipe(_context: Context, client: Callable[[str], Any], names: Names) -> Result:
    """Check the pipe's state, with AWS's reason for it."""
    pipes = client("pipes")
    try:
        found = pipes.describe_pipe(Name=names.pipe)
    except pipes.exceptions.NotFoundException:
        return wrong(f"there is no pipe {names.pipe}", f"make deploy ENVIRONMENT={names.environment}")
    state = f"{names.pipe} is {found['CurrentState']} {found.get('StateReason', '')}".rstrip()
    if found["CurrentState"] == "RUNNING":
        return ok(state)
    return wrong(state, f"docs/operations.md#pipe, then: aws pipes start-pipe --name {names.pipe}")


@_asks()
def network(context: Context, client: Callable[[str], Any], names: Names) -> Result:
    """Check the egress rules of the cluster's security group, which the pipe's interfaces use."""
    group = context.env.get("LMDP_SECURITY_GROUP_ID")
    if not group:
        return not_tried("LMDP_SECURITY_GROUP_ID is not set here")
    found = client("ec2").describe_security_groups(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroups"]
    if not found:
        return wrong(f"there is no security group {group} in {names.region}", "LMDP_SECURITY_GROUP_ID in .env")
    faults = egress_faults(found[0])
    return wrong("; ".join(faults), egress_fix(group)) if faults else ok(f"{group} lets the pipe's interfaces out")


@_asks()
def alarms(_context: Context, client: Callable[[str], Any], names: Names) -> Result:
    """List the alarms in ALARM state."""
    pages = client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{names.prefix}-")
    found = {alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]}
    if not found:
        return wrong("there are none", f"make deploy ENVIRONMENT={names.environment}")
    alarming = sorted(name for name, alarm in found.items() if alarm["StateValue"] == "ALARM")
    if alarming:
        return wrong(
            f"in ALARM state: {', '.join(alarming)}",
            "docs/operations.md, the section that each alarm's description names",
        )
    return ok(f"{len(found)} alarms, none in ALARM state")


@_asks()
def logs(context: Context, client: Callable[[str], Any], names: Names) -> Result:
    """Check the log groups where failures are logged; Firehose has none where rows go straight to Snowflake."""
    cloudwatch, direct = client("logs"), is_direct(context.env)
    wanted = [names.log_group(what) for what in _LOG_GROUPS if not (direct and what == "firehose")]
    missing = [name for name in wanted if not _has_group(cloudwatch, name)]
    if missing:
        return wrong(f"missing: {', '.join(missing)}", f"make deploy ENVIRONMENT={names.environment}")
    return ok(f"{len(wanted)} log groups, such as {names.log_group('function')}")


def _has_group(logs: Any, name: str) -> bool:
    found = logs.describe_log_groups(logGroupNamePrefix=name, limit=10)["logGroups"]
    return any(group["logGroupName"] == name for group in found)
