"""Those who may not, at the broker's door: certificates of every wrong kind, and rights that are taken away."""

from __future__ import annotations

import dataclasses
import datetime as dt
import socket
import ssl
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from chaos.scenario import Outcome, Scenario, Site, broken
from lmdp.certificates import development_ca
from lmdp.machine.kafka import topics
from lmdp.machine.kafka.access import KafkaAccess
from running import bundle, expected, lmdp, options, publish, rows, started, until

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
Signer: TypeAlias = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


@dataclass(frozen=True, slots=True)
class Intruder:
    """Someone with `access` who must not be let in; `lmdp topic check` ends with `code` and says `reported`."""

    name: str
    access: KafkaAccess
    code: int
    reported: str


def signer(cert: Path, key: Path) -> Signer:
    """Whoever has this certificate and its key can sign with it, rightly or not."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return development_ca.read_certificate(cert), private


def forge(
    folder: Path,
    by: Signer | None,
    *,
    name: str = "lmdp-client",
    use: x509.ObjectIdentifier = Usage.CLIENT_AUTH,
    begins: dt.datetime = NOW - DAY,
    ends: dt.datetime = NOW + DAY,
) -> tuple[Path, Path]:
    """A certificate and its key, signed by `by` (None: by itself); the name is the super user's."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .sign(by[1] if by else key, hashes.SHA256())
    )
    pair = folder / f"{made.serial_number}.pem", folder / f"{made.serial_number}.key"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    development_ca.write_pair(*pair, made.public_bytes(serialization.Encoding.PEM), pem)
    return pair


def intruders(site: Site) -> list[Intruder]:
    """One of every kind that TLS has to keep out."""
    good, folder = site.broker.access, site.folder()
    assert good.ca is not None
    assert good.cert is not None
    assert good.key is not None
    ours = signer(good.ca, good.ca.with_name("ca.key"))
    other = development_ca.make(site.folder())

    def with_pair(pair: tuple[Path, Path]) -> KafkaAccess:
        return dataclasses.replace(good, cert=pair[0], key=pair[1])

    refuses = "refuses the client certificate"
    return [
        Intruder("no certificate", KafkaAccess(good.bootstrap_servers, good.ca), 2, "asks for a client certificate"),
        Intruder("plaintext", KafkaAccess(good.bootstrap_servers), 3, "It speaks TLS on this port"),
        Intruder("another CA's", with_pair((other.client.cert, other.client.key)), 2, refuses),
        Intruder("self-signed", with_pair(forge(folder, None)), 2, refuses),
        Intruder(
            "signed by a client", with_pair(forge(folder, signer(other.client.cert, other.client.key))), 2, refuses
        ),
        Intruder("for servers only", with_pair(forge(folder, ours, use=Usage.SERVER_AUTH)), 2, refuses),
        Intruder(
            "ended",
            with_pair(forge(folder, ours, begins=NOW - 9 * DAY, ends=NOW - DAY)),
            2,
            "certs' does it for its own",
        ),
        Intruder(
            "not begun", with_pair(forge(folder, ours, begins=NOW + DAY, ends=NOW + 9 * DAY)), 2, "check the clock"
        ),
        Intruder(
            "a broker of another CA", dataclasses.replace(good, ca=other.ca.cert), 2, "certificate is not signed by"
        ),
        Intruder(  # 127.0.0.1 in short: the right broker under a name that its certificate has not
            "another host's name",
            dataclasses.replace(good, bootstrap_servers=good.bootstrap_servers.replace("127.0.0.1", "127.1")),
            2,
            "names another host",
        ),
        Intruder("another's key", dataclasses.replace(good, key=other.client.key), 2, "is not the key of --cert"),
    ]


def is_let_in(access: KafkaAccess, name: str) -> bool:
    """Return whether librdkafka by itself, without this program's own checks, may write or read there."""
    reported: list[KafkaError | None] = []
    quick = {**access.config(), "message.timeout.ms": 1000, "socket.timeout.ms": 1000}

    def delivered(error: KafkaError | None, _message: Message) -> None:
        reported.append(error)

    try:
        producer = Producer(quick)
        producer.produce(name, b"an intruder's", partition=0, on_delivery=delivered)
        producer.flush(3)
        consumer = Consumer({**access.config(), "group.id": "intruders", "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition(name, 0, 0)])
        read = consumer.poll(1)
        consumer.close()
    except KafkaException:  # the key does not belong to the certificate
        return False
    return any(error is None for error in reported) or (read is not None and read.error() is None)


def unauthorised_clients(site: Site) -> Outcome:
    """Each tries to read and to write by itself, then asks as a user would; afterwards the topic is as it was."""
    count, name = site.by_size(1_000, 20_000), site.new_topic(2)
    publish(site.broker.access, name, map(bundle, range(count)))
    there, faults = intruders(site), list[str]()
    assert is_let_in(site.broker.access, name), "nobody is let in at all"  # this one message is a reject
    with ThreadPoolExecutor(4) as several:
        faults += [
            fault for found in several.map(lambda one: judged(one, name, site.folder()), there) for fault in found
        ]
    faults += old_tls(site)
    home = site.folder()
    done = lmdp(
        *("run", *options(site.broker.access), "--topic", name, "--org-id", "acme", "--until-idle", "--json"),
        folder=home,
        seconds=300,
    )
    found = [row["i"] for row in rows(home / ".lmdp", 'select "instance" as i from row_events')]
    (rejects,) = rows(home / ".lmdp", "select count(*) as n from rejects")
    return Outcome(
        times=len(there) + 1,
        messages=count,
        expected_rows=count,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)),
        rejects=rejects["n"] - 1,
        broken=(
            *faults,
            *broken(
                {
                    "the run failed": done.returncode == 0,
                    "other rows are there": sorted(set(found)) == expected(range(count)),
                    "someone wrote a message": rejects["n"] == 1,
                }
            ),
        ),
    )


def judged(one: Intruder, name: str, folder: Path) -> list[str]:
    """Return what is wrong with how a client was received."""
    ended = lmdp("topic", "check", *options(one.access), "--topic", name, folder=folder, seconds=120)
    said = ended.stderr.decode()
    right = ended.returncode == one.code and one.reported in said and "Traceback" not in said
    return [
        *([f"{one.name}: let in"] if is_let_in(one.access, name) else []),
        *([] if right else [f"{one.name}: ended with {ended.returncode} and said {said!r}"]),
    ]


def old_tls(site: Site) -> list[str]:
    """TLS 1.1 is refused with the right certificate, with which 1.2 is taken."""

    def speaks(version: ssl.TLSVersion) -> bool:
        access = site.broker.access
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(access.ca)
        context.load_cert_chain(str(access.cert), access.key)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = context.maximum_version = version
        host, _, port = site.broker.bootstrap_servers.partition(":")
        try:
            with context.wrap_socket(socket.create_connection((host, int(port)), 5), server_hostname=host):
                return True
        except (ssl.SSLError, ConnectionError):
            return False

    return list(
        broken(
            {"TLS 1.1 is taken": not speaks(ssl.TLSVersion.TLSv1_1), "TLS 1.2 is not": speaks(ssl.TLSVersion.TLSv1_2)}
        )
    )


def rights_taken(site: Site) -> Outcome:
    """A client that reads loses its rights, and has them again later: it waits meanwhile, then resumes."""
    each, times, name = site.by_size(2_000, 10_000), site.by_size(1, 5), site.new_topic(2)
    good, folder = site.broker.access, site.folder()
    assert good.ca is not None
    made = development_ca.make_client(good.ca.parent, f"reader-{name[-6:]}")
    reader = dataclasses.replace(good, cert=made.cert, key=made.key)
    wanted = topics.grants(name, readers=[made.principal], group="lmdp")
    faults = list[str]()
    with started("run", *options(reader), "--topic", name, "--org-id", "acme", folder=site.folder()) as early:
        early.wait(60)
        faults += broken({"without rights it did not end with 3": early.returncode == 3})
    topics.apply_grants(good, name, wanted)
    with started("run", *options(reader), "--topic", name, "--org-id", "acme", folder=folder) as run:
        home = folder / ".lmdp"

        def here() -> int:
            return int(rows(home, "select count(*) as n from row_events")[0]["n"])

        until((home / "run.sock").exists, 60)
        for turn in range(times):
            publish(good, name, map(bundle, range(2 * turn * each, (2 * turn + 1) * each)))
            until(lambda turn=turn: here() == (2 * turn + 1) * each, 120)  # type: ignore[misc]  # bound at once
            topics.revoke(good, name, made.principal)
            until(lambda: "denies this client" in (folder / "stderr").read_text(), 60)
            publish(good, name, map(bundle, range((2 * turn + 1) * each, (2 * turn + 2) * each)))
            time.sleep(3)
            faults += broken({"rows came without rights": here() == (2 * turn + 1) * each})
            topics.apply_grants(good, name, wanted)
            until(lambda turn=turn: here() == (2 * turn + 2) * each, 120)  # type: ignore[misc]  # as above
        run.terminate()
        faults += broken({"it did not end with 0": run.wait(60) == 0})
    found = [row["i"] for row in rows(home, 'select "instance" as i from row_events')]
    count = 2 * times * each
    return Outcome(
        times=times,
        messages=count,
        expected_rows=count,
        found_rows=len(set(found)),
        repeats=len(found) - len(set(found)),
        rejects=0,
        broken=(*faults, *broken({"other rows are there": sorted(set(found)) == expected(range(count))})),
    )


SCENARIOS = (
    Scenario(
        "unauthorised clients", "Who has no right certificate reads nothing and writes nothing.", unauthorised_clients
    ),
    Scenario("rights taken", "Without rights nothing is read; with them again, each row once.", rights_taken),
)
