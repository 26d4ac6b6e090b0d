"""The development CA and its certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
import multiprocessing
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from lmdp.certificates import development_ca
from lmdp.errors import SettingsError, UnreachableError

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


@pytest.mark.parametrize(
    "subject",
    [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ],
)
def test_server_certificate_verifies_for_loopback(tmp_path: Path, subject: x509.DNSName | x509.IPAddress) -> None:
    """A strict X.509 verifier accepts the server's certificate for every name of this machine's loopback."""
    made = development_ca.make(tmp_path, now=NOW)
    store = Store([development_ca.read_certificate(made.ca.cert)])
    verifier = PolicyBuilder().store(store).time(NOW).build_server_verifier(subject)
    assert len(verifier.verify(development_ca.read_certificate(made.server.cert), [])) == 2


def test_client_certificate_verifies_and_names_its_principal(tmp_path: Path) -> None:
    """A strict verifier accepts the client certificate, and the principal is what Kafka makes of its subject."""
    made = development_ca.make(tmp_path, now=NOW)
    issued = development_ca.make_client(tmp_path, "collector-1", now=NOW)
    verifier = (
        PolicyBuilder().store(Store([development_ca.read_certificate(made.ca.cert)])).time(NOW).build_client_verifier()
    )
    assert len(verifier.verify(development_ca.read_certificate(issued.cert), []).chain) == 2
    assert (made.server.principal, made.client.principal, issued.principal) == (
        "User:CN=lmdp-server",
        "User:CN=lmdp-client",
        "User:CN=collector-1",
    )


def test_keys_are_for_the_owner_alone(tmp_path: Path) -> None:
    """Every key has mode 0600 and the folder 0700, whatever the umask of the process."""
    made = development_ca.make(tmp_path / "certs")
    modes = {one.key.name: stat.S_IMODE(one.key.stat().st_mode) for one in made.all()}
    assert modes == {"ca.key": 0o600, "server.key": 0o600, "client.key": 0o600}
    assert stat.S_IMODE((tmp_path / "certs").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "certs").iterdir()) == [
        ".lock",
        "ca.key",
        "ca.pem",
        "client.key",
        "client.pem",
        "server.key",
        "server.pem",
    ]


@pytest.mark.parametrize(
    ("days", "made"),
    [
        (0, {}),
        (development_ca.LEAF_DAYS - development_ca.RENEW_DAYS - 1, {}),
        (development_ca.LEAF_DAYS - development_ca.RENEW_DAYS + 1, {"server", "client", "collector-1"}),
        (development_ca.LEAF_DAYS + 1, {"server", "client", "collector-1"}),
    ],
)
def test_only_what_ends_soon_is_renewed(tmp_path: Path, days: int, made: set[str]) -> None:
    """A certificate is made anew within 30 days of its end, by the same CA, and not before."""
    before = development_ca.make(tmp_path, now=NOW)
    development_ca.make_client(tmp_path, "collector-1", now=NOW)
    ca = before.ca.cert.read_bytes()
    after = development_ca.make(tmp_path, now=NOW + dt.timedelta(days=days))
    assert {one.name for one in after.all() if one.made} == set(made)
    assert after.ca.cert.read_bytes() == ca


def test_a_client_is_issued_once(tmp_path: Path) -> None:
    """Asking again for a client gives the certificate that is there."""
    first = development_ca.make_client(tmp_path, "collector-1")
    again = development_ca.make_client(tmp_path, "collector-1")
    assert (first.made, again.made, again.cert) == (True, False, tmp_path / "collector-1.pem")
    assert first.ends == again.ends


@pytest.mark.parametrize("name", ["", "ca", "server", "client", "lmdp-client", "lmdp-server", "../x", "a b", "x" * 60])
def test_client_names_that_are_refused(tmp_path: Path, name: str) -> None:
    """No client takes the name of a super user, or one that leaves the folder."""
    with pytest.raises(SettingsError, match="cannot name a client"):
        development_ca.make_client(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: (folder / "ca.key").unlink(), "ca.key is missing"),
        (lambda folder: (folder / "ca.pem").unlink(), "ca.pem is missing"),
        (lambda folder: (folder / "ca.pem").write_text("x"), "ca.pem is not a readable PEM certificate"),
        (lambda folder: (folder / "ca.key").write_text("x"), "ca.key is not a readable, unencrypted PEM key"),
        (lambda folder: (folder / "client.key").replace(folder / "ca.key"), "ca.key is not the key of"),
    ],
)
def test_a_broken_ca_is_never_replaced(tmp_path: Path, harm: object, told: str) -> None:
    """Half a CA, or a damaged one, is an error that names the file, and the other files stay as they are."""
    development_ca.make(tmp_path)
    assert callable(harm)
    harm(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SettingsError, match=told):
        development_ca.make(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_ended_ca_is_told(tmp_path: Path) -> None:
    """A CA past its end is an error that says what to do, not a new CA."""
    development_ca.make(tmp_path, now=NOW)
    with pytest.raises(SettingsError, match=r"expired on .* move the folder"):
        development_ca.make(tmp_path, now=NOW + dt.timedelta(days=development_ca.CA_DAYS + 1))


def test_a_foreign_certificate_is_left_alone(tmp_path: Path) -> None:
    """A client certificate of another CA is not overwritten: it is an error that names it."""
    development_ca.make(tmp_path / "other")
    development_ca.make(tmp_path / "ours")
    for name in ("client.pem", "client.key"):
        (tmp_path / "other" / name).replace(tmp_path / "ours" / name)
    foreign = (tmp_path / "ours" / "client.pem").read_bytes()
    with pytest.raises(SettingsError, match="was issued by"):
        development_ca.make(tmp_path / "ours")
    assert (tmp_path / "ours" / "client.pem").read_bytes() == foreign


@pytest.mark.parametrize("renews", [False, True])
def test_two_at_once_leave_whole_pairs(tmp_path: Path, renews: bool) -> None:
    """Whoever comes second waits, and finds the first one's: no key beside another's certificate."""
    if renews:
        development_ca.make(tmp_path, now=NOW - dt.timedelta(days=development_ca.LEAF_DAYS - 1))
    with multiprocessing.get_context("spawn").Pool(4) as several:
        several.starmap(development_ca.make_client, [(tmp_path, f"client-{n % 2}") for n in range(8)], chunksize=1)
    ca = development_ca.read_certificate(tmp_path / "ca.pem")
    for cert in tmp_path.glob("*.pem"):
        read = development_ca.read_certificate(cert)
        read.verify_directly_issued_by(ca)
        assert read.public_key() == development_ca._read_key(cert.with_suffix(".key")).public_key()
    assert len(list(tmp_path.glob("*.pem"))) == 5


def test_a_lock_that_is_never_released_is_an_error(tmp_path: Path) -> None:
    """After a while it says so, and has changed nothing."""
    refused = pytest.raises(UnreachableError, match=r"another process .* for 0\.1 s")
    with development_ca.locked(tmp_path), refused, development_ca.locked(tmp_path, 0.1):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in its place is told in a sentence."""
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="certificates cannot be kept in"):
        development_ca.make(tmp_path / "file")
