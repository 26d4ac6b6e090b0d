"""Certificates and keys as people have them, read here and by OpenSSL within librdkafka."""

from __future__ import annotations

import base64
import shlex
import shutil
import ssl
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from lmdp.certificates import development_ca, pem
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.support.atomic_files import write_whole


def _body(text: bytes) -> bytes:
    return b"".join(text.partition(b"-----\n")[2].partition(b"-----END")[0].split())


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda text: text,
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "leading text": lambda text: b"Bag Attributes\n    friendlyName: me\nsubject=CN = \xc3\xa9\n\n" + text,
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "one line of base64": _body,
    "one line of base64 and its newline": lambda text: _body(text) + b"\n",
    "wrapped base64": lambda text: "\r\n".join(textwrap.wrap(_body(text).decode(), 64)).encode(),
    "base64 of PEM": lambda text: base64.b64encode(text) + b"\n",
    "indented": lambda text: textwrap.indent(text.decode(), "  ").encode(),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> development_ca.Certificates:
    """Good certificates."""
    return development_ca.make(tmp_path_factory.mktemp("pem"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(made: development_ca.Certificates, tmp_path: Path, form: str) -> None:
    """The same certificate and key, whatever the form, and a client can be made with them."""
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "me.pem", "me.key"))
    for path, source in ((ca, made.ca.cert), (cert, made.client.cert), (key, made.client.key)):
        write_whole(path, FORMS[form](source.read_bytes()))
    access = KafkaAccess("b.example.com:9094", ca, cert, key)
    assert access.faults() == []
    AdminClient(access.config())  # librdkafka reads the files here, and raises where it cannot
    assert pem.certificates(cert.read_bytes()) == pem.certificates(made.client.cert.read_bytes())
    assert development_ca.read_certificate(cert) == development_ca.read_certificate(made.client.cert)


def test_a_trusted_certificate_is_read(made: development_ca.Certificates, tmp_path: Path) -> None:
    """OpenSSL's own form has trust settings behind the certificate."""
    ca = tmp_path / "ca.pem"
    command = ["openssl", "x509", "-trustout", "-addtrust", "serverAuth", "-in", str(made.ca.cert), "-out", str(ca)]
    subprocess.run(command, check=True)
    assert b"BEGIN TRUSTED CERTIFICATE" in ca.read_bytes()
    access = KafkaAccess("b.example.com:9094", ca)
    assert access.faults() == []
    AdminClient(access.config())


def test_the_systems_bundle_is_read_without_a_warning() -> None:
    """Warnings are errors in these tests; some system's CAs have a serial number that the library warns of."""
    bundle = ssl.get_default_verify_paths().openssl_cafile
    path = next((Path(one) for one in (bundle, "/etc/ssl/certs/ca-certificates.crt") if Path(one).exists()), None)
    if path is None:
        pytest.skip("this system has no bundle of CAs")
    assert len(pem.certificates(path.read_bytes())) > 10
    assert not [fault for fault in KafkaAccess("b.example.com:9094", path).faults() if "PEM" in fault]


@pytest.fixture(scope="module")
def keystores(made: development_ca.Certificates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Java and Windows have: PKCS#12, JKS and a truststore, DER, PKCS#7; in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("my files")
    commands = [
        "openssl pkcs12 -export -in {cert} -inkey {key} -certfile {ca} -name me -passout pass:changeit -out {f}/me.p12",
        "openssl x509 -in {cert} -outform DER -out {f}/cert.der",
        "openssl pkey -in {key} -outform DER -out {f}/key.der",
        "openssl crl2pkcs7 -nocrl -certfile {ca} -out {f}/ca.p7b",
    ]
    if shutil.which("keytool"):
        commands += [
            (
                "keytool -importkeystore -srckeystore {f}/me.p12 -srcstorepass changeit -destkeystore {f}/me.jks "
                "-deststoretype JKS -deststorepass changeit"
            ),
            (
                "keytool -importcert -noprompt -alias ca -file {ca} -keystore {f}/trust.jks -storetype JKS "
                "-storepass changeit"
            ),
        ]
    for command in commands:
        places = {"cert": made.client.cert, "key": made.client.key, "ca": made.ca.cert, "f": folder}
        words = [word.format(**places) for word in shlex.split(command)]
        subprocess.run(words, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("name", "what", "told"),
    [
        ("me.p12", "key", "It is PKCS#12"),
        ("me.p12", "certificate", "It is PKCS#12"),
        ("me.p12", "ca", "It is PKCS#12"),
        ("me.jks", "key", "It is a Java keystore"),
        ("me.jks", "certificate", "It is a Java keystore"),
        ("trust.jks", "ca", "It is a Java keystore"),
        ("cert.der", "certificate", "It looks like DER"),
        ("key.der", "key", "It looks like DER"),
        ("ca.p7b", "ca", "It is PKCS#7"),
    ],
)
def test_the_command_converts_it(keystores: Path, name: str, what: pem.What, told: str) -> None:
    """Pasted into a shell, with the passwords that it asks for, it makes a file that is read."""
    source = keystores / name
    if not source.exists():
        pytest.skip("this machine has no keytool")
    read = pem.private_key if what == "key" else pem.certificates
    held = source.read_bytes()
    with pytest.raises(ValueError):  # noqa: PT011 - the library's texts vary
        read(held)
    sentence = pem.conversion(held, source, what)
    files = {"ca": (source, None, None), "certificate": (None, source, None), "key": (None, None, source)}[what]
    assert any(sentence in fault for fault in KafkaAccess("a:1", *files).faults())
    assert sentence.startswith(f"{told}. Convert it: ")
    command = sentence.partition("Convert it: ")[2]
    # A person types the password; here it is given.
    command = command.replace("openssl pkcs12", "openssl pkcs12 -passin pass:changeit")
    command = command.replace(
        "-importkeystore -noprompt", "-importkeystore -noprompt -srcstorepass changeit -deststorepass changeit"
    )
    command = command.replace("-list -rfc", "-list -rfc -storepass changeit")
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert read(Path(f"{source}.pem").read_bytes())


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x30", b"-----BEGIN CERTIFICATE-----\n!!\n-----END", b"QQ=="])
def test_rubbish_is_a_value_error(data: bytes) -> None:
    """Nothing else gets out, whatever the file holds."""
    for read in (pem.certificates, pem.private_key):
        with pytest.raises(ValueError):  # noqa: PT011 - the library's texts vary
            read(data)
