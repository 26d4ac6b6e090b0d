"""Kafka: the topic as this machine reaches it, and the certificates on disk."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature

from lmdp.certificates.development_ca import RENEW_DAYS, other_names, read_certificate
from lmdp.doctor.result import NET_S, Context, Result, days_left, not_tried, ok, refused, wrong
from lmdp.errors import LmdpError
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.support.opening import others_may
from lmdp.support.program import at_home, program

_ANYWHERE = "localhost:1"  # never connected to; only the files are checked


def topic(context: Context) -> Result:
    """Check the topic's shape, at the broker that is named, or at the one that runs under the home."""
    from lmdp.machine.embedded_kafka.broker import running_access  # noqa: PLC0415 - slow to load
    from lmdp.machine.kafka import topics as admin  # noqa: PLC0415 - librdkafka is loaded when needed

    if context.servers is None:
        access = running_access(context.home)
        if access is None:
            return not_tried(f"no broker is named (LMDP_BOOTSTRAP_SERVERS), and none runs under {context.home}")
    else:
        access = KafkaAccess(context.servers, context.ca, context.cert, context.key, plaintext=context.plaintext)
    options = f" --topic {context.topic}{at_home(context.home) if context.servers is None else access.options()}"
    check = f"{program()} topic check{options}"
    faults = access.faults()
    if faults:
        return wrong(f"not asked: {' '.join(faults)}", f"fix the settings, then: {check}")
    try:
        shape = admin.describe(access, context.topic, seconds=NET_S)
    except LmdpError as error:
        made = f"{program()} topic create{options}"
        return refused(error, made if "does not exist" in str(error) else f"fix this, then: {check}")
    faults = admin.faults(shape)
    text = f"{access.bootstrap_servers}, {admin.summary(shape)}"
    return wrong(f"{text}. {' '.join(faults)}", f"details: {check}") if faults else ok(text)


def embedded(context: Context) -> Result:
    """Check the development CA of this home, and what it signed."""
    folder = context.home / "certs"
    renew = f"{program()} certs{at_home(context.home)}"
    if not (folder / "ca.pem").exists():
        return not_tried(f"none in {folder} yet; {program()} run{at_home(context.home)} makes them, or: {renew}")
    faults, ends = [], {}
    for name in ("ca", "server", "client", *other_names(folder)):
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        faults += KafkaAccess(_ANYWHERE, ca=folder / "ca.pem", cert=cert, key=key).faults()
        try:
            ends[name] = _end(cert, folder / "ca.pem")
        except LmdpError as error:
            faults.append(str(error))
    faults += _folder_faults(folder)
    soon = [f"{name} expires in {days} days" for name, days in ends.items() if days < RENEW_DAYS]
    if faults or soon:
        return wrong(" ".join([*dict.fromkeys(faults), *soon]), renew)
    return ok(", ".join(f"{name} expires in {days:,} days" for name, days in ends.items()))


def client(context: Context) -> Result:
    """Check the client certificate for the named Kafka."""
    if context.servers is None:
        return not_tried("no broker is named (LMDP_BOOTSTRAP_SERVERS); the embedded one has certificates of its own")
    if not any((context.ca, context.cert, context.key)):
        tls = KafkaAccess(context.servers, plaintext=context.plaintext).is_tls()
        protocol = "TLS without a client certificate" if tls else "plaintext"
        return not_tried(f"none is named (LMDP_KAFKA_CERT, LMDP_KAFKA_KEY): {protocol}")
    issue = f"have its CA issue a new one; AWS Private CA: {program()} certs --private-ca ARN --client NAME"
    faults = KafkaAccess(_ANYWHERE, context.ca, context.cert, context.key).faults()
    if faults:
        return wrong(" ".join(faults), issue)
    if context.cert is None:
        return ok(f"only a CA is named: {context.ca}")
    days = days_left(read_certificate(context.cert).not_valid_after_utc)
    text = f"{context.cert} expires in {days:,} days"
    return wrong(text, issue) if days < RENEW_DAYS else ok(text)


def _end(cert: Path, ca: Path) -> int:
    """Return in how many days it expires. Raises LmdpError when it cannot be read, or is another CA's."""
    found, authority = read_certificate(cert), read_certificate(ca)
    try:
        found.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise LmdpError(f"{cert} is not signed by {ca}: move it and its key away.") from None
    return days_left(found.not_valid_after_utc)


def _folder_faults(folder: Path) -> list[str]:
    mode = folder.stat().st_mode
    if others_may(mode):
        return [f"{folder} is open to others (mode {stat.S_IMODE(mode):04o})."]
    return []
