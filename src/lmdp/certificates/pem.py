"""Certificates and private keys as people have them: PEM, or base64 without its first and last line.

What is neither (Java's keystores, PKCS#12, DER) is named, with the command that converts it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shlex
import warnings
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

What = Literal["ca", "certificate", "key"]

_BEGIN = b"-----BEGIN "
_BLOCK = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
_LINE = re.compile(rb"^-----BEGIN ", re.MULTILINE)
_JAVA = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # JKS, JCEKS
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)


def certificates(data: bytes) -> list[x509.Certificate]:
    """Return the certificates in a file, in its order. Raises ValueError when there is none, or a broken one."""
    text = _text(data)
    blocks = [_decoded(body) for body in _BLOCK.findall(text)] if _BEGIN in text else [_decoded(text)]
    if not blocks:
        raise ValueError("no certificate")
    if blocks[0].lstrip().startswith(_BEGIN):  # base64 of a PEM file, as Kubernetes keeps it
        return certificates(blocks[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a system's bundle has old CAs that the library finds fault with
        return [x509.load_der_x509_certificate(_first_element(block)) for block in blocks]


def private_key(data: bytes, password: bytes | None = None) -> PrivateKeyTypes:
    """Return the private key in a file.

    Raises ValueError when there is none, or the password is wrong; TypeError when one is needed, or none.
    """
    text = _text(data)
    try:
        if _BEGIN in text:
            return serialization.load_pem_private_key(text, password)
        decoded = _decoded(text)
        if decoded.lstrip().startswith(_BEGIN):
            return private_key(decoded, password)
        return serialization.load_der_private_key(decoded, password)
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error


def is_plain(data: bytes) -> bool:
    """Return whether OpenSSL reads this file as it is: each block begins a line, and nothing else is in an encoding."""
    return 0 < data.count(_BEGIN) == len(_LINE.findall(data))


def certificates_pem(data: bytes) -> str:
    """Return the file's certificates as PEM that OpenSSL reads. Raises ValueError."""
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates(data))


def private_key_pem(data: bytes) -> str:
    """Return the file's unencrypted key as PEM that OpenSSL reads. Raises ValueError, TypeError."""
    key = private_key(data).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key.decode()


def public_half(key: PrivateKeyTypes) -> tuple[bytes, str]:
    """Return a key's public half (X.509, DER), and its fingerprint as Snowflake shows it."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return public, f"SHA256:{base64.b64encode(hashlib.sha256(public).digest()).decode()}"


def conversion(data: bytes, path: object, what: What) -> str:
    """Return what such a file is and the command that converts it, in a sentence; empty when it is not known."""
    source, made = shlex.quote(str(path)), shlex.quote(f"{path}.pem")
    pick = {"ca": "-nokeys", "certificate": "-nokeys -clcerts", "key": "-nocerts -nodes"}[what]
    if data.startswith(_JAVA):
        if what == "ca":
            return f"It is a Java keystore. Convert it: keytool -list -rfc -keystore {source} > {made}"
        store = shlex.quote(f"{path}.p12")
        return (
            f"It is a Java keystore. Convert it: keytool -importkeystore -noprompt -srckeystore {source} "
            f"-destkeystore {store} -deststoretype PKCS12 && openssl pkcs12 -in {store} {pick} -out {made}"
        )
    if _PKCS12.match(data):
        return f"It is PKCS#12. Convert it: openssl pkcs12 -in {source} {pick} -out {made}"
    if b"-----BEGIN PKCS7-----" in data and what != "key":
        return f"It is PKCS#7. Convert it: openssl pkcs7 -print_certs -in {source} -out {made}"
    if data.startswith(b"\x30"):
        command = "pkey" if what == "key" else "x509"
        return f"It looks like DER. Convert it: openssl {command} -inform DER -in {source} -out {made}"
    return ""


def _text(data: bytes) -> bytes:
    """Undo UTF-16, which PowerShell writes, and take a byte order mark away."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def _decoded(text: bytes) -> bytes:
    """Decode base64, wrapped or not. Raises ValueError."""
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error


def _first_element(der: bytes) -> bytes:
    """Return the first ASN.1 element: OpenSSL's TRUSTED CERTIFICATE has its trust settings behind the certificate."""
    if len(der) < 2:
        raise ValueError("no certificate")
    size = der[1] & 0x7F
    if der[1] < 0x80:
        return der[: 2 + size]
    return der[: 2 + size + int.from_bytes(der[2 : 2 + size], "big")]
