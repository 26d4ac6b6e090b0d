"""A broker of one's own: Apache Kafka on loopback with mutual TLS, or librdkafka's test broker in this process."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from lmdp.certificates import development_ca as certificates
from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.embedded_kafka import config, supervisor
from lmdp.machine.embedded_kafka.config import LOOPBACK, BrokerSettings
from lmdp.machine.embedded_kafka.jars import kafka_jars
from lmdp.machine.embedded_kafka.java import find_java
from lmdp.machine.kafka import topics
from lmdp.machine.kafka.access import KafkaAccess
from lmdp.support import child_processes
from lmdp.support.atomic_files import write_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from lmdp.machine.embedded_kafka.jars import Progress

START_SECONDS = 90
PORT_SECONDS = 10.0
LATE_SECONDS = 10.0  # beyond what a broker takes at most to stop
MEMORY_PARTITIONS = 4  # what librdkafka's test broker gives every topic


def embedded(home: Path, *, kafka_home: Path | None = None, progress: Progress | None = None) -> BrokerSettings:
    """Bring together what an embedded broker needs under `home`: certificates, jars and a Java.

    Raises KafkaUnavailableError where Kafka or Java cannot be had.
    """
    root = home.absolute()  # the broker runs in its own folder
    java = find_java()
    jars = kafka_jars(kafka_home.absolute() if kafka_home else None, progress=progress)
    return BrokerSettings(folder=root / "broker", certs=certificates.make(root / "certs"), jars=jars, java=java)


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
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._was_up = False
        self._ports = _free_ports(settings.folder / "ports")
        self._log_start = 0

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
    def cluster_id(self) -> str:
        """The cluster's id, made once and kept with the data."""
        return _meta(self._settings.folder / "data")["cluster.id"]

    @property
    def pid(self) -> int | None:
        """The process that guards the broker; None when it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the broker and return when it has answered a request over mutual TLS.

        Raises UnreachableError when its data folder is in use or when it does not come up, with the end of its log.
        """
        folder = self._settings.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder) as lock:
            self._ports = self._usable_ports()
            config.write(self._settings, self._ports)
            if not (folder / "data").exists():
                _format(self._settings)
            self._log_start = _size(folder / "broker.log")
            self._process = _launch(self._settings, lock)
            _note_owner(lock, self._process.pid)
        try:
            self._wait_ready()
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
        settings = self._settings
        topics.create(
            self.access,
            name,
            topics.Wanted(partitions, 1, settings.retention_hours, settings.max_message_bytes),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _usable_ports(self) -> tuple[int, int]:
        """Free ports; once it was up they have to be the same again, for its clients know no others."""
        ends = time.monotonic() + PORT_SECONDS
        while (ports := _free_ports(self._settings.folder / "ports")) != self._ports and self._was_up:
            if time.monotonic() >= ends:
                raise UnreachableError(
                    f"The embedded Kafka cannot have its ports {self._ports[0]} and {self._ports[1]} again: another "
                    f"program has taken one. Its data in {self._settings.folder} is as it was. End that program, or "
                    "recreate this one."
                )
            time.sleep(0.1)
        return ports

    def _wait_ready(self) -> None:
        assert self._process is not None
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends:
            if self._process.poll() is not None:
                raise self._failed(f"ended with exit code {self._process.returncode}")
            if _port_answers(self._ports[0]) and _answers(self.access):
                return
            time.sleep(0.05)
        raise self._failed(f"did not answer within {START_SECONDS} s")

    def _failed(self, how: str) -> UnreachableError:
        log = self._settings.folder / "broker.log"
        return UnreachableError(
            f"The embedded Kafka {how}. Its data in {self._settings.folder} is as it was. The end of {log}:\n"
            f"{_tail(log, self._log_start)}"
        )


class MemoryBroker:
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

    def create_topic(self, name: str, partitions: int = MEMORY_PARTITIONS) -> None:
        """Make the topic appear; raises SettingsError for another number of partitions than 4."""
        if partitions != MEMORY_PARTITIONS:
            raise SettingsError(
                f"The broker in memory gives every topic {MEMORY_PARTITIONS} partitions, not {partitions}."
            )
        assert self._owner is not None
        self._owner.list_topics(name, timeout=5)

    def stop(self) -> None:
        """End the broker; what it held is gone."""
        self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; processes that inherit the descriptor hold it on until the last one has ended."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(lock, folder)
        yield lock
    finally:
        os.close(lock)


def _take(lock: int, folder: Path) -> None:
    ends = time.monotonic() + supervisor.STOP_SECONDS + LATE_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            broker, owner = _owner(lock)
            if time.monotonic() < ends and not (_is_alive(broker) and _is_alive(owner)):
                time.sleep(0.1)  # its guard or its owner was killed, so it is stopping by itself
                continue
            raise UnreachableError(
                f"The broker's data folder {folder} is in use: an embedded Kafka runs there as process {broker}, "
                f"started by process {owner}. Stop that one first, or give this one another folder with --home."
            ) from error


def _owner(lock: int) -> tuple[int, int]:
    """Read who holds the lock: the broker's guard, and the process that started it; 0 where it is not known."""
    holders = os.pread(lock, 100, 0).split()
    return (int(holders[0]), int(holders[1])) if len(holders) == 2 else (0, 0)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process > 0


def _note_owner(lock: int, guard_pid: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{guard_pid} {os.getpid()}".encode(), 0)


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
        env=child_processes.environment(os.environ),
    )


def _format(settings: BrokerSettings) -> None:
    """Write the storage's first files with Kafka's own tool, aside, so that a half-made folder is never started."""
    aside = settings.folder / "data.new"
    shutil.rmtree(aside, ignore_errors=True)
    values = config.properties(settings, (1, 2)) | {"log.dirs": str(aside)}
    properties = settings.folder / "format.properties"
    write_files((properties, config.properties_file(values), 0o600))
    java, *options = config.java_command(settings)
    command = [
        *(java, "-XX:TieredStopAtLevel=1", *options),  # it ends before a second compiler would be of use
        "kafka.tools.StorageTool",
        "format",
        "-t",
        _new_cluster_id(),
        "-c",
    ]
    ended = subprocess.run(  # noqa: S603 - the Java that was found
        [*command, str(properties)],
        env=child_processes.environment(os.environ),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    if ended.returncode != 0:
        raise LmdpError(f"Kafka's storage in {settings.folder} cannot be made. Kafka said:\n{ended.stderr[-2000:]}")
    properties.unlink()
    aside.rename(settings.folder / "data")


def _new_cluster_id() -> str:
    """22 characters of URL-safe base64 that begin with no dash, as Kafka's Uuid.randomUuid gives them."""
    made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return made if not made.startswith("-") else _new_cluster_id()


def _meta(data: Path) -> dict[str, str]:
    try:
        lines = (data / "meta.properties").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UnreachableError(f"No Kafka was ever started in {data}: {error.strerror}.") from error
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


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


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tail(log: Path, start: int, lines: int = 15) -> str:
    """Give the last lines after byte `start`, so that those of an earlier run do not mislead."""
    try:
        written = log.read_bytes()[start:].decode(errors="replace").splitlines()
    except OSError:
        written = []
    return "\n".join(written[-lines:]) or "(it wrote nothing)"
