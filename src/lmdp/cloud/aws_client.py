"""One call of an AWS API that speaks JSON 1.1: botocore's credentials, endpoint rules, signing and HTTP.

boto3's client validates, encodes and decodes every record by the service's model, which costs more than everything else
in the function, and importing it costs most of a cold start. What is used here are the parts below the model.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore import __version__ as botocore_version
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import (
    ContainerProvider,
    CredentialResolver,
    Credentials,
    EnvProvider,
    ReadOnlyCredentials,
)
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError, CredentialRetrievalError
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader
from botocore.utils import get_environ_proxies

from lmdp.errors import LmdpError

# urllib3 sends a request within the time that it has to connect: 20 s are a call of 0.7 MB, seven others beside it, at
# 2.5 Mbit/s. Whether somebody is there is known after a second SYN, 3 s.
_SEND_SECONDS: Final = 20.0
_TWO_SYNS: Final = [(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)] if hasattr(socket, "TCP_SYNCNT") else []
# Head and body are two writes; without this the second waits for the first one's acknowledgement, up to 40 ms.
_NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_AGENT: Final = f"lmdp botocore/{botocore_version}"


@dataclass(frozen=True, slots=True)
class Connection:
    """Where calls of one service go, as whom, and the pool of HTTP connections that they share."""

    url: str
    region: str
    service: str
    credentials: Credentials
    http: URLLib3Session


def connect(
    service: str, region: str, env: Mapping[str, str], *, pool: int, credentials: Credentials | None = None
) -> Connection:
    """Find the endpoint and the credentials as boto3 does; nothing is sent yet. `pool`: connections to keep.

    Raises LmdpError when there are no credentials, or no such endpoint.
    """
    try:
        url = endpoint(service, region, env)
        return Connection(
            url=url,
            region=region,
            service=service,
            credentials=credentials or find_credentials(),
            http=URLLib3Session(
                verify=env.get("AWS_CA_BUNDLE") or True,
                proxies=get_environ_proxies(url),
                timeout=(_SEND_SECONDS, 10.0),
                max_pool_connections=pool,
                socket_options=[_NO_DELAY, *_TWO_SYNS],
            ),
        )
    except BotoCoreError as error:
        raise LmdpError(f"{service} in {region} cannot be called: {error}") from error


def endpoint(service: str, region: str, env: Mapping[str, str]) -> str:
    """The service's URL by its own rules, or the one that the environment names.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
    """
    ignored = _on(env, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    given = env.get(f"AWS_ENDPOINT_URL_{service.upper()}") or env.get("AWS_ENDPOINT_URL")
    loader = create_loader()
    rules = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions"))
    where: dict[str, Any] = {
        "Region": region,
        "UseFIPS": _on(env, "AWS_USE_FIPS_ENDPOINT"),
        "UseDualStack": _on(env, "AWS_USE_DUALSTACK_ENDPOINT"),
    }
    if given and not ignored:
        where["Endpoint"] = given
    return str(rules.resolve_endpoint(**where).url)


def _on(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() == "true"


def find_credentials() -> Credentials:
    """Lambda's credentials; elsewhere whatever boto3 finds (profiles, single sign-on). They refresh themselves."""
    found = CredentialResolver([EnvProvider(), ContainerProvider()]).load_credentials()
    if found is None:
        from botocore.session import Session  # noqa: PLC0415 - a third of a cold start, and not needed in Lambda

        found = Session().get_credentials()
    if found is None:
        raise LmdpError("There are no AWS credentials. Sign in (aws sso login) or set AWS_PROFILE, then try again.")
    return found


def post(connection: Connection, target: str, body: bytes, read_seconds: float) -> AWSResponse:
    """Sign and send one request; the answer's body is read.

    Raises a BotoCoreError when there is no answer, or nothing to sign with.
    """
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1", "User-Agent": _AGENT}
    request = AWSRequest("POST", connection.url, headers, body)
    # Refreshed where need be, and read at one moment: a key and a token of two generations do not fit.
    credentials = _frozen(connection.credentials)
    SigV4Auth(credentials, connection.service, connection.region).add_auth(request)
    request.context["read_timeout"] = read_seconds
    return connection.http.send(request.prepare())


def _frozen(credentials: Credentials) -> ReadOnlyCredentials:
    try:
        return credentials.get_frozen_credentials()
    except RuntimeError as error:  # they have ended, and their source gives no newer ones
        raise CredentialRetrievalError(provider=credentials.method, error_msg="they have ended") from error
