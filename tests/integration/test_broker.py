"""The embedded Kafka: mutual TLS, ACLs, what outlives a restart, and what is left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from filelock import lock_descriptor

from lmdp.certificates import development_ca
from lmdp.errors import SettingsError, UnreachableError
from lmdp.machine.embedded_kafka.broker import KafkaBroker, running_access
from lmdp.machine.embedded_kafka.config import BrokerSettings
from lmdp.machine.embedded_kafka.jars import Java
from lmdp.machine.kafka import topics
from lmdp.machine.kafka.access import KafkaAccess, cluster_identity
from running import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOLDER = """
import sys, time
from pathlib import Path
from lmdp.machine.embedded_kafka.broker import KafkaBroker, embedded
broker = KafkaBroker(embedded(Path(sys.argv[1])))
broker.start()
print(broker.pid, broker.bootstrap_servers, flush=True)
time.sleep(120)
"""


@pytest.fixture
def own_settings(kafka_settings: BrokerSettings, tmp_path: Path) -> BrokerSettings:
    """Settings of a broker that a test may stop, with a data folder of its own."""
    return dataclasses.replace(kafka_settings, folder=tmp_path / "broker")


def _client(broker: KafkaBroker, made: development_ca.Certificate) -> KafkaAccess:
    return dataclasses.replace(broker.access, cert=made.cert, key=made.key)


def _produce(access: KafkaAccess, name: str, value: bytes) -> KafkaError | None:
    """Produce one message to partition 0; returns the error that its delivery ended with."""
    ended: list[KafkaError | None] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        ended.append(error)

    producer = Producer({**access.config(), "message.timeout.ms": 5000})
    producer.produce(name, value, partition=0, on_delivery=delivered)
    producer.flush(10)
    return ended[0]


def _consume(access: KafkaAccess, name: str) -> Message:
    """Read the first message of partition 0, or the error that came in its place."""
    consumer = Consumer({**access.config(), "group.id": "readers", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(name, 0, 0)])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    return message


def _gone(port: int, process: int, seconds: float) -> bool:
    """Tell whether nobody listens on the port and the process has ended, waiting `seconds` for it."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0 and not _runs(process):
                return True
        time.sleep(0.1)
    return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _port(broker: KafkaBroker) -> int:
    return int(broker.bootstrap_servers.rsplit(":", 1)[1])


def test_a_message_passes_over_mutual_tls(kafka_broker: KafkaBroker, new_topic: Callable[..., str]) -> None:
    """The broker's own client writes and reads with the access that the broker gives."""
    name = new_topic()
    assert kafka_broker.access.faults() == []
    assert _produce(kafka_broker.access, name, b"bundle") is None
    assert _consume(kafka_broker.access, name).value() == b"bundle"


def test_cluster_and_topic_have_ids(kafka_broker: KafkaBroker, new_topic: Callable[..., str]) -> None:
    """The ids that offsets are keyed by: the cluster's, and each topic's own."""
    first, second = (cluster_identity(kafka_broker.access, new_topic()) for _ in range(2))
    assert first[0] == second[0] != ""
    assert first[1]
    assert first[1] != second[1]
    with pytest.raises(SettingsError, match=r"'absent' does not exist.*lmdp topic create"):
        cluster_identity(kafka_broker.access, "absent")


def test_a_client_without_a_certificate_is_refused(kafka_broker: KafkaBroker) -> None:
    """Knowing the CA is not enough: without a client certificate there is no answer, and the error says so."""
    bare = KafkaAccess(kafka_broker.bootstrap_servers, ca=kafka_broker.access.ca)
    with pytest.raises(SettingsError, match="asks for a client certificate"):
        cluster_identity(bare, "t", seconds=2)


def test_a_certificate_of_another_ca_is_refused(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """A client certificate that another CA signed is refused, and so is a broker that another CA signed."""
    other = development_ca.make(tmp_path)
    stranger = dataclasses.replace(kafka_broker.access, cert=other.client.cert, key=other.client.key)
    with pytest.raises(SettingsError, match=r"refuses the client certificate .*client\.pem"):
        cluster_identity(stranger, "t", seconds=2)
    with pytest.raises(SettingsError, match=r"certificate is not signed by .*ca\.pem"):
        cluster_identity(dataclasses.replace(kafka_broker.access, ca=other.ca.cert), "t", seconds=2)


def test_plaintext_is_refused(kafka_broker: KafkaBroker) -> None:
    """No listener speaks plaintext, and the error says that it speaks TLS."""
    with pytest.raises(UnreachableError, match=r"It speaks TLS on this port.*give --ca, --cert and --key"):
        cluster_identity(KafkaAccess(kafka_broker.bootstrap_servers), "t", seconds=2)


def test_the_controller_asks_for_a_certificate_too(kafka_broker: KafkaBroker, kafka_settings: BrokerSettings) -> None:
    """The controller's port is no way around: it ends a TLS session without a client certificate."""
    port = int((kafka_settings.folder / "ports").read_text(encoding="ascii").split()[1])
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        _speak_tls_without_a_certificate(port, kafka_broker.access.ca)


def _speak_tls_without_a_certificate(port: int, ca: Path | None) -> None:
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"\0\0\0\0")
        while secure.recv(100):  # with TLS 1.3 the refusal comes after the client's side of the handshake
            pass


def test_acls_decide_what_another_client_may_do(
    kafka_broker: KafkaBroker, kafka_settings: BrokerSettings, new_topic: Callable[..., str]
) -> None:
    """A certificate of our CA may do nothing until an ACL lets it, only that, and nothing again once revoked."""
    name = new_topic()
    made = development_ca.make_client(kafka_settings.certs.ca.cert.parent, "collector-1")
    collector = _client(kafka_broker, made)
    assert _produce(collector, name, b"too early") is not None

    wanted = topics.grants(name, collectors=[made.principal])
    assert topics.apply_grants(kafka_broker.access, name, wanted) == sorted(wanted)
    assert topics.apply_grants(kafka_broker.access, name, wanted) == []
    assert _produce(collector, name, b"allowed") is None
    assert topics.describe(collector, name).name == name  # the check of a topic that has ACLs
    refusal = _consume(collector, name).error()
    assert refusal is not None
    # It has rights on neither; which of the two the broker tells first is chance.
    assert refusal.name() in {"TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"}

    assert topics.revoke(kafka_broker.access, name, made.principal) == sorted(wanted)
    assert topics.list_grants(kafka_broker.access, name) == []
    assert _produce(collector, name, b"too late") is not None
    assert _consume(kafka_broker.access, name).value() == b"allowed"


def test_where_every_resource_without_acls_is_open_the_cluster_needs_one(own_settings: BrokerSettings) -> None:
    """As on MSK: a Collector may change every ACL until the cluster has one; then its administrators alone may."""
    with KafkaBroker(dataclasses.replace(own_settings, is_open=True)) as broker:
        broker.create_topic("t", 1)
        folder = own_settings.certs.ca.cert.parent
        made = {name: development_ca.make_client(folder, name) for name in ("admin", "collector")}
        admin, collector = (_client(broker, made[name]) for name in ("admin", "collector"))
        administrator, sender = made["admin"].principal, made["collector"].principal
        rights = topics.grants("t", collectors=[sender])
        assert topics.apply_grants(admin, "t", rights) == sorted(rights)
        taken = topics.Grant(sender, "topic", "t", "read")
        assert topics.apply_grants(collector, "t", [taken]) == [taken]

        closing = topics.admin_grants("t", [administrator], rights)
        assert topics.apply_grants(admin, "t", closing) == sorted(closing)
        denied = r"denies this client.*to change ACLs --admin NAME"
        with pytest.raises(UnreachableError, match=denied):
            topics.apply_grants(collector, "t", [taken])
        with pytest.raises(UnreachableError, match=denied):
            topics.revoke(collector, "t", administrator)
        assert _produce(collector, "t", b"its right") is None
        assert topics.describe(admin, "t").name == "t"
        assert topics.revoke(admin, "t", sender) == sorted([*rights, taken])

        assert topics.revoke(admin, "t", administrator) == sorted(closing)
        assert topics.list_grants(collector, "t") == []


def test_readers_read_the_topic_with_their_group(
    kafka_broker: KafkaBroker, kafka_settings: BrokerSettings, new_topic: Callable[..., str]
) -> None:
    """A reader reads and cannot write; it has its group and no other."""
    name = new_topic()
    made = development_ca.make_client(kafka_settings.certs.ca.cert.parent, "pipe")
    reader = _client(kafka_broker, made)
    topics.apply_grants(kafka_broker.access, name, topics.grants(name, readers=[made.principal], group="readers"))
    assert [(one.resource, one.name, one.operation) for one in topics.list_grants(kafka_broker.access, name)] == [
        ("group", "readers", "read"),
        ("topic", name, "describe"),
        ("topic", name, "describe_configs"),
        ("topic", name, "read"),
    ]
    assert _produce(kafka_broker.access, name, b"bundle") is None
    assert _consume(reader, name).value() == b"bundle"
    assert topics.describe(reader, name).name == name
    assert _produce(reader, name, b"not allowed") is not None
    other_group = Consumer({**reader.config(), "group.id": "others"})
    other_group.subscribe([name])
    refusal = other_group.poll(10)
    other_group.close()
    assert refusal is not None
    assert str(refusal.error()).count("GROUP_AUTHORIZATION_FAILED") == 1
    topics.revoke(kafka_broker.access, name, made.principal, "readers")


def test_a_revocation_leaves_other_groups_and_denials(kafka_broker: KafkaBroker, new_topic: Callable[..., str]) -> None:
    """It deletes what is allowed on the topic, and on a group only where one is named."""
    name, who = new_topic(), "User:CN=shared"
    rights = topics.grants(name, readers=[who], group="ours")
    others = [
        topics.Grant(who, "group", "theirs", "read"),
        topics.Grant(who, "topic", name, "write", permission="deny"),
    ]
    topics.apply_grants(kafka_broker.access, name, [*rights, *others])
    of_topic = [right for right in rights if right.resource == "topic"]
    assert topics.revoke(kafka_broker.access, name, who) == sorted(of_topic)
    assert topics.revoke(kafka_broker.access, name, who, "ours") == [right for right in rights if right not in of_topic]
    assert topics.list_grants(kafka_broker.access, name) == sorted(others)
    topics.revoke(kafka_broker.access, name, who, "theirs")  # other tests list the ACLs of this broker


def test_a_topic_is_created_once_and_checked(kafka_broker: KafkaBroker, new_topic: Callable[..., str]) -> None:
    """Creating again changes nothing; the check reads the real shape and says what is off."""
    name = f"{new_topic()}.shape"
    made = topics.TopicSettings(partitions=3, retention_hours=1, max_message_bytes=500_000)
    assert topics.create(kafka_broker.access, name, made) is True
    assert topics.create(kafka_broker.access, name, topics.TopicSettings(partitions=9)) is False
    shape = topics.describe(kafka_broker.access, name)
    assert (shape.partitions, shape.replication, shape.brokers) == (3, 1, 1)
    assert (shape.retention_ms, shape.max_message_bytes, shape.cleanup) == (3_600_000, 500_000, "delete")
    assert [fault.split(":")[0] for fault in topics.faults(shape, partitions=6)] == [
        "3 partitions, fewer than 6",
        "retention is 1 hour",
        "max.message.bytes is 500,000",
    ]
    assert topics.faults(topics.describe(kafka_broker.access, new_topic())) == []


SHAPE = topics.TopicDetails("a", "id", 3, 12, 3, (), 2, 24 * 3_600_000, 1_048_588, "delete", unclean_election=False)
EXPECTED: list[tuple[dict[str, int], dict[str, int], str, str]] = [
    ({}, {"retention_hours": 24, "max_message_bytes": 1_048_576}, "", ""),
    ({"retention_ms": 6 * 3_600_000}, {}, "", ""),
    ({"retention_ms": 6 * 3_600_000}, {"retention_hours": 24}, "retention is 6 hours", "retention.ms=86400000"),
    ({"retention_ms": -1}, {"retention_hours": 24}, "", ""),
    ({"max_message_bytes": 8_388_608}, {"max_message_bytes": 1_048_576}, "max.message.bytes is 8,388,608, more than",
     "max.message.bytes=1048576"),
    ({"max_message_bytes": 500_000}, {"max_message_bytes": 500_000}, "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "expected", "fault", "fix"), EXPECTED)
def test_a_topic_is_compared_with_what_is_expected(
    changed: dict[str, int], expected: dict[str, int], fault: str, fix: str
) -> None:
    """What alarms and batches count on is compared with the real shape; a fault ends with the setting that fixes it."""
    found = topics.faults(dataclasses.replace(SHAPE, **changed), **expected)  # type: ignore[arg-type]  # names of numbers
    assert [(one.startswith(fault), one.endswith(fix)) for one in found] == [(True, True)] * bool(fault)


def test_a_restart_keeps_everything_and_a_stop_leaves_nothing(own_settings: BrokerSettings) -> None:
    """The cluster's id, the port, topics and messages outlive a restart; after a stop no process is left."""
    broker = KafkaBroker(own_settings)
    broker.start()
    try:
        with pytest.raises(UnreachableError, match=r"broker is in use: .* another folder with --home"):
            KafkaBroker(dataclasses.replace(own_settings, wait_seconds=0.3)).start()
        broker.create_topic("kept", 2)
        assert _produce(broker.access, "kept", b"before") is None
        before = cluster_identity(broker.access, "kept"), broker.bootstrap_servers
        process, port = broker.pid, _port(broker)
        broker.stop()
        assert process is not None
        assert broker.pid is None
        assert _gone(port, process, seconds=0.5)
        broker.start()
        assert (cluster_identity(broker.access, "kept"), broker.bootstrap_servers) == before
        assert _consume(broker.access, "kept").value() == b"before"
    finally:
        broker.stop()


def test_it_ends_with_the_process_that_started_it(kafka_settings: BrokerSettings, tmp_path: Path) -> None:
    """SIGKILL of the owner leaves no broker behind, and the next start on the same folder waits for its end."""
    owner = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        guard, address = owner.stdout.readline().split()
        access = running_access(tmp_path)
        assert access is not None
        assert access.bootstrap_servers == address
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    certificates = development_ca.make(tmp_path / "certs")
    with KafkaBroker(dataclasses.replace(kafka_settings, folder=tmp_path / "broker", certs=certificates)) as again:
        assert again.bootstrap_servers == address
    assert _gone(_port(again), int(guard), seconds=1)
    assert running_access(tmp_path) is None


def test_it_comes_back_when_its_guard_is_killed(own_settings: BrokerSettings) -> None:
    """Kafka ends by itself then; the next start waits for that, on the same port or, when that is taken, not at all."""
    broker = KafkaBroker(own_settings)
    broker.start()
    try:
        broker.create_topic("kept", 1)
        assert _produce(broker.access, "kept", b"before") is None
        address, guard = broker.bootstrap_servers, broker.pid
        assert guard is not None
        os.kill(guard, signal.SIGKILL)
        _until_gone(broker)
        broker.stop()
        broker.start()
        assert broker.bootstrap_servers == address
        assert _consume(broker.access, "kept").value() == b"before"
        broker.stop()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", _port(broker)))
            other.listen()
            with pytest.raises(UnreachableError, match=f"cannot have its ports {_port(broker)}"):
                broker.start()
    finally:
        broker.stop()


def _until_gone(broker: KafkaBroker) -> None:
    while broker.pid is not None:
        time.sleep(0.05)


def test_a_start_that_fails_shows_the_log(own_settings: BrokerSettings) -> None:
    """When Kafka does not come up, the error ends with what Kafka said, and nothing is left running."""
    (own_settings.folder / "data").mkdir(parents=True)  # not formatted, so not Kafka's
    with pytest.raises(UnreachableError, match=r"(?s)ended with exit code 1.*broker\.log.*meta\.properties"):
        KafkaBroker(own_settings).start()
    with pytest.raises(UnreachableError, match=r"(?s)ended with exit code 1.*heap"):
        KafkaBroker(dataclasses.replace(own_settings, heap_mb=1)).start()


def _sleeping(folder: Path) -> BrokerSettings:
    """A Kafka whose Java starts and never answers."""
    java = folder / "java"
    java.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    java.chmod(0o700)
    (folder / "broker" / "data").mkdir(parents=True)  # formatted before
    return BrokerSettings(folder / "broker", development_ca.make(folder / "certs"), (java,), Java(java, 17))


def test_an_end_does_not_wait_for_a_start(tmp_path: Path) -> None:
    """A run that is ended while Kafka starts stops it, and says so."""
    stop, ended = threading.Event(), list[str]()
    broker = KafkaBroker(_sleeping(tmp_path), stop)

    def start() -> None:
        with pytest.raises(UnreachableError) as raised:
            broker.start()
        ended.append(str(raised.value))

    thread = threading.Thread(target=start)
    thread.start()
    until(lambda: broker.pid is not None)
    stop.set()
    thread.join(30)
    assert ended == [f"The run ended before Kafka had started. Its data in {tmp_path / 'broker'} is as it was."]
    assert broker.pid is None


def test_an_end_does_not_wait_for_another_broker(tmp_path: Path) -> None:
    """The folder's lock is waited for until the run is ended."""
    settings, stop = _sleeping(tmp_path), threading.Event()
    lock = os.open(settings.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    assert lock_descriptor(lock, blocking=False)
    stop.set()
    with pytest.raises(UnreachableError, match="ended before Kafka had started"):
        KafkaBroker(settings, stop).start()
    os.close(lock)
