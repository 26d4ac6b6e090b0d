"""A broker of one's own: Apache Kafka on loopback with mutual TLS, or librdkafka's test broker in this process.

How Kafka starts: its data folder is locked, its ports are chosen (those of the last start where they are free), and a
supervisor starts Java and inherits the lock. How it dies: the supervisor asks it to stop when this process asks for
that, or is gone, however that went; Linux does the same when the supervisor is gone. The lock lasts until the last of
them has ended. How it comes back: `Restarter` starts it again, on the same ports, with what is on the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from filelock import lock_descriptor

from lmdp.certificates import development_ca
from lmdp.errors import LmdpError, UnreachableError
from lmdp.machine.embedded_kafka import config, supervisor
from lmdp.machine.embedded_kafka.config import LOOPBACK, BrokerSettings
from lmdp.machine.embedded_kafka.jars import find_java, kafka_jars
from lmdp.machine.kafka import topics
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.support.atomic_files import replace_files
from lmdp.support.disk_space import free_bytes
from lmdp.support.program import child_environment

if TYPE_CHECKING:
    from lmdp.machine.embedded_kafka.jars import Progress
    from lmdp.machine.settings import Notify

START_SECONDS = 90
WANTED_BYTES = 20_000_000
"""Bytes that a start needs: Kafka reserves indexes of 10 MB, and writes more."""

_AGAIN_S = 5.0


def embedded(home: Path, *, kafka_home: Path | None = None, progress: Progress | None = None) -> BrokerSettings:
    """Bring together what an embedded broker needs under `home`: certificates, jars and a Java.

    Raises KafkaUnavailableError where Kafka or Java cannot be had.
    """
    root = home.absolute()  # the broker runs in its own folder
    java = find_java()
    jars = kafka_jars(kafka_home.absolute() if kafka_home else None, progress=progress)
    return BrokerSettings(folder=root / "broker", certs=development_ca.make(root / "certs"), jars=jars, java=java)


def running_access(home: Path) -> KafkaAccess | None:
    """Return the access to the embedded Kafka that another process runs under `home`; None where none answers."""
    ports, files = home / "broker" / "ports", home / "certs"
    port = int(ports.read_text(encoding="ascii").split()[0]) if ports.exists() else None
    if port is None or not _port_answers(port):
        return None
    return KafkaAccess(f"{LOOPBACK}:{port}", files / "ca.pem", files / "client.pem", files / "client.key")


class KafkaBroker:
    """A single-node Kafka in a process of its own, which ends when this one does, however that ends.

    What it has acknowledged outlives any process. Kafka does not wait for the disk, though: one node that loses its
    power may lose its newest messages (https://kafka.apache.org/documentation/#brokerconfigs_log.flush.interval.messages).
    `stop` ends the waits of a start.
    """

    def __init__(self, settings: BrokerSettings, stop: Event | None = None) -> None:
        self._settings = settings
        self._stop = stop or Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._was_up = False
        self._ports = _free_ports(settings.folder / "ports")

    @property
    def access(self) -> KafkaAccess:
        """Return the access of the broker's own client: the super user `lmdp-client`."""
        files = self._settings.certs
        return KafkaAccess(self.bootstrap_servers, ca=files.ca.cert, cert=files.client.cert, key=files.client.key)

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`; the port is kept over restarts while it is free."""
        return f"{LOOPBACK}:{self._ports[0]}"

    @property
    def pid(self) -> int | None:
        """The process of the supervisor; None when the broker is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the broker and return when it has answered a request over mutual TLS.

        Raises UnreachableError when its data folder is in use, when its clients know a port that it cannot have again,
        when it does not come up, with the end of its log, or when it is stopped before.
        """
        folder = self._settings.folder
        log = folder / "broker.log"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(self._settings, self._stop)
        try:
            self._take_ports()
            config.write(self._settings, self._ports)
            if not (folder / "data").exists():
                _format(self._settings)
            begin = log.stat().st_size if log.exists() else 0
            self._process = _launch(self._settings, lock)
        finally:
            os.close(lock)
        try:
            self._wait_ready(log, begin)
        except BaseException:
            self.stop()
            raise
        self._was_up = True

    def stop(self) -> None:
        """Stop it cleanly (under a second as a rule); after 20 s it is killed. Nothing is left running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(supervisor.STOP_SECONDS + 5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def create_topic(self, name: str, partitions: int = topics.PARTITIONS) -> None:
        """Create the topic unless it is there."""
        topics.create(self.access, name, topics.TopicSettings(partitions, 1))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_ports(self) -> None:
        """Take free ports; once it was up they have to be the same again, for its clients know no others."""
        ports = _free_ports(self._settings.folder / "ports")
        if self._was_up and ports != self._ports:
            raise UnreachableError(
                f"The embedded Kafka cannot have its ports {self._ports[0]} and {self._ports[1]} again: another "
                f"program has taken one. Its data in {self._settings.folder} is as it was. Stop that program, or "
                "restart this run."
            )
        self._ports = ports

    def _wait_ready(self, log: Path, begin: int) -> None:
        """Wait for its first answer; `begin` is where its log has this start's lines."""
        assert self._process is not None
        ends = time.monotonic() + START_SECONDS
        how = f"did not answer within {START_SECONDS} s"
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                how = f"ended with exit code {self._process.returncode}"
                break
            if _port_answers(self._ports[0]) and _answers(self.access):
                return
            if self._stop.wait(0.05):
                raise _ended(self._settings)
        written = log.read_bytes()[begin:].decode(errors="replace").splitlines() if log.exists() else []
        raise UnreachableError(
            f"The embedded Kafka {how}. Its data in {self._settings.folder} is as it was. The end of {log}:\n"
            + ("\n".join(written[-15:]) or "(it wrote nothing)")
        )


class Restarter:
    """Restarts a broker that has ended by itself; `notify` shows what an operator must know."""

    def __init__(self, broker: KafkaBroker | None, folder: Path, notify: Notify) -> None:
        self._broker = broker
        self._folder = folder
        self._notify = notify
        self._reported = ""
        self._next = 0.0

    def check(self) -> None:
        """Start it again when it has ended (a full disk does that to it, or want of memory) and there is space."""
        broker = self._broker
        if broker is None or broker.pid is not None or time.monotonic() < self._next:
            return
        broker.stop()
        free = free_bytes(self._folder)
        if free < WANTED_BYTES:
            self._report(
                "no space",
                f"the embedded Kafka has ended, and there is no space in {self._folder} to start it again ({free:,} "
                f"bytes free there, about {WANTED_BYTES:,} wanted). What it had acknowledged is on disk. Free some "
                "space; it then starts by itself.",
            )
            return
        self._report("starting", "the embedded Kafka has ended; starting it again")
        try:
            broker.start()
        except (LmdpError, OSError) as error:
            self._next = time.monotonic() + _AGAIN_S
            self._report(str(error), f"the embedded Kafka did not start: {error} Trying again.")
        else:
            self._report("", "the embedded Kafka is back")

    def _report(self, state: str, text: str) -> None:
        """Report a state once, until it is another."""
        if state != self._reported:
            self._reported = state
            self._notify(text)


class MemoryBroker(contextlib.AbstractContextManager["MemoryBroker"]):
    """librdkafka's test broker inside this process: plaintext, for a first look and for tests.

    Its limits: nothing outlives the process, every topic has 4 partitions and appears when it is named, there is no
    administration and there are no ACLs, and a partition keeps only its newest messages (about 1,200 small ones), so a
    publisher has to wait for the consumer.
    """

    def __init__(self) -> None:
        settings = {"bootstrap.servers": "memory", "test.mock.num.brokers": 1, "log_level": 0}
        self._owner: Producer | None = Producer(settings)
        broker = next(iter(self._owner.list_topics(timeout=5).brokers.values()))
        self.bootstrap_servers = f"{broker.host}:{broker.port}"

    @property
    def access(self) -> KafkaAccess:
        """Return the access of any client of this process, or of this machine."""
        return KafkaAccess(self.bootstrap_servers)

    def create_topic(self, name: str) -> None:
        """Make the topic appear, with the 4 partitions that librdkafka's test broker gives every topic."""
        assert self._owner is not None
        self._owner.list_topics(name, timeout=5)

    def stop(self) -> None:
        """End the broker; what it held is gone."""
        self._owner = None

    def __exit__(self, *_: object) -> None:
        self.stop()


def _ended(settings: BrokerSettings) -> UnreachableError:
    return UnreachableError(f"The run ended before Kafka had started. Its data in {settings.folder} is as it was.")


def _lock(settings: BrokerSettings, stop: Event) -> int:
    """Return the folder's lock, open: whoever inherits it has it too, so it lasts until the last of them has ended.

    It is waited for: a Kafka whose supervisor or owner was killed is stopping by itself.
    """
    lock = os.open(settings.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    ends = time.monotonic() + settings.wait_seconds
    while not lock_descriptor(lock, blocking=False):
        if time.monotonic() >= ends:
            os.close(lock)
            raise UnreachableError(
                f"The broker's data folder {settings.folder} is in use: an embedded Kafka runs there. Stop that one "
                "first, or give this one another folder with --home."
            )
        if stop.wait(0.1):
            os.close(lock)
            raise _ended(settings)
    return lock


def _launch(settings: BrokerSettings, lock: int) -> subprocess.Popen[bytes]:
    folder = settings.folder
    command = [*config.java_command(settings), "kafka.Kafka", str(folder / "server.properties")]
    # A session of its own: Ctrl-C in the terminal must not end the broker before its clients are done.
    return subprocess.Popen(  # noqa: S603 - this program's own file and the Java that was found
        [sys.executable, "-I", "-S", supervisor.__file__, str(folder / "broker.log"), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,
        cwd=folder,
        env=child_environment(os.environ),
    )


def _format(settings: BrokerSettings) -> None:
    """Write the storage's first files with Kafka's own tool, aside, so that a half-made folder is never started."""
    aside, properties = settings.folder / "data.new", settings.folder / "format.properties"
    shutil.rmtree(aside, ignore_errors=True)
    replace_files((properties, config.properties(settings, (1, 2), aside), 0o600))
    java, *options = config.java_command(settings)
    cluster = f"l{secrets.token_urlsafe(16)[1:]}"  # as Kafka's Uuid.randomUuid gives them: none begins with a dash
    words = ("format", "-t", cluster, "-c", str(properties))
    ended = subprocess.run(  # noqa: S603 - the Java that was found; it ends before a second compiler would be of use
        [java, "-XX:TieredStopAtLevel=1", *options, "kafka.tools.StorageTool", *words],
        env=child_environment(os.environ),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise LmdpError(f"Kafka's storage in {settings.folder} cannot be made. Kafka said:\n{ended.stderr[-2000:]}")
    properties.unlink()
    aside.rename(settings.folder / "data")


def _free_ports(remembered: Path) -> tuple[int, int]:
    """Take the ports of the last start where they are free, so that clients find a restarted broker; else new ones."""
    before = remembered.read_text(encoding="ascii").split() if remembered.exists() else ["0", "0"]
    with contextlib.ExitStack() as held:  # both at once, or the same port could come twice
        first, second = (_bound(held, int(port)) for port in before[:2])
        return first, second


def _bound(held: contextlib.ExitStack, port: int) -> int:
    probe = held.enter_context(socket.socket())
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((LOOPBACK, port))
    except OSError:
        probe.bind((LOOPBACK, 0))
    return int(probe.getsockname()[1])


def _port_answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def _answers(access: KafkaAccess) -> bool:
    try:
        return bool(AdminClient(access.config()).list_topics(timeout=3).brokers)
    except KafkaException:
        return False
