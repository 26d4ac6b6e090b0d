"""`lmdp receive`: OTLP/HTTP in front of the topic; `lmdp receive token`: who may send to it."""

import json
import re
import resource
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from lmdp.cli.command import Command, group, option_groups
from lmdp.cli.options import DEFAULT_HOME, Home, Json, KafkaOptions, option
from lmdp.support import stdio
from lmdp.support.printable import printable
from lmdp.support.signals import stopped_by_signals

if TYPE_CHECKING:
    from lmdp.machine.kafka.access import KafkaAccess
    from lmdp.receive.server import ReceiveSettings

_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:]+)\]|([^\s:/]+)):(\d{1,5})")

app = group("The tokens of the receiver: who may send, and as which tenant.")

TokensFile = Annotated[
    Path,
    option(
        "--tokens FILE", "The file with the tokens' hashes, readable by you alone.", env="LMDP_RECEIVE_TOKENS",
    ),
]  # fmt: skip
DEFAULT_TOKENS = Path("receive-tokens.json")


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """A receiver's address and TLS, its senders, and its limits."""

    panel: ClassVar[str] = "Receiver"
    listen: Annotated[
        str,
        option(
            "--listen HOST:PORT", "The address; beyond loopback it needs TLS and senders.", env="LMDP_RECEIVE_LISTEN"
        ),
    ] = "127.0.0.1:4318"
    paths: Annotated[str, option("--paths PATH,…", "The paths that take metrics.", env="LMDP_RECEIVE_PATHS")] = (
        "/v1/metrics,/"
    )
    tls_cert: Annotated[
        Path | None,
        option(
            "--tls-cert FILE",
            "PEM file of the server's certificate and its chain; a new file is taken up without a restart.",
            env="LMDP_RECEIVE_CERT",
        ),
    ] = None
    tls_key: Annotated[
        Path | None, option("--tls-key FILE", "PEM file of its key, unencrypted.", env="LMDP_RECEIVE_KEY")
    ] = None
    behind_proxy: Annotated[
        bool,
        option(
            "--behind-proxy", "Listen without TLS: a proxy in front terminates it.", env="LMDP_RECEIVE_BEHIND_PROXY"
        ),
    ] = False
    tokens: Annotated[
        Path | None,
        option(
            "--tokens FILE", "The file of `lmdp receive token`: a request needs one of its tokens.",
            env="LMDP_RECEIVE_TOKENS",
        ),
    ] = None  # fmt: skip
    query_token: Annotated[
        bool,
        option(
            "--query-token",
            "Also take the token from the URL, as ?token=…, for a sender that cannot set a header. Proxies log URLs.",
            env="LMDP_RECEIVE_QUERY_TOKEN",
        ),
    ] = False
    client_ca: Annotated[
        Path | None,
        option(
            "--client-ca FILE",
            "PEM file of the CA that signs the senders' certificates: a connection needs one (mutual TLS).",
            env="LMDP_RECEIVE_CLIENT_CA",
        ),
    ] = None
    max_body_bytes: Annotated[
        int, option("--max-body-bytes", "The largest body, as sent.", env="LMDP_RECEIVE_MAX_BODY_BYTES", min=1024)
    ] = 20 * 1024 * 1024
    max_in_flight_bytes: Annotated[
        int,
        option(
            "--max-in-flight-bytes", "Bodies in memory at a time; beyond that, senders are asked to wait.",
            env="LMDP_RECEIVE_MAX_IN_FLIGHT_BYTES", min=1024,
        ),
    ] = 64 * 1024 * 1024  # fmt: skip


MetricsPort = Annotated[
    int,
    option(
        "--metrics-port PORT", "Serve /metrics on this port of 127.0.0.1; 0 disables it.",
        env="LMDP_RECEIVE_METRICS_PORT", min=0, max=65_535,
    ),
]  # fmt: skip


def listen_faults(context: typer.Context) -> list[str]:
    """Return what is wrong with --listen."""
    listen = context.params["listen"]
    found = _LISTEN.fullmatch(listen)
    if found is None or int(found[3]) > 65_535:
        return [f"--listen is {listen!r}; it is HOST:PORT, such as 0.0.0.0:4318 or [::]:4318"]
    return []


@option_groups(listen_faults)
def receive(
    *,
    kafka: KafkaOptions,
    receiver: ReceiverOptions,
    metrics_port: MetricsPort = 9464,
    home: Home = DEFAULT_HOME,
) -> None:
    """Take metrics by OTLP/HTTP, and put them on the topic.

    For LogicMonitor's HTTPS publisher, and the OTLP/HTTP exporters of OpenTelemetry's Collectors and SDKs. A request is
    answered with 200 once Kafka has acknowledged it. Without --tokens or --client-ca it listens on this machine alone.

    Example: lmdp receive token add collector-1 --tenant acme

    Example: lmdp receive --listen 0.0.0.0:4318 --tls-cert tls.pem --tls-key tls.key --tokens receive-tokens.json
    """
    from lmdp.receive.server import Receiver  # noqa: PLC0415 - loads librdkafka and uvicorn

    settings = receiver_settings(kafka.access(home), kafka.topic, receiver, metrics_port)
    serving, stop = Receiver(settings, _log), threading.Event()
    with stopped_by_signals(stop):
        serving.serve(stop, lambda address: _log(f"listening on {address}, topic {settings.topic}"))
    _log("ended")


def receiver_settings(
    access: "KafkaAccess", topic: str, given: ReceiverOptions, metrics_port: int = 0
) -> "ReceiveSettings":
    """Return the receiver's settings, and allow this process as many open files as it may need."""
    from lmdp.receive.application import ReceiveLimits  # noqa: PLC0415 - as above
    from lmdp.receive.server import ReceiveSettings  # noqa: PLC0415 - as above

    found = _LISTEN.fullmatch(given.listen)
    assert found is not None
    limits = ReceiveLimits(body=given.max_body_bytes, in_flight=given.max_in_flight_bytes)
    _allow_files(2 * limits.connections)
    return ReceiveSettings(
        access=access,
        topic=topic,
        host=found[1] or found[2],
        port=int(found[3]),
        paths=frozenset(path.strip() for path in given.paths.split(",") if path.strip()),
        tokens=given.tokens,
        query_token=given.query_token,
        cert=given.tls_cert,
        key=given.tls_key,
        client_ca=given.client_ca,
        behind_proxy=given.behind_proxy,
        metrics_port=metrics_port,
        limits=limits,
    )


def _allow_files(wanted: int) -> None:
    """Raise this process's limit of open files as far as it may: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _log(text: str) -> None:
    stdio.print_error(printable(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}"))


@app.command(cls=Command)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The sender's name, such as collector-1.")],
    *,
    tokens: TokensFile = DEFAULT_TOKENS,
    tenant: Annotated[
        str, option("--tenant NAME", "The tenant of what it sends; without it, the consumer's --org-id decides.")
    ] = "",
    expires_days: Annotated[int | None, option("--expires-days", "Days until it expires.", min=1, max=36_500)] = None,
    requests_per_second: Annotated[
        float | None, option("--requests-per-second", "How many requests it may send.", min=0.01)
    ] = None,
    max_body_bytes: Annotated[
        int | None, option("--max-body-bytes", "The largest body that it may send.", min=1)
    ] = None,
) -> None:
    """Create a token and print it. It is shown only once.

    Example: lmdp receive token add collector-2 --tenant acme --requests-per-second 200
    """
    from lmdp.receive import senders  # noqa: PLC0415 - loads msgspec

    limits = {"requests_per_second": requests_per_second, "max_body_bytes": max_body_bytes}
    token = senders.add(tokens, name, tenant, expires_days=expires_days, **limits)  # type: ignore[arg-type]
    typer.echo(token)
    sys.stdout.flush()
    stdio.print_error(
        f"lmdp: {tokens} has the hash of the token {name!r}. A running receiver that reads this file accepts the token "
        "within two seconds."
    )


@app.command("list", cls=Command)
def list_tokens(*, tokens: TokensFile = DEFAULT_TOKENS, as_json: Json = False) -> None:
    """List the tokens: names, tenants and limits.

    Example: lmdp receive token list
    """
    from lmdp.receive import senders  # noqa: PLC0415 - loads msgspec

    found = senders.load(tokens)
    if as_json:
        shown = [{name: getattr(one, name) for name in one.__struct_fields__ if name != "sha256"} for one in found]
        typer.echo(json.dumps(shown, indent=2))
        return
    for one in found:
        ends = "never expires" if one.expires is None else f"expires {_day(one.expires)}"
        rate = "" if one.requests_per_second is None else f", {one.requests_per_second:g} requests/s"
        size = "" if one.max_body_bytes is None else f", bodies up to {one.max_body_bytes:,} bytes"
        typer.echo(printable(f"{one.name}  tenant {one.tenant or '-'}, made {_day(one.created)}, {ends}{rate}{size}"))


@app.command(cls=Command)
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")],
    *,
    tokens: TokensFile = DEFAULT_TOKENS,
) -> None:
    """Revoke a token. A running receiver that reads this file refuses it within two seconds.

    Example: lmdp receive token revoke collector-1
    """
    from lmdp.receive import senders  # noqa: PLC0415 - loads msgspec

    senders.revoke(tokens, name)
    typer.echo(f"Revoked: {name}")


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
