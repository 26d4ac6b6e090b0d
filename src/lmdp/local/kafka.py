"""Where a Kafka is and how this client proves itself to it; librdkafka's errors in words.

librdkafka reads certificate files once, when a client is made
(https://github.com/confluentinc/librdkafka/issues/2868): compare fingerprints, and make a new client.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import re
import stat
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from lmdp.errors import LmdpError, SettingsError, Unreachable
from lmdp.program import program

if TYPE_CHECKING:
    from pathlib import Path

    from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined]  # it re-exports without saying so

MEMORY_CLUSTER = "mockCluster"  # how librdkafka's test broker names its cluster; it knows no topic ids
REQUEST_SECONDS = 10.0
# A connection that is dead without a word is found out after this time. A fetch must come within it.
_SILENCE_MS = 30_000

# Names of error codes: https://docs.confluent.io/platform/current/clients/librdkafka/html/rdkafka_8h.html
_AWAY = {
    "_TRANSPORT",
    "_ALL_BROKERS_DOWN",
    "_TIMED_OUT",
    "_RESOLVE",
    "BROKER_NOT_AVAILABLE",
    "REQUEST_TIMED_OUT",
    "NETWORK_EXCEPTION",
}
# A partition goes to another broker, or was made just now: seen for some 50 ms (Kafka 4.4).
_MOVING = {
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "REPLICA_NOT_AVAILABLE",
    "OFFSET_NOT_AVAILABLE",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "NOT_CONTROLLER",
    "KAFKA_STORAGE_ERROR",
    "_UNKNOWN_PARTITION",
}
_NO_NAME = {"TOPIC_EXCEPTION", "INVALID_TOPIC_EXCEPTION"}
_DENIED = {"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"}
_NO_TOPIC = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"}


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """A Kafka, and the PEM files for mutual TLS: none at all means plaintext, no `ca` means the system's CAs."""

    bootstrap_servers: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def is_tls(self) -> bool:
        """Tell whether this client speaks TLS."""
        return any((self.ca, self.cert, self.key))

    def faults(self) -> list[str]:
        """Everything that is wrong with these settings, each with what to do; empty when they are usable."""
        return [
            *_address_faults(self.bootstrap_servers),
            *_pair_faults(self.cert, self.key),
            *(_certificate_faults("--ca", self.ca) if self.ca else []),
            *_open_faults("--ca", self.ca),
            *_open_faults("--key", self.key),
            *(_certificate_faults("--cert", self.cert) if self.cert else []),
            *(_key_faults(self.key, self.cert) if self.key else []),
        ]

    def config(self) -> dict[str, str | int | float]:
        """Librdkafka's settings for this access. Its log is off: what it says also reaches `error_cb`."""
        settings: dict[str, str | int | float] = {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": "lmdp",
            "log_level": 0,
            "reconnect.backoff.max.ms": 2000,
            "socket.timeout.ms": _SILENCE_MS,
        }
        if not self.is_tls():
            return settings
        files = {"ssl.ca.location": self.ca, "ssl.certificate.location": self.cert, "ssl.key.location": self.key}
        return {
            **settings,
            "security.protocol": "ssl",
            "ssl.endpoint.identification.algorithm": "https",
            **{name: str(path) for name, path in files.items() if path is not None},
        }

    def fingerprint(self) -> str:
        """Digest the certificate files as they are on disk now; an unreadable one counts as empty."""
        digest = hashlib.sha256()
        for path in (self.ca, self.cert, self.key):
            content = _content(path)
            digest.update(len(content).to_bytes(8, "big") + content)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Reasons:
    """Collects what librdkafka says through `error_cb`: its calls return only 'timed out', the reason comes here."""

    errors: deque[KafkaError] = field(default_factory=lambda: deque(maxlen=50))

    def __call__(self, error: KafkaError) -> None:
        """Take one error; librdkafka calls this from `poll`."""
        self.errors.append(error)


def translate(
    error: KafkaError | KafkaException, access: KafkaAccess, *, topic: str = "", reasons: Reasons | None = None
) -> LmdpError:
    """Turn librdkafka's error into one that a person can act on; `reasons` are the errors that came before it."""
    first = error.args[0] if isinstance(error, KafkaException) else error
    seen = [first, *(reasons.errors if reasons else ())]
    tls = next((one for one in seen if _is_tls_error(one)), None)
    if tls is not None:
        return _tls_error(tls, access)
    if first.name() in _NO_TOPIC:
        return SettingsError(
            f"The topic {topic!r} does not exist on {access.bootstrap_servers}. Create it: "
            f"{program()} topic create --topic {topic or 'NAME'}"
        )
    if first.name() in _NO_NAME:
        return SettingsError(
            f"{topic!r} is no name for a topic: it takes letters, digits, '.', '_' and '-', 249 at most. "
            "Name another: --topic"
        )
    if first.name() in _DENIED:
        return Unreachable(
            f"{access.bootstrap_servers} denies this client: {_text(first)}. Its rights are given by "
            f"an administrator of the broker: {program()} topic acls --topic {topic or 'NAME'}"
        )
    if first.name() in _AWAY | _MOVING:
        return _away_error(seen, access)
    return LmdpError(f"Kafka at {access.bootstrap_servers} refused the request: {_text(first)}.")


def admin_client(access: KafkaAccess) -> tuple[AdminClient, Reasons]:
    """Make an administrative client, and the list of reasons that it fills when it is polled."""
    reasons = Reasons()
    try:
        return AdminClient({**access.config(), "error_cb": reasons}), reasons  # type: ignore[dict-item]  # the stub forgets callbacks
    except KafkaException as error:
        raise _tls_error(error.args[0], access) from error


def ask_metadata(admin: AdminClient, reasons: Reasons, seconds: float = REQUEST_SECONDS) -> ClusterMetadata:
    """Ask for the brokers and topics, by the second, so that a refused TLS handshake is told at once."""
    ends = time.monotonic() + seconds
    patience = 1.0
    while True:
        try:
            return admin.list_topics(timeout=min(patience, seconds))
        except KafkaException:
            admin.poll(0)
            if time.monotonic() >= ends or any(map(_is_tls_error, list(reasons.errors))):
                raise
        patience = min(2 * patience, max(1.0, ends - time.monotonic()))  # an answer may take longer than a second


def is_away(error: KafkaError) -> bool:
    """Tell whether the broker could not be reached, which passes."""
    return error.name() in _AWAY


def is_moving(error: KafkaError) -> bool:
    """Tell whether the partition has just been made or goes to another broker, which passes within a moment."""
    return error.name() in _MOVING | _NO_TOPIC  # a broker may not know yet of what another one has made


def cluster_identity(access: KafkaAccess, topic: str, *, seconds: float = REQUEST_SECONDS) -> tuple[str, str | None]:
    """Return the cluster's id and the topic's id (None where the broker gives none), within `seconds` each.

    Raises SettingsError when the topic is not there, Unreachable when the broker is not.
    """
    admin, reasons = admin_client(access)
    try:
        cluster = str(ask_metadata(admin, reasons, seconds).cluster_id)
        if cluster.startswith(MEMORY_CLUSTER):
            return cluster, None
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=seconds)
        return cluster, str(described[topic].result().topic_id)
    except KafkaException as error:
        admin.poll(0)
        raise translate(error, access, topic=topic, reasons=reasons) from error


def _is_tls_error(error: KafkaError) -> bool:
    # An alert from the broker comes as a lost connection, with OpenSSL's words in the text.
    return error.name() == "_SSL" or "SSL routines" in error.str()


def _tls_error(error: KafkaError, access: KafkaAccess) -> LmdpError:
    text = error.str()
    if "verify failed" in text:
        look = (
            f"The broker's certificate is not signed by {access.ca or 'a CA of this system'}, or names another host: "
        )
        look += "give the CA that signed it with --ca (LMDP_KAFKA_CA), and the host name that its certificate carries."
    elif " alert " in text and access.cert is None:
        look = "It asks for a client certificate: give one with --cert and --key (LMDP_KAFKA_CERT, LMDP_KAFKA_KEY)."
    elif " alert " in text:
        look = f"It refuses the client certificate {access.cert}: take one that its CA signed and that has not ended."
    else:
        look = "Look at --ca, --cert and --key, and whether this port of the broker speaks TLS."
    return SettingsError(f"TLS with {access.bootstrap_servers} failed. {look} (librdkafka: {text})")


def _away_error(seen: list[KafkaError], access: KafkaAccess) -> Unreachable:
    # What the call itself says is only that no answer came; the newest of the others says why.
    told = next((error for error in reversed(seen[1:]) if error.name() in ("_RESOLVE", "_TRANSPORT")), seen[0])
    if told.name() == "_RESOLVE":
        return Unreachable(
            f"Kafka at {access.bootstrap_servers} does not answer: {_text(told)}. Check the address "
            "(--bootstrap-servers) and that this machine can resolve the name."
        )
    if told.name() in _MOVING:
        return Unreachable(
            f"Kafka at {access.bootstrap_servers} has no leader for a partition: {_text(told)}. That passes soon after "
            "a topic is made, or a broker has gone. Try again; if it lasts, look at the brokers."
        )
    hint = "" if access.is_tls() else " If it speaks TLS, give --ca, --cert and --key."
    return Unreachable(
        f"Kafka at {access.bootstrap_servers} does not answer: {_text(told)}. Check the address "
        f"(--bootstrap-servers) and that the broker runs.{hint}"
    )


def _text(error: KafkaError) -> str:
    return str(error.str()).rstrip(".")


def _address_faults(servers: str) -> list[str]:
    bad = [
        part
        for part in servers.split(",")
        if not re.fullmatch(r"[^\s/:]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}", part.strip())
    ]
    if not servers.strip():
        return ["--bootstrap-servers is empty: give host:port, several with commas."]
    return [f"--bootstrap-servers: {part.strip()!r} is not host:port." for part in bad]


def _pair_faults(cert: Path | None, key: Path | None) -> list[str]:
    if cert is None and key is not None:
        return ["--key is given without --cert: a client certificate is the two of them."]
    if key is None and cert is not None:
        return ["--cert is given without --key: a client certificate is the two of them."]
    return []


def _certificate_faults(option: str, path: Path) -> list[str]:
    try:
        certs = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return [f"{option} {path} cannot be read: {error.strerror}."]
    except ValueError:
        return [f"{option} {path} is no PEM certificate."]
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
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        return [f"--key {path} cannot be read: {error.strerror}."]
    except TypeError:
        return [f"--key {path} is encrypted: decrypt it first (openssl pkey -in {path} -out ...)."]
    except (ValueError, UnsupportedAlgorithm):
        return [f"--key {path} is no PEM private key."]
    faults = []
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        faults.append(f"--key {path} can be read by others (mode {stat.S_IMODE(mode):04o}). Run: chmod 600 {path}")
    if cert is not None and not _belongs(key.public_key(), cert):
        faults.append(f"--key {path} is not the key of --cert {cert}.")
    return faults


def _open_faults(option: str, path: Path | None) -> list[str]:
    """Whoever can replace the CA chooses the broker, and whoever can replace the key with its certificate the client.

    A folder with the sticky bit is none where others can replace a file.
    """
    faults: list[str] = []
    if path is None or os.name != "posix":
        return faults
    with contextlib.suppress(OSError):
        folder = path.absolute().parent
        if folder.stat().st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            faults.append(f"{option} {path}: everybody may replace it. Run: chmod o-w {folder}")
        if option == "--ca" and path.stat().st_mode & stat.S_IWOTH:
            faults.append(f"{option} {path}: everybody may write it. Run: chmod o-w {path}")
    return faults


def _belongs(public_key: object, cert: Path) -> bool:
    """Tell whether `cert` holds `public_key`; an unreadable certificate is told by its own fault."""
    try:
        return x509.load_pem_x509_certificates(cert.read_bytes())[0].public_key() == public_key
    except (OSError, ValueError):
        return True


def _content(path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path is not None else b""
    except OSError:
        return b""
