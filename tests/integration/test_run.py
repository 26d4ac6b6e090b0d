"""`lmdp run` as its operator runs it: started, asked, interrupted, started again."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from lmdp.errors import LmdpError
from lmdp.machine.api import client
from lmdp.support.program import program
from running import bundle, call, expected, lmdp, options, publish, rows, started, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from lmdp.machine.embedded_kafka.broker import KafkaBroker

SMALL = ("--simulate", "4", "--instances", "10", "--interval", "1")


def _report(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _total(home: Path) -> int:
    return int(rows(home, "select count(*) as n from row_events")[0]["n"])


def _interrupted(program: subprocess.Popen[bytes], by: signal.Signals) -> tuple[dict[str, Any], float]:
    """The report of a run that a signal ended, and the seconds that it took."""
    begun = time.monotonic()
    program.send_signal(by)
    out, _ = program.communicate(timeout=60)
    took = time.monotonic() - begun
    assert program.returncode == 0
    return json.loads(out), took


def _ask_for_long(home: Path) -> None:
    """Ask what takes hours; it ends with the run."""
    question = "select count(*) as n from range(1000000000) a, range(1000000000) b where a.range % 7 = b.range % 5"
    with pytest.raises(LmdpError, match="closed before the answer"):
        rows(home, question)


def _processes(folder: Path) -> list[list[str]]:
    """The command lines that speak of this folder: a broker that was left behind would."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words):
            found.append(words)
    return found


@pytest.mark.kafka
@pytest.mark.usefixtures("kafka_settings")  # skips where Kafka cannot be had
def test_a_kafka_of_its_own(tmp_path: Path) -> None:
    """A run to its end, and one that is asked, and interrupted: nothing is lost, doubled or left running."""
    home = tmp_path / ".lmdp"
    first = _report(lmdp("run", *SMALL, "--duration", "2", "--json", folder=tmp_path, seconds=120))
    assert first["published"] == first["messages"] > 0
    assert first["publishedDatapoints"] == first["datapoints"]
    assert (first["duplicates"], _total(home)) == (0, first["rows"])

    with started("run", *SMALL, "--json", folder=tmp_path) as program:
        until((home / "run.sock").exists, 60)
        assert "at the broker that is starting" in call("status", folder=tmp_path).out
        until(lambda: _total(home) > first["rows"], 60)
        status = json.loads(call("status", "--json", folder=tmp_path).out)
        assert (status["running"]["pid"], status["running"]["simulating"]) == (program.pid, True)
        assert "running     pid" in call("status", folder=tmp_path).out
        told = call("query", "select count(*) as n from metrics", "--format", "json", folder=tmp_path)
        assert json.loads(told.out)[0]["n"] > 0
        again = call("run", *SMALL, folder=tmp_path)
        assert again.code == 3
        assert f"another run (process {program.pid}) has the folder" in again.err
        second, took = _interrupted(program, signal.SIGINT)
    assert took < 5
    assert (second["duplicates"], _total(home)) == (0, first["rows"] + second["rows"])
    assert _processes(tmp_path) == []


def test_the_broker_in_memory_twice_on_one_file(tmp_path: Path) -> None:
    """The same without Java: all that was published is there, once."""
    total = 0
    for _ in range(2):
        done = lmdp("run", "--broker", "memory", *SMALL, "--duration", "1.5", "--json", folder=tmp_path)
        report = _report(done)
        assert report["published"] == report["messages"] > 0
        assert report["publishedDatapoints"] == report["datapoints"]
        total += report["rows"]
        assert (report["duplicates"], _total(tmp_path / ".lmdp")) == (0, total)
    assert b"is not the topic that this warehouse has read before" in done.stderr


def test_sigterm_ends_it_and_the_next_start_goes_on(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """In the midst of a backlog and of a question: exit code 0 within seconds, and the rest comes next time."""
    name, home = new_topic(3), tmp_path / ".lmdp"
    publish(kafka_broker.access, name, map(bundle, range(20_000)))
    words = ("run", *options(kafka_broker.access), "--topic", name, "--org-id", "acme", "--json")
    with started(*words, folder=tmp_path) as program:
        until((home / "run.sock").exists)
        asking = threading.Thread(target=_ask_for_long, args=(home,))
        asking.start()
        time.sleep(0.7)
        first, took = _interrupted(program, signal.SIGTERM)
        asking.join()
    assert took < 4
    second = _report(lmdp(*words, "--until-idle", folder=tmp_path))
    assert (first["messages"] + second["messages"], second["duplicates"]) == (20_000, 0)
    instances = rows(home, 'select "instance" as i from row_events')
    assert sorted(row["i"] for row in instances) == expected(range(20_000))
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_a_second_run_takes_nothing_from_the_first(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """The same file under another home, and the same home with another file: refused with exit code 3, in words."""
    name, home = new_topic(1), tmp_path / ".lmdp"
    words = ("run", *options(kafka_broker.access), "--topic", name)
    with started(*words, folder=tmp_path) as program:
        until((home / "run.sock").exists)
        same_file = call(*words, "--home", "other", "--warehouse", str(home / "warehouse.duckdb"), folder=tmp_path)
        same_home = call(*words, "--warehouse", str(tmp_path / "other.duckdb"), folder=tmp_path)
        assert (same_file.code, same_home.code) == (3, 3)
        assert f"is in use by process {program.pid}" in same_file.err
        assert f"another run (process {program.pid}) has the folder" in same_home.err
        assert client.status(home)["running"]["pid"] == program.pid


def test_what_was_lost_is_in_the_report_the_status_and_the_exit_code(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Retention that passes a run by is the one loss: 1, once; the next run has lost nothing, and the status knows."""
    name = new_topic(1)
    words = ("run", *options(kafka_broker.access), "--topic", name, "--org-id", "acme", "--until-idle")
    assert json.loads(call(*words, "--json", folder=tmp_path).out)["gaps"] == 0
    publish(kafka_broker.access, name, map(bundle, range(50)))
    place, admin = TopicPartition(name, 0, 20), AdminClient(kafka_broker.access.config())
    admin.delete_records([place])[place].result(30)  # which ends with its client
    lost = call(*words, folder=tmp_path)
    assert lost.code == 1
    assert "LOST: 20 messages expired before they were read" in lost.err
    after = call(*words, "--json", folder=tmp_path)
    assert (after.code, json.loads(after.out)["gaps"], _total(tmp_path / ".lmdp")) == (0, 0, 30)
    assert "LOST        20 messages" in call("status", folder=tmp_path).out


def test_a_run_that_rejects_everything_says_why_and_how_to_go_on(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    """No tenant on a first run: terminal, report and exit code say so, and the command that is named repairs it."""
    name = new_topic(1)
    publish(kafka_broker.access, name, map(bundle, range(5)))
    words = ("run", *options(kafka_broker.access), "--topic", name, "--until-idle")
    ended = call(*words, folder=tmp_path)
    assert ended.code == 1
    shown = [line.split(" ", 1)[1] for line in ended.err.splitlines()]
    remedy = f"Stop, set --org-id NAME (LMDP_ORG_ID), then `{program()} replay warehouse --org-id NAME`"
    assert shown.count(f"All 5 messages rejected: no tenant. {remedy}") >= 1
    assert "0 rows, 5 rejects" in ended.err
    assert "the first reject: Row.MissingField: orgId: " in ended.err
    assert "trouble     everything was rejected." in call("status", folder=tmp_path).out
    again = remedy.partition("`")[2].rstrip("`").replace("NAME", "acme").removeprefix(f"{program()} ")
    assert call(*again.split(), folder=tmp_path).code == 0
    assert _total(tmp_path / ".lmdp") == 5
    well = call(*words, "--org-id", "acme", "--json", folder=tmp_path)
    assert (well.code, json.loads(well.out)["warning"], json.loads(well.out)["firstReject"]) == (0, None, None)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--topic", "no name"], 2, "'no name' is not a valid topic name"),
        (["--topic", "not.there"], 2, "The topic 'not.there' does not exist"),
        (["--partitions", "0,5"], 2, "has no partition 5; it has 2, from 0 to 1"),
    ],
)
def test_what_the_broker_does_not_have(
    kafka_broker: KafkaBroker, new_topic: Callable[..., str], tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    """A topic or a partition that is not there ends the start, in words."""
    ended = call("run", *options(kafka_broker.access), "--topic", new_topic(2), *words, folder=tmp_path)
    assert "rows are" not in ended.err
    assert "reading" not in ended.err
    assert ended.code == code
    assert told in ended.err.replace("\n", " ")
    assert not (tmp_path / ".lmdp" / "run.sock").exists()
