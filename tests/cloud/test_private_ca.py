"""Certificates from a Private CA (moto's, which signs like the real one), in files and in the secret."""

from __future__ import annotations

import datetime as dt
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import typer
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from moto import mock_aws
from rehearsal.authority import active_authority
from typer.testing import CliRunner

from lmdp.certificates import private_ca
from lmdp.cli.certs import certs
from lmdp.errors import LmdpError, SettingsError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(boto|moto)")


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The ARN of a Private CA that is active."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield active_authority(boto3.client("acm-pca"), "Example CA")


def _run(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(certs)
    return CliRunner().invoke(app, list(arguments))


def test_a_certificate_and_its_key_fit(authority: str) -> None:
    """The name that was asked for, a key in PKCS#8 without a password, and no key in any text of it."""
    issued = private_ca.issue(authority, "lmdp-pipe")
    cert = x509.load_pem_x509_certificate(issued.certificate)
    key = serialization.load_pem_private_key(issued.key, None)
    assert cert.subject.rfc4514_string() == "CN=lmdp-pipe"
    assert cert.public_key() == key.public_key()
    assert issued.key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert "PRIVATE" not in repr(issued)


def test_the_secret_has_msks_shape_and_a_tag(authority: str) -> None:
    """`certificate` (client first, root last), `privateKey`; the tag names this version and its end."""
    manager = boto3.client("secretsmanager")
    manager.create_secret(Name="lmdp-example/kafka-client")
    issued = private_ca.issue(authority, "lmdp-pipe")
    private_ca.write_secret("lmdp-example/kafka-client", issued)
    held = json.loads(manager.get_secret_value(SecretId="lmdp-example/kafka-client")["SecretString"])
    described = manager.describe_secret(SecretId="lmdp-example/kafka-client")
    (version,) = [one for one, labels in described["VersionIdsToStages"].items() if "AWSCURRENT" in labels]
    chain = x509.load_pem_x509_certificates(held["certificate"].encode())
    assert set(held) == {"certificate", "privateKey"}
    assert [one.subject.rfc4514_string() for one in chain] == ["CN=lmdp-pipe", "CN=Example CA"]
    assert described["Tags"] == [{"Key": "lmdp:certificate", "Value": f"{version} {issued.ends.isoformat()}"}]


def test_the_command_fills_the_secret_once(authority: str) -> None:
    """An empty secret is filled; a certificate that is good stays; no key is printed."""
    boto3.client("secretsmanager").create_secret(Name="kafka")
    arguments = ("--private-ca", authority, "--client", "lmdp-pipe", "--secret", "kafka")
    first, second = _run(*arguments, "--json"), _run(*arguments)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert json.loads(first.output)[0]["made"] is True
    assert second.output.startswith("lmdp-pipe  kept  expires ")
    assert "PRIVATE" not in first.output + second.output


def test_the_command_writes_files_for_collectors(authority: str, tmp_path: Path) -> None:
    """In a folder of its own, beside the development CA's; the key is its owner's alone."""
    arguments = ("--private-ca", authority, "--client", "collector-1", "--home", str(tmp_path), "--json")
    first, second = _run(*arguments), _run(*arguments)
    (made,) = json.loads(first.output)
    assert (made["made"], json.loads(second.output)[0]["made"]) == (True, False)
    assert made["principal"] == "User:CN=collector-1"
    assert stat.S_IMODE(Path(made["key"]).stat().st_mode) == 0o600
    assert Path(made["cert"]).parent == tmp_path / "certs" / "private-ca"


def test_the_secret_is_the_deployments(authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read and filled in LMDP_AWS_REGION, whatever Region the profile has."""
    issued = private_ca.issue(authority, "lmdp-pipe")
    monkeypatch.setenv("LMDP_AWS_REGION", "eu-west-1")
    boto3.client("secretsmanager", region_name="eu-west-1").create_secret(Name="kafka")
    private_ca.write_secret("kafka", issued)
    assert private_ca.secret_ends("kafka") == issued.ends


def test_what_ends_soon_is_renewed(authority: str, tmp_path: Path) -> None:
    """Thirty days before its end, a certificate is no longer good."""
    found = private_ca.write_files(tmp_path, "collector-1", private_ca.issue(authority, "collector-1", days=90))
    at = found.ends - dt.timedelta(days=30)
    assert private_ca.good_files(tmp_path, "collector-1", now=at - dt.timedelta(hours=1)) is not None
    assert private_ca.good_files(tmp_path, "collector-1", now=at + dt.timedelta(hours=1)) is None


def test_wrong_calls_are_told(authority: str) -> None:
    """A name that cannot be one, an ARN that is none, a CA that is not there, a secret that is not there."""
    with pytest.raises(SettingsError, match="cannot name a client"):
        private_ca.issue(authority, "a b")
    with pytest.raises(SettingsError, match="--private-ca is 'ca'"):
        private_ca.issue("ca", "pipe")
    with pytest.raises(LmdpError, match="refused DescribeCertificateAuthority: ResourceNotFoundException"):
        private_ca.issue(authority[:-12] + "000000000000", "pipe")
    with pytest.raises(LmdpError, match="the secret nothing refused TagResource"):
        private_ca.write_secret("nothing", private_ca.issue(authority, "pipe"))
    assert isinstance(_run("--secret", "kafka").exception, SettingsError)


@pytest.mark.parametrize(("algorithm", "signs"), [("EC_prime256v1", "SHA256WITHECDSA"), ("RSA_4096", "SHA256WITHRSA")])
def test_a_ca_signs_by_its_own_key(algorithm: str, signs: str) -> None:
    """RSA and EC; another kind of key is told, since no client of Kafka reads it."""
    assert private_ca._signing("arn:ca", algorithm) == signs
    with pytest.raises(SettingsError, match="a key of ML_DSA_44"):
        private_ca._signing("arn:ca", "ML_DSA_44")


def test_a_secret_that_was_half_written_is_written_again(authority: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the value was refused, the next run finds no good certificate and writes it, with its tag."""
    manager = boto3.client("secretsmanager")
    manager.create_secret(Name="kafka")
    arguments = ("--private-ca", authority, "--client", "lmdp-pipe", "--secret", "kafka")
    with monkeypatch.context() as patch:
        patch.setattr("moto.secretsmanager.models.SecretsManagerBackend.put_secret_value", _refuse)
        assert isinstance(_run(*arguments).exception, LmdpError)
    assert _run(*arguments).output.startswith("lmdp-pipe  made")
    described = manager.describe_secret(SecretId="kafka")
    (version,) = [one for one, labels in described["VersionIdsToStages"].items() if "AWSCURRENT" in labels]
    assert described["Tags"][0]["Value"].startswith(version)


def _refuse(*_: object, **__: object) -> None:
    from moto.secretsmanager.exceptions import InvalidRequestException  # noqa: PLC0415 - moto is slow to import

    raise InvalidRequestException("not now")
