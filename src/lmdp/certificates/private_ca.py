"""Client certificates from AWS Private CA, kept as files or in the secret that MSK's clients read.

The private key is made here and leaves this machine only into the secret. Keys are RSA, since Private CA signs with the
CA's own algorithm whatever the client's is, and every client reads RSA; PKCS#8, unencrypted: of encrypted ones a pipe
reads PBES1 only. https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-msk.html
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from lmdp.certificates.development_ca import NAME, RENEW_DAYS, Certificate, described, locked, write_pair
from lmdp.errors import LmdpError, SettingsError, UnreachableError

KEY_BITS: Final = 2048
DAYS: Final = 365
# The watcher reads from this tag which version of the secret holds a certificate, and when that ends.
CERTIFICATE_TAG: Final = "lmdp:certificate"
# https://docs.aws.amazon.com/privateca/latest/userguide/UsingTemplates.html
_TEMPLATE: Final = "acm-pca:::template/EndEntityClientAuthCertificate/V1"
_SIGNING: Final = {"RSA": "SHA256WITHRSA", "EC": "SHA256WITHECDSA"}
_WAIT: Final = {"Delay": 1, "MaxAttempts": 60}
# For interactive use: without an answer it gives up within a minute; the default of boto3 is five.
_CALLS: Final = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, its chain up to the root (PEM), and its key (PKCS#8 PEM), which nothing prints."""

    certificate: bytes
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"Issued(ends={self.ends.isoformat()})"

    @property
    def ends(self) -> dt.datetime:
        """Return the end of its validity."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    @property
    def whole_chain(self) -> bytes:
        """The client's certificate first, the root last, each on a line of its own."""
        return self.certificate.strip() + b"\n" + self.chain.strip() + b"\n"


def issue(arn: str, name: str, *, days: int = DAYS) -> Issued:
    """Make a key, and have the Private CA `arn` sign a client certificate with the common name `name`.

    Raises SettingsError, LmdpError or UnreachableError.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} cannot name a client: take 1 to 59 letters, digits or . _ -.")
    if not arn.startswith("arn:"):
        raise SettingsError(f"--private-ca is {arn!r}; it is the ARN of an AWS Private CA.")
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    with _aws_errors(f"the Private CA {arn}"):
        pca = boto3.client("acm-pca", region_name=_region(arn), config=_CALLS)
        algorithm = pca.describe_certificate_authority(CertificateAuthorityArn=arn)["CertificateAuthority"][
            "CertificateAuthorityConfiguration"
        ]["KeyAlgorithm"]
        certificate_arn = pca.issue_certificate(
            CertificateAuthorityArn=arn,
            Csr=_request(name, key),
            SigningAlgorithm=_signing(arn, algorithm),
            TemplateArn=f"arn:{arn.split(':')[1]}:{_TEMPLATE}",
            Validity={"Value": days, "Type": "DAYS"},
        )["CertificateArn"]
        found = {"CertificateAuthorityArn": arn, "CertificateArn": certificate_arn}
        pca.get_waiter("certificate_issued").wait(**found, WaiterConfig=_WAIT)
        answer = pca.get_certificate(**found)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Issued(answer["Certificate"].encode(), answer["CertificateChain"].encode(), pem)


def write_files(folder: Path, name: str, issued: Issued) -> Certificate:
    """`NAME.pem` with the chain, `NAME.key` readable by its owner alone."""
    cert_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    with locked(folder):
        write_pair(cert_path, key_path, issued.whole_chain, issued.key)
    return described(name, cert_path, key_path, made=True)


def good_files(folder: Path, name: str, *, now: dt.datetime) -> Certificate | None:
    """The certificate that is there, unless it ends within 30 days."""
    cert_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    if not (cert_path.exists() and key_path.exists()):
        return None
    found = described(name, cert_path, key_path, made=False)
    return found if found.ends - now >= dt.timedelta(days=RENEW_DAYS) else None


def secret_ends(secret: str) -> dt.datetime | None:
    """Return when the certificate in the secret ends; None when there is none that could be read."""
    with _aws_errors(f"the secret {secret}"):
        manager = _secrets_client()
        try:
            held = json.loads(manager.get_secret_value(SecretId=secret)["SecretString"])
            ends: dt.datetime = x509.load_pem_x509_certificate(held["certificate"].encode()).not_valid_after_utc
        except manager.exceptions.ResourceNotFoundException:
            # Also what a secret without any value answers.
            return None
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return ends


def write_secret(secret: str, issued: Issued) -> None:
    """Put it into the secret, in the shape that MSK's clients read, and tag the secret with its end.

    The tag comes first: with a certificate but without its tag, the next run would find nothing to do. Pipes read the
    new value when they reconnect.
    """
    value = {"certificate": issued.whole_chain.decode(), "privateKey": issued.key.decode()}
    version = str(uuid.uuid4())
    with _aws_errors(f"the secret {secret}", "The secret has the certificate that it had; run the same command again."):
        manager = _secrets_client()
        tag = {"Key": CERTIFICATE_TAG, "Value": f"{version} {issued.ends.isoformat()}"}
        manager.tag_resource(SecretId=secret, Tags=[tag])
        manager.put_secret_value(SecretId=secret, SecretString=json.dumps(value), ClientRequestToken=version)


def _secrets_client() -> Any:
    """Return Secrets Manager's client in the deployment's Region, else the profile's."""
    return boto3.client("secretsmanager", region_name=os.environ.get("LMDP_AWS_REGION") or None, config=_CALLS)


def _request(name: str, key: rsa.RSAPrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def _signing(arn: str, algorithm: str) -> str:
    """Return the signing algorithm of a CA with this kind of key."""
    kind = algorithm.partition("_")[0]
    if kind not in _SIGNING:
        raise SettingsError(f"The Private CA {arn} has a key of {algorithm}; Kafka's clients read RSA and EC.")
    return _SIGNING[kind]


def _region(arn: str) -> str:
    return arn.split(":")[3]


@contextlib.contextmanager
def _aws_errors(what: str, then: str = "Nothing was changed.") -> Iterator[None]:
    """Translates what boto3 raises inside it; `then` says how things are afterwards."""
    try:
        yield
    except WaiterError as error:
        raise LmdpError(f"{what} did not issue within a minute. {then} Try again.") from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise LmdpError(f"{what} refused {error.operation_name}: {code}. {then}") from error
    except BotoCoreError as error:
        raise UnreachableError(f"{what} cannot be reached: {error}. {then}") from error
