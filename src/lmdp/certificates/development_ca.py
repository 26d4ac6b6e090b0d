"""A development CA and the certificates that it signs: server, clients.

Keys are EC P-256 in unencrypted PKCS#8 PEM: the one form that Kafka's PEM stores (KIP-651) and librdkafka both
read without a conversion. A key file is created with mode 0600, so that nobody reads it even for a moment. Who changes
a folder has its lock, so that two at once leave no key beside the other's certificate.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from filelock import FileLock, Timeout

from lmdp.certificates import pem
from lmdp.errors import SettingsError, UnreachableError
from lmdp.support.atomic_files import replace_files
from lmdp.support.opening import read_bytes
from lmdp.support.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CA_DAYS = 3650
LEAF_DAYS = 825  # the longest that Apple's TLS stack accepts: https://support.apple.com/en-us/103769
RENEW_DAYS = 30
CLOCK_SKEW = dt.timedelta(minutes=5)
LOCK_SECONDS = 30.0  # a renewal takes milliseconds
_KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,58}")  # with its prefix within the 64 characters of a CN (RFC 5280)

_LOOPBACK: list[x509.GeneralName] = [
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.IPAddress(ipaddress.ip_address("::1")),
]


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate on disk. `key` is its private key's file, `made`: this call wrote it."""

    name: str
    cert: Path
    key: Path
    principal: str
    ends: dt.datetime
    made: bool


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of a certificate folder."""

    ca: Certificate
    server: Certificate
    client: Certificate
    others: tuple[Certificate, ...] = ()

    def all(self) -> tuple[Certificate, ...]:
        """Every certificate, the CA first."""
        return (self.ca, self.server, self.client, *self.others)


@dataclass(frozen=True, slots=True)
class _Authority:
    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make(folder: Path, *, now: dt.datetime | None = None) -> Certificates:
    """Make what is missing in `folder`, renew what ends within 30 days, and leave the rest as it is.

    A CA is never replaced: everything that trusts it would break. Raises SettingsError when half of it is missing
    or when it has expired.
    """
    with locked(folder):
        return _make(folder, now or dt.datetime.now(dt.UTC))


def _make(folder: Path, now: dt.datetime, *more: str) -> Certificates:
    authority, ca = _authority(folder, now)
    signed = {
        name
        for name in other_names(folder)
        if read_certificate(folder / f"{name}.pem").issuer == authority.cert.subject
    }
    others = sorted({*signed, *more})
    server, client, *rest = (_leaf(folder, name, authority, now) for name in ("server", "client", *others))
    return Certificates(ca, server, client, tuple(rest))


def make_client(folder: Path, name: str, *, now: dt.datetime | None = None) -> Certificate:
    """Issue one more client certificate, `NAME.pem` and `NAME.key` with the common name NAME; keep a good one."""
    if not NAME.fullmatch(name) or name in {"ca", "server", "client"} or name.startswith("lmdp-"):
        raise SettingsError(
            f"{name!r} cannot name a client: take 1 to 59 letters, digits or . _ -, not ca, server, client or lmdp-*."
        )
    with locked(folder):
        made = _make(folder, now or dt.datetime.now(dt.UTC), name)
    return next(one for one in made.others if one.name == name)


@contextlib.contextmanager
def locked(folder: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Make the folder, for its owner alone, and be the only one who changes certificates in it.

    Raises SettingsError when it cannot be made, UnreachableError when another process has had it for `seconds`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        lock = FileLock(folder / ".lock", timeout=seconds, mode=0o600, fallback_to_soft=False).acquire()
    except Timeout as error:
        raise UnreachableError(
            f"another process has been changing the certificates in {folder} for {seconds:g} s. "
            "Nothing was changed here. Look for an `lmdp` that hangs, and run the command again."
        ) from error
    except OSError as error:
        raise SettingsError(
            f"certificates cannot be kept in {folder}: {_cause(error)}. It has to be a folder of this user's own; "
            "name another with --home."
        ) from error
    with lock:
        yield


def read_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file; raises SettingsError that names the file."""
    try:
        return pem.certificates(read_bytes(path))[0]
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is not a readable PEM certificate: {_cause(error)}") from error


def principal_of(cert: x509.Certificate) -> str:
    """Kafka's principal of a certificate, with the default mapping rule: `User:` and the RFC 2253 subject."""
    return f"User:{cert.subject.rfc4514_string()}"


def _authority(folder: Path, now: dt.datetime) -> tuple[_Authority, Certificate]:
    cert_path, key_path = folder / "ca.pem", folder / "ca.key"
    made = not cert_path.exists() and not key_path.exists()
    if made:
        _write_authority(cert_path, key_path, now)
    for missing in (path for path in (cert_path, key_path) if not path.exists()):
        raise SettingsError(
            f"{missing} is missing while its other half is there. Put it back, or move the folder {folder} away and "
            f"run '{program()} certs' again: all certificates are then new."
        )
    authority = _Authority(read_certificate(cert_path), _read_key(key_path))
    if authority.cert.public_key() != authority.key.public_key():
        raise SettingsError(f"{key_path} is not the key of {cert_path}. Put the right pair back.")
    if authority.cert.not_valid_after_utc <= now:
        raise SettingsError(
            f"The CA {cert_path} expired on {authority.cert.not_valid_after_utc:%Y-%m-%d}. It is never replaced: "
            f"move the folder {folder} away, run '{program()} certs' again and give the new ca.pem to every client."
        )
    return authority, described("ca", cert_path, key_path, made=made)


def _write_authority(cert_path: Path, key_path: Path, now: dt.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"lmdp development CA {secrets.token_hex(4)}")
    builder = _builder(subject, subject, key, now, CA_DAYS, is_ca=True).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    _write_pair(cert_path, key_path, builder.sign(key, hashes.SHA256()), key)


def _leaf(folder: Path, name: str, authority: _Authority, now: dt.datetime) -> Certificate:
    cert_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    made = not _is_good(cert_path, key_path, authority, now)
    if made:
        key = ec.generate_private_key(ec.SECP256R1())
        _write_pair(cert_path, key_path, _sign_leaf(name, key, authority, now), key)
    return described(name, cert_path, key_path, made=made)


def _sign_leaf(name: str, key: ec.EllipticCurvePrivateKey, authority: _Authority, now: dt.datetime) -> x509.Certificate:
    common_name = f"lmdp-{name}" if name in {"server", "client"} else name
    roles = [ExtendedKeyUsageOID.SERVER_AUTH] * (name == "server") + [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = _LOOPBACK if name == "server" else [x509.DNSName(common_name)]  # strict verifiers want one, of clients too
    return (
        _builder(_subject(common_name), authority.cert.subject, key, now, LEAF_DAYS, is_ca=False)
        .add_extension(x509.ExtendedKeyUsage(roles), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _is_good(cert_path: Path, key_path: Path, authority: _Authority, now: dt.datetime) -> bool:
    if not cert_path.exists() or not key_path.exists():
        return False
    cert = read_certificate(cert_path)
    if cert.issuer != authority.cert.subject:
        raise SettingsError(
            f"{cert_path} was issued by {cert.issuer.rfc4514_string()!r}, not by this folder's ca.pem, so it is left "
            f"as it is. Move it and its key away and run '{program()} certs' again."
        )
    if cert.not_valid_after_utc - now < dt.timedelta(days=RENEW_DAYS):
        return False
    return bool(cert.public_key() == _read_key(key_path).public_key())


def other_names(folder: Path) -> list[str]:
    """Return the names of a folder's certificates that have a key, without the CA's own three."""
    own = {"ca", "server", "client"}
    return sorted(
        path.stem for path in folder.glob("*.pem") if path.stem not in own and path.with_suffix(".key").exists()
    )


def described(name: str, cert_path: Path, key_path: Path, *, made: bool) -> Certificate:
    """Return the certificate in a file. Raises SettingsError."""
    cert = read_certificate(cert_path)
    return Certificate(name, cert_path, key_path, principal_of(cert), cert.not_valid_after_utc, made)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, days: int, *, is_ca: bool
) -> x509.CertificateBuilder:
    used = {"key_cert_sign", "crl_sign"} if is_ca else {"digital_signature"}
    usage = x509.KeyUsage(**{name: name in used for name in _KEY_USAGES})
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        .add_extension(usage, critical=True)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(read_bytes(path), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{path} is not a readable, unencrypted PEM key: {_cause(error)}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingsError(f"{path} is not an EC key, so '{program()} certs' did not make it; it is left as it is.")
    return key


def _write_pair(cert_path: Path, key_path: Path, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_pair(cert_path, key_path, cert.public_bytes(serialization.Encoding.PEM), pem_key)


def write_pair(cert_path: Path, key_path: Path, cert: bytes, key: bytes) -> None:
    """Replace a certificate and its key: both are on the disk before the first of the two is renamed."""
    replace_files((key_path, key, 0o600), (cert_path, cert, 0o644))


def _cause(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
