"""The receiver: what a run reports of its own, and the files and the port that LMDP_RECEIVE_… names."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lmdp.certificates.development_ca import RENEW_DAYS, read_certificate
from lmdp.doctor.result import NET_S, Context, Result, days_left, not_tried, ok, wrong
from lmdp.errors import LmdpError, RunNotFoundError
from lmdp.receive import senders
from lmdp.support.program import at_home, program

_PREFIX = "LMDP_RECEIVE_"
_DAY_S = 86_400
_SOON_DAYS = 7  # a token's renewal is one command
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens on all addresses, it does on loopback
_DOCS = "see docs/receive.md"


def receiver(context: Context) -> Result:
    """Check that it takes messages, and that its certificate and its tokens do not expire soon."""
    env = {name.removeprefix(_PREFIX): text for name, text in context.env.items() if name.startswith(_PREFIX) and text}
    running = _of_run(context)
    if running is None and not env:
        return not_tried(f"no run has one (--receive), and no {_PREFIX}… is set")
    scheme = "https" if "CERT" in env else "http"
    address = running["address"] if running else f"{scheme}://{env.get('LISTEN', '127.0.0.1:4318')}"
    found = [_port(address, is_mutual="CLIENT_CA" in env)]
    if running and running["trouble"]:
        found.append(wrong(running["trouble"], f"{program()} status{at_home(context.home)} --watch"))
    if "CERT" in env:
        found.append(_certificate(Path(env["CERT"])))
    if "TOKENS" in env:
        found.append(_tokens(Path(env["TOKENS"])))
    text = "; ".join(one.text for one in found)
    return next((wrong(text, one.fix) for one in found if one.state == "wrong"), ok(text))


def _of_run(context: Context) -> dict[str, Any] | None:
    """Return the state of the run's receiver, or None."""
    from lmdp.machine.api import client  # noqa: PLC0415 - DuckDB is loaded when needed

    try:
        found: dict[str, Any] | None = client.status(context.home)["running"].get("receiver")
    except (RunNotFoundError, LmdpError):  # that is another check's
        return None
    return found


def _port(address: str, *, is_mutual: bool) -> Result:
    """Check that what listens at an address is a receiver; nothing may, before it is started."""
    place = urlsplit(address)
    host = _LOCAL.get(place.hostname or "", place.hostname or "")
    try:
        port = place.port or 0
    except ValueError:
        return wrong(f"{address} has no port", _DOCS)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whether it is trusted is for its senders
    secure = http.client.HTTPSConnection(host, port, timeout=NET_S, context=context)
    connection = secure if place.scheme == "https" else http.client.HTTPConnection(host, port, timeout=NET_S)
    try:
        if is_mutual:  # it answers nobody without a certificate of that CA
            socket.create_connection((host, port), NET_S).close()
            return ok(f"{address} accepts connections")
        connection.request("GET", "/health")
        is_receiver = b"serving" in connection.getresponse().read(1_000)
    except ConnectionRefusedError:
        return ok(f"nothing listens at {address} yet")
    except (OSError, http.client.HTTPException) as error:
        return wrong(f"{address} does not answer as a receiver: {error}", "look at its log")
    finally:
        connection.close()
    if is_receiver:
        return ok(f"{address} answers")
    return wrong(f"something else listens at {address}", "stop it, or name another address: LMDP_RECEIVE_LISTEN")


def _certificate(path: Path) -> Result:
    renew = "replace the file; the receiver takes it up without a restart"
    try:
        days = days_left(read_certificate(path).not_valid_after_utc)
    except LmdpError as error:
        return wrong(str(error), renew)
    text = f"{path} expires in {days:,} days"
    return wrong(text, renew) if days < RENEW_DAYS else ok(text)


def _tokens(path: Path) -> Result:
    add = f"{program()} receive token add NAME --tokens {path}"
    try:
        tokens = senders.load(path)
    except LmdpError as error:
        return wrong(str(error), add)
    left = {token.name: (token.expires - time.time()) // _DAY_S for token in tokens if token.expires is not None}
    expired = [name for name, days in left.items() if days < 0]
    soon = [f"{name} in {days:.0f} days" for name, days in left.items() if 0 <= days < _SOON_DAYS]
    if len(expired) == len(tokens):
        return wrong(f"{path} has no token that is valid, so that nobody may send", add)
    text = f"{path}: {len(tokens) - len(expired)} valid"
    return wrong(f"{text}, expiring: {', '.join(soon)}", add) if soon else ok(text)
