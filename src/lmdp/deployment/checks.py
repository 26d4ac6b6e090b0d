"""Checks of a deployment: its three secrets, in words that never hold a value; its stacks; refused logins."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from lmdp.deployment.naming import Names

# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
NO_LOGIN: Final = frozenset({
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidSignatureException",
    "RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException",
})  # fmt: skip
DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})


def stack_state(cloudformation: Any, name: str) -> str:
    """Return a stack's status; empty when there is none, which CloudFormation reports as a validation error."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - only where AWS is set up

    try:
        return str(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return ""


def secret_faults(
    manager: Any,
    names: Names,
    arns: Mapping[str, str | None],
    program: str,
    check_snowflake: Callable[[str | None], str],
    services: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """Return each one's fault, and the command that fills it; `manager` is Secrets Manager's client.

    `arns` has secrets that the settings name, as `loader`, `setup` and `kafka`, and the certificate authority as `ca`.
    `services` are those in containers, which have secrets of their own.
    """
    loader = arns["loader"] or names.secret("snowflake-loader")
    setup = arns["setup"] or names.secret("snowflake-setup")
    kafka = arns["kafka"] or names.secret("kafka-client")
    keypair = f"{program} snowflake keypair --environment {names.environment}"
    certificate = f"{program} certs --private-ca {arns['ca'] or 'ARN'} --client {names.prefix}"
    tokens = names.secret("receive-tokens")
    put = f"aws secretsmanager put-secret-value --secret-id {tokens} --secret-string file://receive-tokens.json"
    wanted = [
        (loader, check_snowflake, f"{keypair} --user firehose --secret {loader}"),
        (setup, check_snowflake, f"{keypair} --user setup --secret {setup}"),
        (kafka, kafka_fault, f"{certificate} --secret {kafka}"),
        *(
            (name, kafka_fault, f"{certificate}-{service} --secret {name}")
            for service in services
            for name in (names.secret(f"kafka-{service}"),)
        ),
        *([(tokens, tokens_fault, f"{program} receive token add NAME; {put}")] if "receive" in services else []),
    ]
    return [(f"{name} {fault}", fix) for name, check, fix in wanted if (fault := check(_value(manager, name)))]


def _value(manager: Any, name: str) -> str | None:
    try:
        return str(manager.get_secret_value(SecretId=name)["SecretString"])
    except (manager.exceptions.ResourceNotFoundException, KeyError):
        return None


def snowflake_fault(text: str | None) -> str:
    """Return what is wrong with a secret as Firehose reads it; empty when nothing is."""
    held = json_object(text)
    if not held:
        return "is empty or not a JSON object"
    if not isinstance(held.get("user"), str) or not held["user"]:
        return "has no `user`"
    try:
        key = base64.b64decode(held.get("private_key") or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        key = b""
    # A DER sequence; PEM's first and last line, or line ends, are what people leave in.
    return "" if key[:1] == b"\x30" else "has no `private_key` of one line of base64 without BEGIN and END"


def kafka_fault(text: str | None) -> str:
    """Return what is wrong with a secret as a pipe reads it; empty when nothing is."""
    held = json_object(text)
    if not held:
        return "is empty or not a JSON object"
    if "-----BEGIN CERTIFICATE-----" not in str(held.get("certificate")):
        return "has no `certificate` in PEM"
    key = str(held.get("privateKey"))
    if "-----BEGIN PRIVATE KEY-----" in key:
        return ""
    if "-----BEGIN ENCRYPTED PRIVATE KEY-----" in key and held.get("privateKeyPassword"):
        return ""
    return "has no `privateKey` in PKCS#8 (BEGIN PRIVATE KEY), or an encrypted one without `privateKeyPassword`"


def tokens_fault(text: str | None) -> str:
    """Return what is wrong with a secret as a receiver reads it; empty when nothing is."""
    held = json_object(text)
    return "" if held and held.get("tokens") else "has no tokens as `lmdp receive token` writes them"


def json_object(text: str | None) -> dict[str, Any] | None:
    """Return the JSON object in `text`, if there is one."""
    try:
        held = json.loads(text or "")
    except ValueError:
        return None
    return held if isinstance(held, dict) else None
