"""The command's ways out of S3, and into Firehose and Kafka."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from cloud.names import BUCKET, SECRET, STREAM
from lmdp import TransformSettings, transform
from lmdp.cloud.reject_sink import put_object
from lmdp.errors import LmdpError, SettingsError
from lmdp.machine.warehouse.warehouse import Warehouse
from lmdp.support.reject_files import reject_files
from new_warehouse import open_warehouse
from replay.command import run
from replay.failures import NOW, SPEC, files, firehose_record, message, reject_into, rejects, row_json, values
from running import PROGRAM, bundle, environment, started, until

SOURCE = f"s3://{BUCKET}"


@pytest.fixture
def failures(bucket: Any) -> Any:
    """A bucket with a reject of ours, and a record of Firehose's."""
    for file in reject_files(transform([message(bundle(1), 5)], TransformSettings()).rejects, NOW):
        bucket.put_object(**put_object(BUCKET, "rejects/", None, file))
    record = firehose_record(json.dumps(row_json(2)).encode())
    bucket.put_object(Bucket=BUCKET, Key="snowflake-failed/2026/11/x", Body=json.dumps(record))
    return bucket


def test_s3_to_firehose(failures: Any, double: Any) -> None:
    """Both kinds of failures become records in the style that is set, once; the report counts them."""
    for expected in (2, 0):
        done = run(SOURCE, "--to", "firehose", "--stream", STREAM, "--org-id", "acme", "--json",
                   SNOWFLAKE_IDENTIFIERS="wrapped")  # fmt: skip
        assert json.loads(done.stdout)["rows"] == expected
        assert sorted(json.loads(record)['"instance"'] for record in double.accepted) == ["i-1", "i-2"]


def test_s3_into_the_warehouse(failures: Any, tmp_path: Path) -> None:
    """Both kinds of failures become rows."""
    run(SOURCE, "--home", tmp_path, "--org-id", "acme")
    with Warehouse.open(tmp_path / "warehouse.duckdb", SPEC, read_only=True) as warehouse:
        assert values(warehouse, 'SELECT "instance" FROM ROW_EVENTS ORDER BY 1') == ["i-1", "i-2"]


def test_s3_through_a_run_without_credentials(failures: Any, tmp_path: Path) -> None:
    """The command reads and moves the objects, so the run needs no access to them."""
    words = ("run", "--broker", "memory", "--simulate", "0", "--home", str(tmp_path))
    no_access = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with started(*words, folder=tmp_path, **no_access) as program:
        until((tmp_path / "run.sock").exists)
        for expected in (2, 0):
            done = run(SOURCE, "--home", tmp_path, "--org-id", "acme", "--json")
            assert json.loads(done.stdout)["rows"] == expected
        program.terminate()
        assert program.wait(30) == 0
    with Warehouse.open(tmp_path / "warehouse.duckdb", SPEC, read_only=True) as warehouse:
        assert values(warehouse, 'SELECT "instance" FROM ROW_EVENTS ORDER BY 1') == ["i-1", "i-2"]
        assert warehouse.duplicates() == 0


def test_no_region(credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Region anywhere it says how to give one, and no secret."""
    monkeypatch.delenv("AWS_REGION")
    error = run(tmp_path, "--to", "firehose", "--stream", STREAM).exception
    assert isinstance(error, SettingsError)
    assert "--region" in str(error)
    assert SECRET not in str(error)


def test_a_stream_that_refuses(failures: Any, double: Any) -> None:
    """The error names the object, and says what was done before it and how to go on."""
    from lmdp.testing.firehose import NO_STREAM, Fault  # noqa: PLC0415 - only where there is botocore

    double.script.extend([Fault(), NO_STREAM])
    error = run(SOURCE, "--to", "firehose", "--stream", STREAM, "--org-id", "acme").exception
    assert isinstance(error, LmdpError)
    for text in (
        "s3://lmdp-errors/snowflake-failed/2026/11/x: ",
        "ResourceNotFoundException",
        "1 rows made",
        "resumes",
    ):
        assert text in str(error)


def test_a_warehouse_to_kafka(tmp_path: Path) -> None:
    """Rejects go to the topic, and leave the table when the broker has them."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (found,) = owner.list_topics(timeout=10).brokers.values()
    with open_warehouse(tmp_path / "warehouse.duckdb") as warehouse:
        reject_into(warehouse, bundle(1), b"no bundle")
    server = ("--bootstrap-servers", f"{found.host}:{found.port}")
    done = run("warehouse", "--home", tmp_path, "--to", "kafka", *server, "--org-id", "acme", "--json")
    assert json.loads(done.stdout)["bytesOut"] > 200
    with Warehouse.open(tmp_path / "warehouse.duckdb", SPEC, read_only=True) as warehouse:
        assert values(warehouse, "SELECT ERROR_CODE FROM REJECTS") == ["Decode.Malformed"]
        assert warehouse.tally.exact().rows == 0
    owner.flush(5)


def test_rows_do_not_go_to_kafka(tmp_path: Path) -> None:
    """A topic carries bundles: a dry run says so, too."""
    (tmp_path / "failed").write_text(json.dumps(firehose_record(json.dumps(row_json(2)).encode())))
    error = run(tmp_path, "--to", "kafka", "--dry-run").exception
    assert isinstance(error, SettingsError)
    assert "a topic carries bundles" in str(error)
    assert files(tmp_path) == ["failed"]


def test_stopped_by_a_signal(tmp_path: Path) -> None:
    """SIGTERM ends it after the object under way, with 1 and what to do; the next run does the rest."""
    for n in range(300):
        rejects(tmp_path / "r", message(bundle(n), n))
    code = (
        "import sys, typer; from lmdp.cli.replay import replay; from lmdp.errors import LmdpError\n"
        "app = typer.Typer(pretty_exceptions_enable=False); app.command()(replay)\n"
        "try:\n    app()\nexcept LmdpError as error:\n    print(error, file=sys.stderr); sys.exit(error.exit_code)\n"
    )
    words = [str(tmp_path / "r"), "--home", str(tmp_path / "home"), "--org-id", "acme"]
    with subprocess.Popen(
        [PROGRAM[0], "-c", code, *words], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        until(lambda: len(files(tmp_path / "r" / "replayed")) > 5)
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate(timeout=60)
    assert program.returncode == 1
    assert b"Run the same command again" in err
    assert b"failures made" in out
    assert 5 < len(files(tmp_path / "r" / "replayed")) < 300
    again = run(*words)
    assert again.exit_code == 0, again.output
    with Warehouse.open(tmp_path / "home" / "warehouse.duckdb", SPEC, read_only=True) as warehouse:
        assert values(warehouse, 'SELECT count(*) + 1000 * count(DISTINCT "instance") FROM ROW_EVENTS') == [300_300]
