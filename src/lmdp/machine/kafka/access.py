"""Access to a Kafka: its address, the client's certificate, and librdkafka's errors in words.

librdkafka reads certificate files once, when a client is made
(https://github.com/confluentinc/librdkafka/issues/2868): compare fingerprints, and make a new client.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.kafka.client_files import certificate_faults, content, key_faults, rights_faults, tls_config
from lmdp.support.program import program
from lmdp.support.settings_reader import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from confluent_kafka.admin import ClusterMetadata  # type: ignore[attr-defined]  # it re-exports without saying so

_PROBED = 3
_PROBE_S = 0.5
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
    """A Kafka, and the files for mutual TLS; no `ca` means the system's CAs.

    Without files it is TLS as well, unless `plaintext` is asked for or every server is on loopback.
    """

    bootstrap_servers: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    plaintext: bool = field(default=False, kw_only=True)

    def is_tls(self) -> bool:
        """Return whether this client speaks TLS."""
        if any((self.ca, self.cert, self.key)):
            return True
        return not self.plaintext and not all(map(_is_loopback, self.bootstrap_servers.split(",")))

    def options(self, *, as_client: bool = True) -> str:
        """Return the options by which a command reaches this Kafka, as this client or as one to be named."""
        own = {"--cert": self.cert, "--key": self.key} if as_client else {}
        given = {"--bootstrap-servers": self.bootstrap_servers, "--ca": self.ca, **own}
        text = "".join(f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value)
        return text + (" --plaintext" if self.plaintext else "")

    def faults(self) -> list[str]:
        """Everything that is wrong with these settings, each with what to do; empty when they are usable."""
        ca, cert, key = self.ca, self.cert, self.key
        both = "--plaintext is given with --ca, --cert or --key: leave out the one or the other."
        return [
            *_address_faults(self.bootstrap_servers),
            *(["--key is given without --cert: a client certificate is the two of them."] if key and not cert else []),
            *(["--cert is given without --key: a client certificate is the two of them."] if cert and not key else []),
            *(certificate_faults("--ca", ca) if ca else []),
            *(rights_faults("--ca", ca) if ca else []),
            *(rights_faults("--key", key) if key else []),
            *(certificate_faults("--cert", cert) if cert else []),
            *(key_faults(key, cert) if key else []),
            *([both] if self.plaintext and (ca or cert or key) else []),
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
        return {
            **settings,
            "security.protocol": "ssl",
            "ssl.endpoint.identification.algorithm": "https",
            **tls_config(self.ca, self.cert, self.key),
        }

    def fingerprint(self) -> str:
        """Digest the certificate files as they are on disk now; an unreadable one counts as empty."""
        digest = hashlib.sha256()
        for path in (self.ca, self.cert, self.key):
            held = content(path)
            digest.update(len(held).to_bytes(8, "big") + held)
        return digest.hexdigest()


class ClientErrors(deque[KafkaError]):
    """Collects what librdkafka says through `error_cb`: its calls return only 'timed out', the reason comes here."""

    def __init__(self) -> None:
        super().__init__(maxlen=50)

    def __call__(self, error: KafkaError) -> None:
        """Take one error; librdkafka calls this from `poll`."""
        self.append(error)


class Admin:
    """An administrative client of a Kafka. Raises SettingsError where the certificates are unusable."""

    def __init__(self, access: KafkaAccess) -> None:
        self._access = access
        self.reasons = ClientErrors()
        try:
            self.client = AdminClient({**access.config(), "error_cb": self.reasons})  # type: ignore[dict-item]  # the stub forgets callbacks
        except KafkaException as error:
            raise _tls_error(error.args[0], access) from error

    def metadata(self, seconds: float = REQUEST_SECONDS) -> ClusterMetadata:
        """Ask for the brokers and topics, by the second, so that a refused TLS handshake is reported at once."""
        ends = time.monotonic() + seconds
        patience = 1.0
        while True:
            try:
                return self.client.list_topics(timeout=min(patience, seconds))
            except KafkaException:
                self.client.poll(0)
                if time.monotonic() >= ends or any(map(_is_tls_error, list(self.reasons))):
                    raise
            patience = min(2 * patience, max(1.0, ends - time.monotonic()))  # an answer may take longer than a second

    @contextlib.contextmanager
    def translating(self, topic: str) -> Iterator[AdminClient]:
        """Turn librdkafka's errors in requests about `topic` into ours."""
        try:
            yield self.client
        except KafkaException as error:
            self.client.poll(0)
            raise translate(error, self._access, topic=topic, reasons=self.reasons) from error


def grant(access: KafkaAccess, topic: str, group: str) -> str:
    """Return the command by which an administrator lets a client read the topic with the group."""
    options = access.options(as_client=False)
    return f"{program()} topic acls --topic {topic or 'NAME'} --reader NAME --group {group}{options}"


def translate(
    error: KafkaError | KafkaException,
    access: KafkaAccess,
    *,
    topic: str = "",
    group: str = "GROUP",
    reasons: ClientErrors | None = None,
) -> LmdpError:
    """Turn librdkafka's error into one that an operator can act on; `reasons` are the errors that came before it."""
    first = error.args[0] if isinstance(error, KafkaException) else error
    seen = [first, *(reasons or ())]
    tls = next((one for one in seen if _is_tls_error(one)), None)
    if tls is not None:
        return _tls_error(tls, access)
    if first.name() in _NO_TOPIC:
        return SettingsError(
            f"The topic {topic!r} does not exist on {access.bootstrap_servers}. Create it: "
            f"{program()} topic create --topic {topic or 'NAME'}{access.options()}"
        )
    if first.name() in _NO_NAME:
        return SettingsError(
            f"{topic!r} is not a valid topic name: it takes letters, digits, '.', '_' and '-', 249 at most. "
            "Name another: --topic"
        )
    if first.name() in _DENIED:
        return UnreachableError(
            f"{access.bootstrap_servers} denies this client: {_text(first)}. Its rights are given by "
            f"an administrator of the broker, with a --cert and --key of its own: {grant(access, topic, group)} "
            "(for a sender --collector NAME, without --group; to change ACLs --admin NAME)"
        )
    if first.name() in _AWAY | _MOVING:
        return _away_error(seen, access)
    return LmdpError(f"Kafka at {access.bootstrap_servers} refused the request: {_text(first)}.")


def is_away(error: KafkaError) -> bool:
    """Return whether the broker could not be reached, which passes."""
    return error.name() in _AWAY


def cluster_identity(access: KafkaAccess, topic: str, *, seconds: float = REQUEST_SECONDS) -> tuple[str, str | None]:
    """Return the cluster's id and the topic's id (None where the broker gives none), within `seconds` each.

    Raises SettingsError when the topic is not there, UnreachableError when the broker is not.
    """
    admin = Admin(access)
    with admin.translating(topic) as client:
        cluster = str(admin.metadata(seconds).cluster_id)
        if cluster.startswith(MEMORY_CLUSTER):
            return cluster, None
        described = client.describe_topics(TopicCollection([topic]), request_timeout=seconds)
        return cluster, str(described[topic].result().topic_id)


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
        look = f"It refuses the client certificate {access.cert}: take one that its CA signed and that has not expired."
    else:
        look = "Look at --ca, --cert and --key, and whether this port of the broker speaks TLS."
    return SettingsError(f"TLS with {access.bootstrap_servers} failed. {look} (librdkafka: {text})")


def _away_error(seen: list[KafkaError], access: KafkaAccess) -> UnreachableError:
    # What the call itself says is only that no answer came; the newest of the others says why.
    cause = next((error for error in reversed(seen[1:]) if error.name() in ("_RESOLVE", "_TRANSPORT")), seen[0])
    if cause.name() == "_RESOLVE":
        return UnreachableError(
            f"Kafka at {access.bootstrap_servers} does not answer: {_text(cause)}. Check the address "
            "(--bootstrap-servers) and that this machine can resolve the name."
        )
    if cause.name() in _MOVING:
        return UnreachableError(
            f"Kafka at {access.bootstrap_servers} has no leader for a partition: {_text(cause)}. That passes soon "
            "after a topic is made, or a broker has gone. Try again; if it lasts, look at the brokers."
        )
    hint = ""
    if access.is_tls() and any("PLAINTEXT broker listener" in error.str() for error in seen):
        hint = " It seems to speak no TLS on this port. If that is meant: --plaintext (LMDP_KAFKA_PLAINTEXT=true)."
    elif not access.is_tls() and speaks_tls(access.bootstrap_servers):
        hint = " It speaks TLS on this port, and this client was to speak plaintext: give --ca, --cert and --key."
    return UnreachableError(
        f"Kafka at {access.bootstrap_servers} does not answer: {_text(cause)}. Check the address "
        f"(--bootstrap-servers) and that the broker runs.{hint}"
    )


def speaks_tls(servers: str) -> bool:
    """Return whether one of the first servers begins a TLS handshake; a plaintext client cannot see that."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent: whether it answers matters
    for server in servers.split(",")[:_PROBED]:
        host, _, port = server.strip().rpartition(":")
        place = host.strip("[]")
        try:
            with socket.create_connection((place, int(port)), _PROBE_S) as line:
                context.wrap_socket(line, server_hostname=place).close()
        except ssl.SSLError as error:
            if "ALERT" in str(error.reason):  # an alert is an answer in TLS
                return True
        except (OSError, ValueError):
            continue
        else:
            return True
    return False


def _is_loopback(server: str) -> bool:
    return is_loopback(server.strip().rpartition(":")[0].strip("[]"))


def _text(error: KafkaError) -> str:
    return str(error.str()).rstrip(".")


def _address_faults(servers: str) -> list[str]:
    if not servers.strip():
        return ["--bootstrap-servers is empty: give host:port, several with commas."]
    parts = [part.strip() for part in servers.split(",")]
    pattern = re.compile(r"[^\s/:]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}")
    return [f"--bootstrap-servers: {part!r} is not host:port." for part in parts if not pattern.fullmatch(part)]
