"""`lmdp replay` as a person runs it."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from lmdp import TransformSettings, transform
from lmdp.errors import SettingsError, UnreachableError
from lmdp.machine.embedded_kafka.broker import MemoryBroker
from lmdp.machine.settings import ConsumeSettings
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.reject_files import reject_folder
from new_warehouse import open_warehouse
from replay.command import run
from replay.failures import SPEC, files, lines, message, reject_into, rejects, values
from running import PROGRAM, bundle, consuming, environment, publish, started, until

INSTANCES = 'SELECT "instance" FROM ROW_EVENTS ORDER BY 1'


def test_a_folder_into_the_warehouse_and_back_out_of_its_rejects(tmp_path: Path) -> None:
    """A dry run, the replay, and its report; what is left is said with its reason."""
    rejects(tmp_path / "r", message(bundle(1), 5), message(b"no bundle", 6))
    words = (tmp_path / "r", "--home", tmp_path / "home", "--org-id", "acme")
    dry = run(*words, "--dry-run")
    assert dry.stdout.splitlines() == [
        "2 failures would make 1 rows (1 datapoints) for warehouse; 1 would fail again.",
        "  1 Decode.Malformed: " + transform([message(b"no bundle", 6)], TransformSettings()).rejects[0].message,
    ]
    assert not (tmp_path / "home").exists()
    done = run(*words, "--json")
    report = json.loads(done.stdout)
    assert {name: value for name, value in report.items() if name != "seconds"} == {
        "dryRun": False,
        "messages": 2,
        "datapoints": 1,
        "converted": 1,
        "rows": 1,
        "rejectedMessages": 1,
        "rejectedDatapoints": 0,
        "dropped": {},
        "bytesIn": report["bytesIn"],
        "bytesOut": report["bytesOut"],
        "reasons": {"Decode.Malformed": 1},
        "repeats": 0,
        "objects": 1,
        "objectsReplayed": 1,
        "unreadPieces": 0,
        "skipped": {},
        "source": str(tmp_path / "r"),
        "to": "warehouse",
    }
    with open_warehouse(tmp_path / "home" / "warehouse.duckdb") as warehouse:
        assert values(warehouse, INSTANCES) == ["i-1"]
        reject_into(warehouse, bundle(2))
    for source in ("warehouse", str(tmp_path / "home" / "warehouse.duckdb")):
        ended = run(source, "--home", tmp_path / "home", "--org-id", "acme")
        assert (ended.exit_code, ended.stderr) == (0, "")
    with Warehouse.open(tmp_path / "home" / "warehouse.duckdb", SPEC, read_only=True) as warehouse:
        assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
        assert warehouse.duplicates() == 0


@pytest.mark.parametrize(
    ("words", "faults"),
    [
        (["folder", "--to", "firehose"], ["needs the stream's name"]),
        (["folder", "--stream", "s", "--topic", "t"], ["--topic is for --to kafka", "--stream is for --to firehose"]),
        (["x.duckdb", "--warehouse", "y.duckdb"], ["leave out --warehouse"]),
        (["folder", "--to", "kafka", "--warehouse", "y.duckdb"], ["it is for --to warehouse"]),
        (["folder", "--to", "kafka", "--bootstrap-servers", "no port"], ["no port"]),
        (["no-such-folder"], ["is not a folder"]),
        (["s3://X"], ["is not s3://bucket/prefix"]),
    ],
)
def test_wrong_usage(words: list[str], faults: list[str], tmp_path: Path) -> None:
    """Every fault is named at once, before anything is read."""
    error = run(*words, "--home", tmp_path).exception
    assert isinstance(error, SettingsError)
    assert [fault for fault in faults if fault not in str(error)] == []


def test_there_is_no_warehouse(tmp_path: Path) -> None:
    """None is made where the rejects of one are asked for."""
    assert isinstance(run("warehouse", "--home", tmp_path).exception, UnreachableError)
    assert files(tmp_path) == []


def test_beside_a_run(tmp_path: Path) -> None:
    """While `lmdp run` has the warehouse, that run writes what a replay makes; one of another home does not."""
    rejects(tmp_path / "r", message(bundle(1), 5))
    with open_warehouse(tmp_path / "warehouse.duckdb") as warehouse:
        reject_into(warehouse, bundle(2))
    words = ("run", "--broker", "memory", "--simulate", "0", "--home", str(tmp_path))
    with started(*words, folder=tmp_path) as program:
        until((tmp_path / "run.sock").exists)
        file = tmp_path / "warehouse.duckdb"
        error = run(tmp_path / "r", "--home", tmp_path / "other", "--warehouse", file, "--org-id", "acme").exception
        assert isinstance(error, UnreachableError)
        assert f"in use by process {program.pid}" in str(error)
        for source in ("warehouse", tmp_path / "r"):
            dry, wet = (
                json.loads(run(source, "--home", tmp_path, "--org-id", "acme", "--json", *more).stdout)
                for more in (["--dry-run"], [])
            )
            assert (dry["rows"], wet["rows"], wet["rejectedMessages"]) == (1, 1, 0)
        program.terminate()
        assert program.wait(30) == 0
    with Warehouse.open(tmp_path / "warehouse.duckdb", SPEC, read_only=True) as warehouse:
        assert values(warehouse, INSTANCES) == ["i-1", "i-2"]
        assert (warehouse.tally.exact().rejects.total(), warehouse.duplicates()) == (0, 0)
    assert [name for name in files(tmp_path / "r") if not name.startswith("replayed/")] == []


def test_a_kill_at_any_time_doubles_nothing(tmp_path: Path) -> None:
    """A replay that is killed over and over has each row once in the end."""
    for n in range(0, 400, 2):
        rejects(tmp_path / "r", message(bundle(n), n), message(bundle(n + 1), n + 1))
    for moved in (1, 30, 80):
        words = [str(tmp_path / "r"), "--home", str(tmp_path / "home"), "--org-id", "acme"]
        code = "import typer; from lmdp.cli.replay import replay; typer.run(replay)"
        with subprocess.Popen([PROGRAM[0], "-c", code, *words], env=environment(), stdout=subprocess.PIPE) as killed:
            until(lambda: len(files(tmp_path / "r" / "replayed")) >= moved)  # noqa: B023 - called at once
            killed.kill()
    left = 200 - len(files(tmp_path / "r" / "replayed"))
    report = json.loads(run(*words, "--json").stdout)
    with Warehouse.open(tmp_path / "home" / "warehouse.duckdb", SPEC, read_only=True) as warehouse:
        assert values(warehouse, 'SELECT count(*) + 1000 * count(DISTINCT "instance") FROM ROW_EVENTS') == [400_400]
        assert warehouse.duplicates() == 0
    assert report["objectsReplayed"] == left > 0
    assert len(files(tmp_path / "r" / "replayed")) == 200
    assert len(files(tmp_path / "r")) == 200


def test_rejects_of_a_run(tmp_path: Path) -> None:
    """`lmdp run --rejects` writes the same rejects that the warehouse has, in the form that is replayed."""
    with MemoryBroker() as broker:
        broker.create_topic("t")
        publish(broker.access, "t", [bundle(1), b"no bundle"], partition=0)
        settings = ConsumeSettings("t", cluster="c", rejects=reject_folder(tmp_path / "r"))
        with consuming(broker.access, tmp_path / "warehouse.duckdb", settings) as at_work:
            until(lambda: at_work.progress.counts.messages == 2)
            raw = values(at_work.warehouse, "SELECT RAW_DATA FROM REJECTS ORDER BY SOURCE_OFFSET")
    kept = [line for name in files(tmp_path / "r") for line in lines(tmp_path / "r" / name)]
    assert [line["rawData"] for line in kept] == raw == [base64.b64encode(b"no bundle").decode()]
