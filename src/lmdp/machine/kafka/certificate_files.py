"""The certificate files of a Kafka client: what is wrong with them, and how librdkafka takes them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import stat
from typing import TYPE_CHECKING

from lmdp.certificates import pem
from lmdp.machine.data_dir import replaceable
from lmdp.support.opening import read_bytes
from lmdp.support.program import program

if TYPE_CHECKING:
    from pathlib import Path


def file_faults(ca: Path | None, cert: Path | None, key: Path | None) -> list[str]:
    """Return everything that is wrong with these files, each with what to do."""
    return [
        *_pair_faults(cert, key),
        *(_certificate_faults("--ca", ca) if ca else []),
        *_open_faults("--ca", ca),
        *_open_faults("--key", key),
        *(_certificate_faults("--cert", cert) if cert else []),
        *(_key_faults(key, cert) if key else []),
    ]


def tls_files(ca: Path | None, cert: Path | None, key: Path | None) -> dict[str, str]:
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
        if path is None:
            continue
        held = content(path)
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


def _pair_faults(cert: Path | None, key: Path | None) -> list[str]:
    if cert is None and key is not None:
        return ["--key is given without --cert: a client certificate is the two of them."]
    if key is None and cert is not None:
        return ["--cert is given without --key: a client certificate is the two of them."]
    return []


def _certificate_faults(option: str, path: Path) -> list[str]:
    try:
        certs = pem.certificates(read_bytes(path))
    except OSError as error:
        return [f"{option} {path} cannot be read: {error.strerror}."]
    except ValueError:
        hint = pem.conversion(content(path), path, "ca" if option == "--ca" else "certificate")
        return [f"{option} {path} is no PEM certificate. {hint}".rstrip()]
    now = dt.datetime.now(dt.UTC)
    ends = max(cert.not_valid_after_utc for cert in certs) if option == "--ca" else certs[0].not_valid_after_utc
    if ends <= now:
        return [f"{option} {path} ended on {ends:%Y-%m-%d}. Renew it ('{program()} certs' does it for its own)."]
    if option == "--cert" and certs[0].not_valid_before_utc > now:
        return [
            f"{option} {path} is valid only from {certs[0].not_valid_before_utc:%Y-%m-%d %H:%M} UTC: check the clock."
        ]
    return []


def _key_faults(path: Path, cert: Path | None) -> list[str]:
    try:
        mode = path.stat().st_mode
        key = pem.private_key(read_bytes(path))
    except OSError as error:
        return [f"--key {path} cannot be read: {error.strerror}."]
    except TypeError:
        return [f"--key {path} is encrypted: decrypt it first (openssl pkey -in {path} -out ...)."]
    except ValueError:
        return [f"--key {path} is no PEM private key. {pem.conversion(content(path), path, 'key')}".rstrip()]
    faults = []
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        faults.append(f"--key {path} can be read by others (mode {stat.S_IMODE(mode):04o}). Run: chmod 600 {path}")
    if cert is not None and not _belongs(key.public_key(), cert):
        faults.append(f"--key {path} is not the key of --cert {cert}.")
    return faults


def _open_faults(option: str, path: Path | None) -> list[str]:
    """Whoever can replace the CA chooses the broker; whoever can replace key and certificate chooses the client."""
    if path is None or os.name != "posix":
        return []
    try:
        faults = [f"{option} {path}: {fault}" for fault in replaceable(path)]
        if option == "--ca" and path.stat().st_mode & stat.S_IWOTH:
            faults.append(f"{option} {path}: everybody may write it. Run: chmod o-w {path}")
    except (OSError, ValueError):  # that it cannot be read is a fault of its own
        return []
    return faults


def _belongs(public_key: object, cert: Path) -> bool:
    """Return whether `cert` holds `public_key`; an unreadable certificate has a fault of its own."""
    try:
        return pem.certificates(read_bytes(cert))[0].public_key() == public_key
    except (OSError, ValueError):
        return True
