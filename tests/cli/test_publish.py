"""`lmdp publish` as a person runs it: what it refuses, what it says, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import typer
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from lmdp.cli.command import Command
from lmdp.cli.publish import publish
from lmdp.errors import LmdpError, SettingsError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

PROGRAM = "import typer; from lmdp.cli.publish import publish; typer.run(publish)"


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """Give the address of librdkafka's own broker in this process."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (found,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{found.host}:{found.port}"
    owner.flush(5)


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Run the command in this process."""
    app = typer.Typer()
    app.command(cls=Command)(publish)
    return CliRunner().invoke(app, arguments, env={"LMDP_TOPIC": "", "LMDP_BOOTSTRAP_SERVERS": "", **(env or {})})


def wait_for_message(broker: str, topic: str) -> None:
    """Wait until the topic holds a message, so that the program under test is known to be at work."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "test", "log_level": 0})
    until = time.monotonic() + 60
    while time.monotonic() < until:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10) for n in partitions]
        if any(end > 0 for _, end in ends):
            break
        time.sleep(0.1)
    consumer.close()


@pytest.mark.parametrize(
    ("arguments", "env", "faults"),
    [
        ([], {}, ["nothing to publish"]),
        (["a.json", "--simulate", "1", "--topic", "t"], {}, ["files and --simulate"]),
        (["-", "-"], {}, ["more than once"]),
        (["a.json", "--seed", "1", "--burst"], {}, ["--seed is for", "--burst is for"]),
        (["--simulate", "1", "--bootstrap-servers", "k:1"], {}, ["--topic NAME"]),
        (["--simulate", "1", "--bootstrap-servers", "k:1"], {"LMDP_TOPIC": "t"}, ["--topic NAME"]),
        (["--simulate", "1"], {"LMDP_BOOTSTRAP_SERVERS": "k:1", "LMDP_TOPIC": "t"}, ["--topic NAME"]),
        (["a.json", "--simulate", "1", "--bootstrap-servers", "k:1"], {}, ["files and --simulate", "--topic NAME"]),
    ],
)
def test_wrong_usage_is_refused_with_every_fault_named(
    arguments: list[str], env: dict[str, str], faults: list[str]
) -> None:
    """Contradictions end it before a broker is asked; a simulation reaches a given broker by a typed topic alone."""
    error = run(*arguments, env=env).exception
    assert isinstance(error, SettingsError)
    assert [fault in str(error) for fault in faults] == [True] * len(faults)


def test_a_simulation_reports_what_was_acknowledged(broker: str) -> None:
    """With --json one object on standard output says how much was published, and nothing else stands there."""
    options = ["--simulate", "2", "--instances", "5", "--interval", "0.5", "--duration", "1", "--burst", "--json"]
    result = run(*options, "--bootstrap-servers", broker, "--topic", "t")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["published"] == 20 + report["events"]["repeats"] - report["events"]["late"]
    assert report["publishedDatapoints"] > report["published"]
    assert (report["failed"], report["failures"]) == (0, {})


def test_files_are_published(broker: str, tmp_path: Path) -> None:
    """Datapoints of files are nobody's to tell: the line leaves them out."""
    (tmp_path / "a.jsonl").write_bytes(b"{}\n{}\n")
    result = run(str(tmp_path / "a.jsonl"), "--bootstrap-servers", broker)
    assert result.exit_code == 0
    assert result.stdout.startswith("2 messages (0.0 MB) published to lm.metrics.otlp")


def test_a_fault_in_a_file_says_what_had_been_published(broker: str, tmp_path: Path) -> None:
    """What came before a missing file is on the topic, and the error counts it."""
    (tmp_path / "a.json").write_bytes(b"{}")
    error = run(str(tmp_path / "a.json"), str(tmp_path / "none.json"), "--bootstrap-servers", broker).exception
    assert isinstance(error, LmdpError)
    assert "none.json does not exist" in str(error)
    assert "1 messages were published to lm.metrics.otlp" in str(error)


def test_a_broker_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Nothing is read or sent when no broker answers: exit code 3."""
    (tmp_path / "a.json").write_bytes(b"{}")
    error = run(str(tmp_path / "a.json"), "--bootstrap-servers", "127.0.0.1:1").exception
    assert isinstance(error, UnreachableError)
    assert "127.0.0.1:1" in str(error)


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_simulation_with_its_report(broker: str, ended_by: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end an endless simulation cleanly: exit code 0, everything acknowledged."""
    topic = f"simulated.{ended_by.name}"
    options = ["--simulate", "1", "--interval", "0.1", "--bootstrap-servers", broker, "--topic", topic, "--json"]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *options], stdout=subprocess.PIPE) as program:
        wait_for_message(broker, topic)
        program.send_signal(ended_by)
        out, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    report = json.loads(out)
    assert report["published"] > 0
    assert report["failed"] == 0


def test_a_signal_breaks_the_wait_for_standard_input(broker: str) -> None:
    """Ctrl-C while standard input is silent says that it was stopped, and how much was published."""
    arguments = [sys.executable, "-c", PROGRAM, "-", "--bootstrap-servers", broker, "--topic", "input"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdin
        program.stdin.write(b"{}\n")
        program.stdin.flush()
        wait_for_message(broker, "input")
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 1
        assert program.stderr
        told = " ".join(program.stderr.read().decode().split())
    assert "Stopped before the end of the files" in told
    assert "1 messages were published" in told
