"""AWS's refusals in this project's words: what failed, and the next command."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from lmdp.deployment.checks import DENIED, NO_LOGIN
from lmdp.errors import LmdpError, UnreachableError

_AGAIN = "What was deployed stays; the same command continues."


def translated(error: BotoCoreError | ClientError, region: str) -> LmdpError:
    """The error to raise in the place of one of AWS's."""
    if isinstance(error, ClientError):
        return _refused(error, region)
    text = " ".join(str(error).split())
    if isinstance(error, NoCredentialsError | PartialCredentialsError | SSOError | TokenRetrievalError):
        return UnreachableError(f"Not signed in to AWS: {text} Sign in (aws sso login, or set AWS_PROFILE). {_AGAIN}")
    if isinstance(error, EndpointConnectionError):
        return UnreachableError(
            f"{text} Either this machine has no way to AWS (network, proxy), or {region} does not have that service. "
            f"{_AGAIN}"
        )
    return UnreachableError(f"AWS did not answer: {text} {_AGAIN}")


def _refused(error: ClientError, region: str) -> LmdpError:
    code, said = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    if code in NO_LOGIN:
        return UnreachableError(
            f"AWS does not accept this login ({code}): it has expired, or {region} is not enabled in this account. "
            f"Sign in (aws sso login, or set AWS_PROFILE). {_AGAIN}"
        )
    if code in DENIED:
        return LmdpError(
            f"This login may not call {error.operation_name}: {said} Sign in as somebody who has the policy "
            f"LmdpDeployer, or as an administrator for make bootstrap and make destroy DELETE_DATA=1. {_AGAIN}"
        )
    return LmdpError(f"AWS refused {error.operation_name} ({code}): {said} {_AGAIN}")
