"""Secrets Manager, and the JSON that Firehose reads there.

The keys are Firehose's: `user`, `private_key` (base64 in one line, without PEM's first and last), `key_passphrase`.
https://docs.aws.amazon.com/firehose/latest/dev/secrets-manager-whats-secret.html
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from lmdp.errors import LmdpError, SecretNotFoundError, SettingsError, UnreachableError, translating
from lmdp.support.program import program

PENDING: Final = "LMDP_PENDING"
"""The staging label of a key that is made and not yet in use."""


@dataclass(frozen=True, slots=True)
class KeySecret:
    """The content of a secret; its text never shows the key."""

    user: str
    private_key: str = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)

    def json(self) -> str:
        """Return the JSON that Firehose reads."""
        passphrase = {"key_passphrase": self.passphrase} if self.passphrase else {}
        return json.dumps({"user": self.user, "private_key": self.private_key, **passphrase})


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a secret by use: the current one, the pending one, and when the labels last moved (epoch s)."""

    current: str | None
    pending: str | None
    changed_at: float


def secrets_client() -> Any:
    """boto3's client, as the environment says. Raises UnreachableError."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - an extra; a key in a file works without it

    with translating({BotoCoreError: _unreachable}):
        return aws_client("secretsmanager")


def aws_client(service: str) -> Any:
    """Return boto3's client in the deployment's Region, else the profile's.

    It gives up within a minute where nobody answers; boto3's own default is five.
    """
    import boto3  # noqa: PLC0415 - as above
    from botocore.config import Config  # noqa: PLC0415 - as above

    retries = {"mode": "standard", "total_max_attempts": 3}
    config = Config(connect_timeout=5, read_timeout=15, retries=retries)
    return boto3.client(service, region_name=os.environ.get("LMDP_AWS_REGION") or None, config=config)


def read_secret(name: str, version: str | None = None, client: Any = None) -> KeySecret:
    """The current version of a secret, or that one. Raises LmdpError, never with what is in it."""
    return held_in(read_text(name, version, client), name)


def held_in(text: str, name: str) -> KeySecret:
    """Return what the text of the secret `name` says. Raises SettingsError, never with what is in it."""
    try:
        held = json.loads(text)
        return KeySecret(str(held["user"]), str(held["private_key"]), held.get("key_passphrase") or None)
    except (KeyError, TypeError, ValueError):
        raise SettingsError(
            f"the secret {name} is not in Firehose's shape: a JSON object with `user` and `private_key`. "
            f"`{program()} snowflake keypair` writes it so."
        ) from None


def read_text(name: str, version: str | None = None, client: Any = None) -> str:
    """Return what a version holds, whatever its shape; empty where it is no text. Raises LmdpError."""
    aws = client or secrets_client()
    which = {"VersionId": version} if version else {"VersionStage": "AWSCURRENT"}
    return str(_call(name, lambda: aws.get_secret_value(SecretId=name, **which)).get("SecretString", ""))


def read_versions(name: str, client: Any) -> Versions:
    """Return the secret's versions; none when there is no secret yet."""
    try:
        answer = _call(name, lambda: client.describe_secret(SecretId=name))
    except SecretNotFoundError:
        return Versions(None, None, 0.0)
    by_label = {label: version for version, labels in answer.get("VersionIdsToStages", {}).items() for label in labels}
    changed = answer.get("LastChangedDate") or answer.get("CreatedDate")
    return Versions(by_label.get("AWSCURRENT"), by_label.get(PENDING), changed.timestamp() if changed else 0.0)


def write_current(name: str, held: KeySecret, client: Any) -> None:
    """Make the secret, or a new current version of it."""
    try:
        _call(name, lambda: client.put_secret_value(SecretId=name, SecretString=held.json()))
    except SecretNotFoundError:
        _call(name, lambda: client.create_secret(Name=name, SecretString=held.json(), Description=_ABOUT))


def write_pending(name: str, held: KeySecret, client: Any) -> str:
    """Keep a new key beside the current one; returns its version."""
    stages = [PENDING]
    answer = _call(name, lambda: client.put_secret_value(SecretId=name, SecretString=held.json(), VersionStages=stages))
    return str(answer["VersionId"])


def promote(name: str, versions: Versions, client: Any) -> None:
    """Make the pending version the current one; its label stays until the rotation is over."""
    _call(
        name,
        lambda: client.update_secret_version_stage(
            SecretId=name,
            VersionStage="AWSCURRENT",
            MoveToVersionId=versions.pending,
            RemoveFromVersionId=versions.current,
        ),
    )


def remove_pending(name: str, version: str, client: Any) -> None:
    """Take the pending label away: the rotation is over."""
    _call(
        name,
        lambda: client.update_secret_version_stage(SecretId=name, VersionStage=PENDING, RemoveFromVersionId=version),
    )


_ABOUT: Final = "lmdp: the key with which Firehose signs in to Snowflake"


def _call(name: str, call: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    def refused(error: ClientError) -> LmdpError:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "ResourceNotFoundException":
            return SecretNotFoundError(f"there is no secret {name}. Nothing was done.")
        return LmdpError(f"Secrets Manager refused {error.operation_name} for {name}: {code}. Nothing was done.")

    errors: dict[type[Exception], Callable[[Any], Exception]] = {ClientError: refused, BotoCoreError: _unreachable}
    with translating(errors):
        return call()


def _unreachable(error: Exception) -> UnreachableError:
    return UnreachableError(f"Secrets Manager cannot be reached: {error}. Nothing was done.")
