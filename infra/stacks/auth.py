"""AuthStack: the secrets with client certificates for Kafka, and the receiver's tokens.

`lmdp certs --private-ca … --secret …` and `lmdp receive token` fill them.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.containers import CONTAINER_SECRETS, CONTAINER_SECRETS_PARAMETER
from infra.parts import customer_key, parameter
from infra.settings import Settings
from infra.stacks.snowflake_auth import empty_secret, given_keys


class AuthStack(cdk.Stack):
    """The secret of Kafka's client: `secret`, its `keys` where they are a customer's own, and those of `containers`."""

    def __init__(self, scope: Construct, id_: str, *, settings: Settings, env: cdk.Environment) -> None:
        """Make it, unless there is one already."""
        super().__init__(scope, id_, env=env, description="lmdp: the pipe's certificate for Kafka")
        names, arn = settings.names, settings.kafka.secret_arn
        key: kms.IKey | None = None
        if not arn:
            key = customer_key(self, "Key", alias=f"{names.prefix}-kafka-client", about="The pipe's key for Kafka")
        self.keys = [key] if key else given_keys(self, settings)
        self.secret = empty_secret(
            self,
            "KafkaClient",
            name=names.secret("kafka-client"),
            about="The pipe's certificate for Kafka: certificate (chain), privateKey (PKCS#8), privateKeyPassword",
            arn=arn,
            key=key,
        )
        parameter(self, "kafka-secret", arn or names.secret("kafka-client"), names=names)
        self.containers_keys: list[kms.IKey] = []
        self.containers: dict[str, secretsmanager.ISecret] = {}
        if not settings.containers.services:
            return
        alias = f"{names.prefix}-containers"
        containers_key = customer_key(self, "ContainersKey", alias=alias, about="Secrets of lmdp's containers")
        self.containers_keys = [containers_key]
        for what, (secret_id, about) in CONTAINER_SECRETS.items():
            self.containers[what] = empty_secret(
                self, secret_id, name=names.secret(what), about=about, arn=None, key=containers_key
            )
        parameter(self, CONTAINER_SECRETS_PARAMETER, ",".join(map(names.secret, CONTAINER_SECRETS)), names=names)
