"""The stage of the rehearsal: a copy of the checkout, the emulated account, Snowflake's double, a Private CA."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from lmdp.deployment.naming import Names
from rehearsal.authority import active_authority
from rehearsal.snowflake import Double, opened

ROOT: Final = Path(__file__).resolve().parent.parent
REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
HOST: Final = "rehearsal.snowflakecomputing.com"
# The network that the emulator has from the start.
NETWORK: Final = {
    "LMDP_VPC_ID": "vpc-00000001",
    "LMDP_SUBNET_IDS": "subnet-00000001,subnet-00000002,subnet-00000003",
    "LMDP_SECURITY_GROUP_ID": "sg-00000001",
}
_LEFT_OUT: Final = shutil.ignore_patterns(
    ".git", ".venv*", ".uv", ".lmdp", ".env", "dist", "build", "cdk.out*", "node_modules", "__pycache__", ".*_cache"
)
# What a command has of this machine: none of its AWS account, settings or make's own.
_OURS: Final = ("AWS_", "LMDP_", "SNOWFLAKE_", "RETENTION_DAYS", "CDK_", "MAKE", "MFLAGS", "ENVIRONMENT", "PYTHONPATH")
OUTSIDE: Final = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
_KEYS: Final = {"AWS_ACCESS_KEY_ID": "rehearsal", "AWS_SECRET_ACCESS_KEY": "rehearsal"}  # pragma: allowlist secret
_CALLS: Final = Config(retries={"total_max_attempts": 1}, read_timeout=120)
_SESSIONS: Final = threading.Lock()  # making a client is not safe from two threads
_START_SECONDS: Final = 60
# A command takes a minute; a machine with much else to do takes longer.
_COMMAND_SECONDS: Final = 900


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command: its exit code, all that it printed, and how long it took in seconds."""

    code: int
    output: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """The emulated world, which every environment shares; `authority` is the ARN of a Private CA."""

    folder: Path
    environment: Mapping[str, str]
    double: Double
    authority: str

    def client(self, service: str) -> Any:
        """An AWS client of the emulated account."""
        return aws(self.environment["AWS_ENDPOINT_URL"], service)


@dataclass(slots=True)
class Place:
    """One environment on the stage: its checkout, its settings (the lines of `.env`), its names."""

    stage: Stage
    checkout: Path
    names: Names
    settings: dict[str, str] = field(default_factory=dict)

    def run(self, command: str, answer: str = "", *, online: bool = False) -> Outcome:
        """Run a command in the checkout; `online` is without the way to the double."""
        lines = "".join(f"{name}={value}\n" for name, value in self.settings.items())
        (self.checkout / ".env").write_text(lines, "utf-8")
        env = {**OUTSIDE, **self.stage.environment}
        if not online:
            env |= self.stage.double.environment
        env["PATH"] = f"{self.checkout / '.venv/bin'}{os.pathsep}{env['PATH']}"
        begun = time.monotonic()
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=self.checkout, env=env, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = process.communicate(answer, _COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output = process.communicate()[0] + f"\nnot done after {_COMMAND_SECONDS} s"
        return Outcome(process.returncode, output, time.monotonic() - begun)


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Start the emulator, the double and the CA; end them all afterwards."""
    with contextlib.ExitStack() as stack:
        endpoint = f"http://127.0.0.1:{_free_port()}"
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        pca = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        pca.start()
        stack.callback(pca.stop)
        host, port = pca.get_host_and_port()
        environment = {
            **_KEYS,
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ENDPOINT_URL_ACM_PCA": f"http://{host}:{port}",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CDK_HOME": str(folder / "cdk"),
            "LMDP_BUILD_PLATFORM": "host",
        }
        authority = active_authority(aws(environment["AWS_ENDPOINT_URL_ACM_PCA"], "acm-pca"), "rehearsal")
        double = stack.enter_context(opened(folder, functools.partial(aws, endpoint)))
        os.environ.update(double.environment)  # Firehose's stand-in signs in from this process
        stage = Stage(folder, environment, double, authority)
        stack.enter_context(_emulator(folder, endpoint, stage))
        yield stage


def aws(endpoint: str, service: str) -> Any:
    """A client of whatever answers at `endpoint`, which takes any key."""
    with _SESSIONS:
        return boto3.client(
            service, region_name=REGION, endpoint_url=endpoint, config=_CALLS,
            aws_access_key_id="rehearsal", aws_secret_access_key="rehearsal",
        )  # fmt: skip


def checkout(folder: Path) -> Path:
    """A copy of the project as a fresh clone has it, with the installed tools of this one."""
    shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)
    for shared in (".venv", ".uv", "infra/cli/node_modules"):
        (folder / shared).symlink_to(ROOT / shared)
    return folder


@contextlib.contextmanager
def _emulator(folder: Path, endpoint: str, stage: Stage) -> Iterator[None]:
    env = {
        **OUTSIDE,
        **stage.environment,
        **stage.double.environment,
        "GATEWAY_PORT": endpoint.rpartition(":")[2],
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "LAMBDA_EXECUTOR": "local",
        "REHEARSAL_DELIVERY": stage.double.delivery,
        "TMPDIR": str(folder),
    }
    log = folder / "emulator.log"
    with log.open("w") as sink:
        python = ROOT / ".venv-rehearse" / "bin" / "python"
        command = [str(python), str(ROOT / "rehearsal" / "emulator.py")]
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=sink, stderr=subprocess.STDOUT)
        try:
            _wait(process, int(endpoint.rpartition(":")[2]), log)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    tail = log.read_text("utf-8").splitlines()[-5:]
    raise SystemExit("The emulator did not start; install it with make rehearse.\n" + "\n".join(tail))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
