"""Access to a Kafka, its faults, and librdkafka's errors in words."""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from cryptography.hazmat.primitives import serialization

from lmdp.certificates import development_ca
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.kafka.access import ClientErrors, KafkaAccess, cluster_identity, translate
from lmdp.machine.kafka.client_files import is_readable_by_others
from lmdp.support.atomic_files import replace_files, write_whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good certificates, an ended one, a loose key and an encrypted key."""
    folder = tmp_path_factory.mktemp("certs")
    made = development_ca.make(folder)
    development_ca.make_client(folder, "second")
    development_ca.make(folder / "old", now=dt.datetime.now(dt.UTC) - dt.timedelta(days=development_ca.LEAF_DAYS + 1))
    write_whole(folder / "loose.key", made.client.key.read_bytes())
    (folder / "loose.key").chmod(0o640)
    key = serialization.load_pem_private_key(made.client.key.read_bytes(), password=None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    write_whole(folder / "sealed.key", sealed)
    write_whole(folder / "garbage.pem", b"garbage")
    return folder


@pytest.mark.parametrize(
    ("servers", "ca", "cert", "key", "told"),
    [
        ("localhost:9092", None, None, None, []),
        ("a.example:9094, b.example:9094,[::1]:1", "ca.pem", "client.pem", "client.key", []),
        ("a:1", None, "client.pem", "client.key", []),
        ("", None, None, None, ["--bootstrap-servers is empty"]),
        ("localhost", None, None, None, ["'localhost' is not host:port"]),
        ("http://a:1,b", None, None, None, ["'http://a:1' is not host:port", "'b' is not host:port"]),
        ("a:1", "none.pem", None, None, ["--ca", "No such file"]),
        ("a:1", "garbage.pem", "garbage.pem", "garbage.pem", ["--ca", "not a PEM", "--cert", "not a PEM private key"]),
        ("a:1", "ca.pem", "client.pem", None, ["--cert is given without --key"]),
        ("a:1", "ca.pem", None, "client.key", ["--key is given without --cert"]),
        ("a:1", "ca.pem", "client.pem", "second.key", ["second.key is not the key of --cert"]),
        ("a:1", "ca.pem", "old/client.pem", "old/client.key", ["old/client.pem expired on"]),
        ("a:1", "ca.pem", "client.pem", "loose.key", ["(mode 0640). Run: chmod 600"]),
        ("a:1", "ca.pem", "client.pem", "sealed.key", ["sealed.key is encrypted"]),
        ("x", "none.pem", "client.pem", None, ["'x' is not host:port", "--cert is given without", "No such file"]),
    ],
)
def test_every_fault_is_named(
    folder: Path, servers: str, ca: str | None, cert: str | None, key: str | None, told: list[str]
) -> None:
    """All faults of an access are named at once, and a good one has none."""
    files = [folder / name if name else None for name in (ca, cert, key)]
    faults = KafkaAccess(servers, files[0], files[1], files[2]).faults()
    assert all(any(words in fault for fault in faults) for words in told), faults
    assert bool(faults) == bool(told), faults


@pytest.mark.parametrize(
    ("access", "tls"),
    [
        (KafkaAccess("a:1", plaintext=True), {}),
        (KafkaAccess("a:1"), {"security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "https"}),
        (
            KafkaAccess("a:1", Path("ca"), Path("cert"), Path("key")),
            {
                "security.protocol": "ssl",
                "ssl.endpoint.identification.algorithm": "https",
                "ssl.ca.location": "ca",
                "ssl.certificate.location": "cert",
                "ssl.key.location": "key",
            },
        ),
        (
            KafkaAccess("a:1", cert=Path("cert"), key=Path("key")),
            {
                "security.protocol": "ssl",
                "ssl.endpoint.identification.algorithm": "https",
                "ssl.certificate.location": "cert",
                "ssl.key.location": "key",
            },
        ),
    ],
)
def test_config_for_librdkafka(access: KafkaAccess, tls: dict[str, str]) -> None:
    """TLS with the host name checked, unless plaintext is asked for."""
    plain = {
        "bootstrap.servers": "a:1",
        "client.id": "lmdp",
        "log_level": 0,
        "reconnect.backoff.max.ms": 2000,
        "socket.timeout.ms": 30_000,
    }
    assert access.config() == plain | tls


@pytest.mark.parametrize(
    ("servers", "plaintext", "tls"),
    [
        ("b-1.example.com:9092", False, True),
        ("b-1.example.com:9092", True, False),
        ("10.0.0.7:9092", False, True),
        ("localhost:9092", False, False),
        ("127.0.0.1:9092, [::1]:9092", False, False),
        ("localhost:9092,b:9092", False, True),
        ("localhost.example.com:9092", False, True),
    ],
)
def test_plaintext_is_asked_for(servers: str, *, plaintext: bool, tls: bool) -> None:
    """Nothing leaves this machine unencrypted by itself; what does not leave it may."""
    assert KafkaAccess(servers, plaintext=plaintext).is_tls() == tls


def test_plaintext_takes_no_certificates(folder: Path) -> None:
    """Whoever gives both means one of them."""
    (fault,) = KafkaAccess("a:1", folder / "ca.pem", plaintext=True).faults()
    assert "--plaintext is given with --ca" in fault


def test_what_everybody_may_replace_is_refused(tmp_path: Path) -> None:
    """Whoever replaces the CA chooses the broker; a sticky folder keeps files that it holds."""
    made = development_ca.make(tmp_path / "certs")
    place = tmp_path / "place"
    place.mkdir()
    ca = place / "ca.pem"
    replace_files((ca, made.ca.cert.read_bytes(), 0o644))
    write_whole(place / "client.key", made.client.key.read_bytes())
    access = KafkaAccess("a:1", ca, made.client.cert, place / "client.key")
    for mode, faults in ((0o755, 0), (0o777, 2), (0o1777, 0)):
        place.chmod(mode)
        told = access.faults()
        assert [f"chmod go-w {place}" in fault for fault in told] == [True] * faults
    ca.chmod(0o666)
    assert [f"chmod o-w {ca}" in fault for fault in access.faults()] == [True]


def test_fingerprint_follows_the_files(tmp_path: Path) -> None:
    """The fingerprint changes when a certificate is replaced, also when a file vanishes, and only then."""
    made = development_ca.make(tmp_path)
    access = KafkaAccess("a:1", made.ca.cert, made.client.cert, made.client.key)
    first = access.fingerprint()
    assert access.fingerprint() == first
    development_ca.make(tmp_path, now=dt.datetime.now(dt.UTC) + dt.timedelta(days=development_ca.LEAF_DAYS))
    second = access.fingerprint()
    made.client.key.unlink()
    assert len({first, second, access.fingerprint()}) == 3


def _tls_alert() -> KafkaError:
    return KafkaError(
        KafkaError._TRANSPORT, "Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate"
    )


TLS = KafkaAccess("b:1", Path("ca.pem"), Path("me.pem"), Path("me.key"))


@pytest.mark.parametrize(
    ("code", "before", "access", "kind", "told"),
    [
        (
            "_TRANSPORT",
            None,
            KafkaAccess("b:1", plaintext=True),
            UnreachableError,
            "b:1 does not answer.*the broker runs.$",
        ),
        (
            "_TRANSPORT",
            KafkaError(KafkaError._TRANSPORT, "SSL handshake failed: connecting to a PLAINTEXT broker listener?"),
            KafkaAccess("b:1"),
            UnreachableError,
            "seems to speak no TLS on this port.*--plaintext",
        ),
        ("_TIMED_OUT", None, TLS, UnreachableError, "b:1 does not answer"),
        ("_TRANSPORT", _tls_alert(), TLS, SettingsError, r"refuses the client certificate me\.pem"),
        (
            "_TRANSPORT",
            _tls_alert(),
            KafkaAccess("b:1", Path("ca.pem")),
            SettingsError,
            "asks for a client certificate",
        ),
        (
            "_TIMED_OUT",
            KafkaError(KafkaError._SSL, "SSL routines::certificate verify failed: broker certificate"),
            TLS,
            SettingsError,
            r"not signed by ca\.pem.*--ca",
        ),
        (
            "_TRANSPORT",
            KafkaError(KafkaError._RESOLVE, "b:1: Failed to resolve 'b:1': Name or service not known"),
            KafkaAccess("b:1"),
            UnreachableError,
            "does not answer: b:1: Failed to resolve .* that this machine can resolve the name",
        ),
        ("UNKNOWN_TOPIC_OR_PART", None, TLS, SettingsError, "'t' does not exist.*lmdp topic create --topic t"),
        (
            "_UNKNOWN_TOPIC",
            None,
            TLS,
            SettingsError,
            "--topic t --bootstrap-servers b:1 --ca ca.pem --cert me.pem --key me.key$",
        ),
        (
            "_UNKNOWN_TOPIC",
            None,
            KafkaAccess("b:1", plaintext=True),
            SettingsError,
            "--topic t --bootstrap-servers b:1 --plaintext$",
        ),
        ("_UNKNOWN_TOPIC", None, TLS, SettingsError, "lmdp topic create --topic t"),
        ("TOPIC_EXCEPTION", None, TLS, SettingsError, "'t' is not a valid topic name.*--topic"),
        (
            "TOPIC_AUTHORIZATION_FAILED",
            None,
            TLS,
            UnreachableError,
            "denies this client.*: lmdp topic acls --topic t --reader NAME --group GROUP --bootstrap-servers b:1 --ca",
        ),
        ("NOT_LEADER_FOR_PARTITION", None, TLS, UnreachableError, "has no leader for a partition: .*Try again"),
        ("INVALID_REPLICATION_FACTOR", None, TLS, LmdpError, "refused the request"),
    ],
)
def test_errors_in_words(
    code: str, before: KafkaError | None, access: KafkaAccess, kind: type[LmdpError], told: str
) -> None:
    """Each of librdkafka's errors becomes one of ours, with what to look at next."""
    reasons = ClientErrors()
    if before is not None:
        reasons(before)
    error = translate(KafkaError(getattr(KafkaError, code)), access, topic="t", reasons=reasons)
    assert type(error) is kind
    assert re.search(told, str(error)), str(error)


def test_a_broker_that_is_not_there() -> None:
    """Nobody at the address: UnreachableError within the time given, with the address in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(UnreachableError, match=f"{address} does not answer.*refused"):
        cluster_identity(KafkaAccess(address), "t", seconds=1)


@pytest.mark.parametrize(
    ("mode", "owner", "user", "refused"),
    [
        (0o600, 1000, 1000, False),
        (0o640, 1000, 1000, True),
        (0o440, 0, 10001, False),
        (0o640, 0, 10001, False),
        (0o660, 0, 10001, True),
        (0o444, 0, 10001, True),
        (0o640, 0, 0, True),
    ],
)
def test_only_a_key_of_roots_may_be_read_by_a_group(mode: int, owner: int, user: int, refused: bool) -> None:
    """Kubernetes and systemd hand over keys as root's, readable by a group; anything else is refused."""
    found = os.stat_result((0o100000 | mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))
    assert is_readable_by_others(found, user) is refused
