"""Certificate files of a Kafka client: librdkafka's settings for them, and what is wrong with them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import stat
from typing import TYPE_CHECKING

from lmdp.certificates import pem
from lmdp.machine.data_dir import replaceable
from lmdp.support.opening import others_may, read_bytes
from lmdp.support.program import program

if TYPE_CHECKING:
    from pathlib import Path


def tls_config(ca: Path | None, cert: Path | None, key: Path | None) -> dict[str, str]:
    """Return librdkafka's settings for these files: the path where OpenSSL reads the file, else its content as PEM.

    https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md
    """
    kinds = (
        ("ssl.ca", ca, pem.certificates_pem),
        ("ssl.certificate", cert, pem.certificates_pem),
        ("ssl.key", key, pem.private_key_pem),
    )
    settings = {}
    for name, path, convert in kinds:
        held = content(path)
        if path is not None:
            settings[f"{name}.location"] = str(path)
        if held and not pem.is_plain(held):
            with contextlib.suppress(ValueError, TypeError):  # librdkafka refuses the file in its own words
                settings[f"{name}.pem"] = convert(held)
                del settings[f"{name}.location"]
    return settings


def content(path: Path | None) -> bytes:
    """Return a file's bytes; none where it cannot be read."""
    try:
        return read_bytes(path) if path is not None else b""
    except OSError:
        return b""


def certificate_faults(option: str, path: Path) -> list[str]:
    """Return what is wrong with a certificate, or the CA's: not there, not PEM, or not valid today."""
    try:
        certs = pem.certificates(read_bytes(path))
    except OSError as error:
        return [f"{option} {path} cannot be read: {error.strerror}."]
    except ValueError:
        hint = pem.conversion(content(path), path, "ca" if option == "--ca" else "certificate")
        return [f"{option} {path} is not a PEM certificate. {hint}".rstrip()]
    now = dt.datetime.now(dt.UTC)
    ends = max(cert.not_valid_after_utc for cert in certs) if option == "--ca" else certs[0].not_valid_after_utc
    if ends <= now:
        return [f"{option} {path} expired on {ends:%Y-%m-%d}. Renew it ('{program()} certs' does it for its own)."]
    if option == "--cert" and certs[0].not_valid_before_utc > now:
        return [
            f"{option} {path} is valid only from {certs[0].not_valid_before_utc:%Y-%m-%d %H:%M} UTC: check the clock."
        ]
    return []


def key_faults(path: Path, cert: Path | None) -> list[str]:
    """Return what is wrong with a private key: not PEM, open to others, or not that of the certificate."""
    try:
        found = path.stat()
        key = pem.private_key(read_bytes(path))
    except OSError as error:
        return [f"--key {path} cannot be read: {error.strerror}."]
    except TypeError:
        return [f"--key {path} is encrypted: decrypt it first (openssl pkey -in {path} -out ...)."]
    except ValueError:
        return [f"--key {path} is not a PEM private key. {pem.conversion(content(path), path, 'key')}".rstrip()]
    faults = []
    if is_readable_by_others(found, os.geteuid()):
        mode = stat.S_IMODE(found.st_mode)
        faults.append(f"--key {path} can be read by others (mode {mode:04o}). Run: chmod 600 {path}")
    with contextlib.suppress(OSError, ValueError):  # an unreadable certificate has a fault of its own
        if cert is not None and pem.certificates(read_bytes(cert))[0].public_key() != key.public_key():
            faults.append(f"--key {path} is not the key of --cert {cert}.")
    return faults


def is_readable_by_others(found: os.stat_result, user: int) -> bool:
    """Return whether a key is open to more than its user.

    A key of root's may be readable by a group, as PostgreSQL's clients allow it: Kubernetes (fsGroup) and systemd
    (LoadCredential) hand over keys so. https://www.postgresql.org/docs/current/libpq-ssl.html
    """
    allowed = stat.S_IRGRP if found.st_uid == 0 and user != 0 else 0
    return others_may(found.st_mode & ~allowed)


def rights_faults(option: str, path: Path) -> list[str]:
    """Return faults of rights: who can replace the CA chooses the broker, or the certificate and key, the client."""
    if os.name != "posix":
        return []
    try:
        faults = [f"{option} {path}: {fault}" for fault in replaceable(path)]
        if option == "--ca" and path.stat().st_mode & stat.S_IWOTH:
            faults.append(f"{option} {path}: everybody may write it. Run: chmod o-w {path}")
    except (OSError, ValueError):  # that it cannot be read is a fault of its own
        return []
    return faults
