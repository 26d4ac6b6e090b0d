"""SnowflakeAuthStack: the two secrets for Snowflake, without a value; `lmdp snowflake keypair` fills them."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.parts import KEPT, customer_key, parameter
from infra.settings import Settings


class SnowflakeAuthStack(cdk.Stack):
    """The secrets `loader` and `setup`, and their keys, where those are a customer's own."""

    def __init__(self, scope: Construct, id_: str, *, settings: Settings, env: cdk.Environment) -> None:
        """Make what is missing; secrets that are there already are taken by their ARNs."""
        super().__init__(scope, id_, env=env, description="lmdp: secrets for Snowflake")
        names, delivery = settings.names, settings.delivery
        key: kms.IKey | None = None
        if not (delivery.loader_secret_arn and delivery.setup_secret_arn):
            key = customer_key(self, "Key", alias=f"{names.prefix}-snowflake", about="Secrets of lmdp for Snowflake")
        self.loader = empty_secret(
            self,
            "Loader",
            name=names.secret("snowflake-loader"),
            about="Firehose's user: user, private_key (base64, one line), key_passphrase",
            arn=delivery.loader_secret_arn,
            key=key,
        )
        self.setup = empty_secret(
            self,
            "Setup",
            name=names.secret("snowflake-setup"),
            about="The owner of tables and views: user, private_key (base64, one line), key_passphrase",
            arn=delivery.setup_secret_arn,
            key=key,
        )
        for what, arn in (("loader", delivery.loader_secret_arn), ("setup", delivery.setup_secret_arn)):
            parameter(self, f"{what}-secret", arn or names.secret(f"snowflake-{what}"), names=names)
        theirs, ours = given_keys(self, settings), [key] if key else []
        self.loader_keys = theirs if delivery.loader_secret_arn else ours
        self.setup_keys = theirs if delivery.setup_secret_arn else ours


def given_keys(scope: Construct, settings: Settings) -> list[kms.IKey]:
    """The keys of the secrets that are there already; which of them has which key is not in the settings."""
    arns = dict.fromkeys(settings.secrets_key_arns)
    return [kms.Key.from_key_arn(scope, f"SecretsKey{number}", arn) for number, arn in enumerate(arns)]


def empty_secret(
    scope: Construct, id_: str, *, name: str, about: str, arn: str | None, key: kms.IKey | None
) -> secretsmanager.ISecret:
    """A secret without a value, so that nothing secret is in a template; or the one that is there, by its ARN."""
    if arn:
        return secretsmanager.Secret.from_secret_complete_arn(scope, id_, arn)
    # The L2 construct would have a password generated, which looks like a value until somebody uses it.
    made = secretsmanager.CfnSecret(scope, id_, name=name, description=about, kms_key_id=key.key_arn if key else None)
    made.apply_removal_policy(KEPT)
    return secretsmanager.Secret.from_secret_complete_arn(scope, f"{id_}Secret", made.ref)
