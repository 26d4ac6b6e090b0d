"""The zip: what is in it, and that the function runs from it under AWS's own runtime client."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.build_lambda import HANDLER, SNOWFLAKE_SETUP, kept

from cloud.names import SECRET
from cloud.runtime_api import Runtime, runtime
from cloud.test_handler import POISON, bundle, envelopes, record
from lmdp.testing.firehose import DENIED, FirehoseDouble

ROOT = Path(__file__).resolve().parents[2]
SAMPLED = "Root=1-65c0a0a0-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1"


def build(output: Path, platform: str) -> Path:
    """Run the tool as `make build` does."""
    command = [sys.executable, str(ROOT / "tools/build_lambda.py"), "--platform", platform, "--output", str(output)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert re.search(r": \d+\.\d\d MiB, \d+\.\d\d MiB unzipped; ", done.stdout)
    return output


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this machine, unpacked into a clean folder."""
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(build(tmp_path_factory.mktemp("zip") / "host.zip", "host")) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def function(task: Path, tmp_path: Path, function_env: dict[str, str]) -> Iterator[Runtime]:
    """The function under AWS's own runtime client."""
    with runtime(task, tmp_path, environment(function_env)) as running:
        yield running


def environment(function_env: dict[str, str], **more: str) -> dict[str, str]:
    """The environment of a function that has been given a role."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "an-example-session-token",
        # The most that an operator can make Lambda log.
        "AWS_LAMBDA_LOG_LEVEL": "DEBUG",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        **function_env,
        **more,
    }


def test_an_event_in_and_the_answer_out(function: Runtime, double: FirehoseDouble, bucket: Any) -> None:
    """From the zip alone: every kind of poison beside a good message, in both shapes of an event."""
    values = [value for _, value in POISON if len(value) < 100_000]
    pipes = [record(0, bundle()), *(record(n, value) for n, value in enumerate(values, 1)), record(99, None)]
    mapping = {"eventSource": "aws:kafka", "records": {"lm.metrics.otlp-0": [record(100, bundle())]}}
    kind, answer = function.invoke(pipes)
    assert kind == "response", answer
    assert (answer["messages"], answer["delivered"], answer["rejectedMessages"]) == (len(pipes), 1, len(values) - 1)
    assert {found["errorCode"] for found in envelopes(bucket)} == {code for code, _ in POISON} - {
        "Decode.TooLarge"
    }  # its limit is lower elsewhere
    assert function.invoke(mapping)[1]["delivered"] == 1
    assert len(double.accepted) == 2
    print(f"cold start, from process to first event: {1000 * function.init_seconds:.0f} ms")


def test_protobuf_and_zstd_work_from_the_zip(function: Runtime, double: FirehoseDouble) -> None:
    """What is imported late is in the zip too."""
    import zstandard  # noqa: PLC0415 - to make the message
    from google.protobuf.json_format import Parse  # noqa: PLC0415 - as above
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData  # noqa: PLC0415 - as above

    message = Parse(bundle(), MetricsData()).SerializeToString()
    kind, answer = function.invoke([record(0, message), record(1, zstandard.compress(message))])
    assert (kind, answer["delivered"]) == ("response", 2)
    assert len(double.accepted) == 2


def test_rows_go_straight_to_snowflake_from_the_zip(
    task: Path, tmp_path: Path, direct_env: dict[str, str], pipe: Any
) -> None:
    """The key from Secrets Manager, its signature, zstd: what only the direct writer imports is in the zip."""
    with runtime(task, tmp_path, environment(direct_env)) as function:
        kind, answer = function.invoke([record(0, bundle()), record(1, None)])
    assert (kind, answer.get("delivered"), len(pipe.rows)) == ("response", 1, 1), answer


def test_what_cannot_be_delivered_is_an_error_of_the_invocation(function: Runtime, double: FirehoseDouble) -> None:
    """Lambda is told, the pipe tries again, and neither the answer nor the log has a row or a secret."""
    double.script.append(DENIED)
    kind, answer = function.invoke([record(0, bundle())])
    assert (kind, answer["errorType"]) == ("error", "DeliveryError")
    assert function.invoke([record(0, bundle())])[0] == "response"
    text = json.dumps(answer) + function.log.read_text()
    for secret in ("row content", "cm93IGNvbnRlbnQ", SECRET, "example-session"):
        assert secret not in text


def test_a_sampled_invocation_is_traced(task: Path, tmp_path: Path, function_env: dict[str, str]) -> None:
    """The parts of an invocation are subsegments of Lambda's own trace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(20)
        address = f"127.0.0.1:{daemon.getsockname()[1]}"
        with runtime(task, tmp_path, environment(function_env, AWS_XRAY_DAEMON_ADDRESS=address)) as function:
            kind, answer = function.invoke([record(0, bundle())], trace=SAMPLED)
            assert kind == "response", answer
            segments = [json.loads(daemon.recv(65_536).splitlines()[1]) for _ in range(3)]
    assert {segment["name"] for segment in segments} == {"## transform", "## rejects", "## firehose"}
    assert {segment["trace_id"] for segment in segments} == {"1-65c0a0a0-0123456789abcdef01234567"}


def test_wrong_settings_end_the_start(task: Path, tmp_path: Path) -> None:
    """Lambda's log has every fault at once, before the first event."""
    with runtime(task, tmp_path, {"AWS_REGION": "eu-west-1", "LMDP_MARGIN_SECONDS": "x"}) as function:
        kind, answer = function.answers.get(timeout=30)
    assert (kind, answer["errorType"]) == ("error", "SettingsError")
    for name in ("LMDP_DELIVERY_STREAM", "LMDP_REJECTS_BUCKET", "LMDP_MARGIN_SECONDS"):
        assert name in answer["errorMessage"]


def test_the_zip_for_lambda(tmp_path: Path) -> None:
    """Two builds are the same bytes; it is small, for arm64, and has nothing that only tests or people need."""
    first, second = (build(tmp_path / name, "lambda") for name in ("first.zip", "second.zip"))
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
    assert first.stat().st_size < 15 * 2**20
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        # ELF's machine: 183 is AArch64.
        machines = {archive.read(name)[18] for name in names if name.endswith(".so")}
    assert machines == {183}
    assert "lmdp/cloud/handler.py" in names
    assert "lmdp/kafka_ingest_spec.md" in names
    unwanted = (
        *("lmdp/machine", "lmdp/cli", "lmdp/snowflake/setup", "lmdp/sql/render", "lmdp/testing", "boto3/"),
        *(".dist-info", "/tests/"),
    )
    assert [name for name in names if any(part in name for part in unwanted)] == []


def imported(module: str, found: set[str]) -> set[str]:
    """Return a module of lmdp and all that it imports of lmdp, wherever the import is, as files of the package."""
    path = ROOT / "src" / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    name = path.relative_to(ROOT / "src").as_posix()
    if name in found or not path.exists():
        return found
    found.add(name)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lmdp"):
            for one in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                imported(one, found)
                imported(one.rpartition(".")[0], found)
    return found


@pytest.mark.parametrize(
    ("module", "patterns"),
    [
        ("lmdp.cloud.handler", HANDLER),
        ("lmdp.snowflake.custom_resource", SNOWFLAKE_SETUP),
        ("lmdp.snowflake.canary_function", SNOWFLAKE_SETUP),
    ],
)
def test_a_zip_has_every_module_that_its_function_imports(module: str, patterns: tuple[str, ...]) -> None:
    """Also what is imported late, when the function has long been deployed."""
    files = imported(module, {"lmdp/__init__.py"})
    assert {name for name in files if not kept(name, patterns)} == set()
