"""Rows straight to Snowflake in elastic mode: a batch is a request, and an answer of 200 is durable.

At least once, as Firehose is. The key comes from Secrets Manager, and is read again whenever the session signs in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from botocore.exceptions import BotoCoreError

from lmdp.cloud.aws_client import connect, post, with_deadline
from lmdp.errors import DeadlineError, Delivery, DeliveryError, LmdpError, SettingsError, UnreachableError
from lmdp.snowflake.connection import key_of
from lmdp.snowflake.secrets import held_in
from lmdp.snowflake.streaming import elastic
from lmdp.snowflake.streaming.session import Session
from lmdp.snowflake.streaming.settings import WriterSettings

# https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
_TARGET = "secretsmanager.GetSecretValue"
_READ_SECONDS = 5.0
_SPARE_SECONDS = 0.5  # after its time a call that hangs is left alone


def into_snowflake(settings: WriterSettings) -> Callable[[Sequence[bytes], float], Delivery]:
    """Return what delivers rows before a deadline (of the monotonic clock). Nothing is sent yet."""
    session = Session(settings.account)

    def deliver(rows: Sequence[bytes], deadline: float) -> Delivery:
        left = deadline - time.monotonic()
        call = partial(elastic.post, session, settings.place, rows, left)
        try:
            return with_deadline(left + _SPARE_SECONDS, call)
        except DeadlineError as error:
            lost = Delivery(len(rows), calls=1, repeats=len(rows), seconds=left)
            raise DeliveryError(
                f"Snowflake did not answer in time: {len(rows):,} rows are sent again with their batch.",
                "DeadlineError",
                lost,
                retryable=True,
            ) from error

    return deliver


def read_key(secret: str, region: str, env: Mapping[str, str]) -> bytes:
    """Return the private key (PKCS#8, DER) that a secret holds now. Raises LmdpError, never with what is in it."""
    connection = connect("secretsmanager", region, env, pool=1)
    try:
        answer = post(connection, _TARGET, json.dumps({"SecretId": secret}).encode(), _READ_SECONDS)
    except BotoCoreError as error:
        raise UnreachableError(f"Secrets Manager cannot be reached: {type(error).__name__}.") from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise UnreachableError(f"Secrets Manager answered with HTTP {answer.status_code} for {secret}.")
    if answer.status_code != 200:
        code = str(_field(answer.content, "__type")).rpartition("#")[2]
        raise LmdpError(f"Secrets Manager refused the secret {secret}: {code or answer.status_code}. Check the role.")
    return key_of(held_in(str(_field(answer.content, "SecretString")), secret))


def _field(content: bytes, name: str) -> object:
    try:
        return json.loads(content).get(name, "")
    except (AttributeError, ValueError) as error:
        raise SettingsError("Secrets Manager's answer cannot be read") from error
