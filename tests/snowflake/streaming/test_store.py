"""Snowflake as a run's store: the writer's settings, its key, and its part of status and report."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lmdp.errors import LmdpError, SettingsError, UnreachableError
from lmdp.machine.metrics import Progress
from lmdp.snowflake.keypair import make_pair, pem
from lmdp.snowflake.streaming.channel import Channels
from lmdp.snowflake.streaming.session import Session
from lmdp.snowflake.streaming.settings import WriterSettings
from lmdp.snowflake.streaming.store import opening
from lmdp.sql.settings import SnowflakeSettings
from lmdp.testing.snowpipe import Fault, RandomFaults, SnowpipeDouble


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A private key in a file."""
    path = tmp_path / "writer key.p8"
    path.write_bytes(pem(make_pair(2048)))
    return path


def read(env: dict[str, Any], **settings: Any) -> WriterSettings:
    """Read the settings of an account."""
    given = {"SNOWFLAKE_ACCOUNT_URL": "xy12345.snowflakecomputing.com", **env}
    return WriterSettings.from_env({name: str(value) for name, value in given.items()}, SnowflakeSettings(**settings))


@pytest.mark.parametrize(
    ("env", "settings", "name", "keys"),
    [
        ({}, {}, "LM_METRICS.PIPELINE.ROW_EVENTS_STREAM", "quoted"),
        ({}, {"identifiers": "wrapped"}, "LM_METRICS.PIPELINE.ROW_EVENTS_STREAM", "quoted"),
        ({}, {"identifiers": "upper"}, "LM_METRICS.PIPELINE.ROW_EVENTS-STREAMING", "upper"),
        ({"SNOWFLAKE_PIPE": "P"}, {"database": "D", "schema": "S"}, "D.S.P", "quoted"),
    ],
)
def test_the_pipe_follows_how_columns_are_named(
    key_file: Path, env: dict[str, str], settings: dict[str, Any], name: str, keys: str
) -> None:
    """Quoted columns need a pipe that takes names as they are; keys are never wrapped."""
    found = read({"SNOWFLAKE_WRITER_KEY_FILE": key_file, **env}, **settings)
    assert (found.name, found.identifiers) == (f"snowflake://xy12345.snowflakecomputing.com/{name}", keys)
    assert (found.account.name, found.account.user) == ("XY12345", "LM_FIREHOSE_SVC")
    assert "PRIVATE" not in repr(found)


def test_the_key_is_read_each_time(key_file: Path) -> None:
    """A file that was replaced, and a command's answer, are taken up."""
    by_file = read({"SNOWFLAKE_WRITER_KEY_FILE": key_file, "SNOWFLAKE_WRITER_USER": "ME"}).account
    by_command = read({"SNOWFLAKE_WRITER_KEY_COMMAND": f"cat '{key_file}'"}).account
    before = by_file.key()
    assert (by_file.user, by_command.key()) == ("ME", before)
    key_file.write_bytes(pem(make_pair(2048)))
    assert by_file.key() == by_command.key() != before


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ({"SNOWFLAKE_ACCOUNT_URL": ""}, "2 settings are wrong"),
        ({}, "the writer's private key is not set"),
        ({"SNOWFLAKE_WRITER_KEY_FILE": "a", "SNOWFLAKE_WRITER_KEY_COMMAND": "b"}, "has one key: leave one"),
        ({"SNOWFLAKE_WRITER_KEY_FILE": "/none"}, "the writer's private key: .*No such file"),
        ({"SNOWFLAKE_WRITER_KEY_FILE": __file__}, "the private key cannot be read"),
        ({"SNOWFLAKE_WRITER_KEY_COMMAND": "false"}, "KEY_COMMAND failed: CalledProcessError"),
        ({"SNOWFLAKE_WRITER_KEY_COMMAND": "'"}, "KEY_COMMAND failed: ValueError"),
        ({"SNOWFLAKE_WRITER_KEY_COMMAND": "/none/at/all"}, "KEY_COMMAND failed: FileNotFoundError"),
    ],
)
def test_faults_are_reported_before_the_first_message(env: dict[str, str], fault: str) -> None:
    """Each fault names its setting; no key is in a message."""
    with pytest.raises(SettingsError, match=fault):
        read(env)


def test_a_key_that_vanishes_is_an_error_of_its_own(key_file: Path) -> None:
    """A key that cannot be read later is reported, with nothing of it."""
    account = read({"SNOWFLAKE_WRITER_KEY_COMMAND": f"cat '{key_file}'"}).account
    key_file.unlink()
    with pytest.raises(LmdpError, match="Run it by hand"):
        account.key()


def test_a_key_file_that_is_missing_for_a_moment_is_waited_for(double: SnowpipeDouble, key_file: Path) -> None:
    """A request that has to sign in is repeated until the file is there again; the error names the file."""
    settings = read({"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": key_file})
    double.key, other = None, key_file.with_name("other")
    key_file.rename(other)
    with contextlib.closing(Session(settings.account, retry_s=0.0)) as session:
        channels = Channels(session, settings.place, "one")
        with pytest.raises(UnreachableError, match=r"the key file .*writer key\.p8 cannot be read: No such file"):
            channels.statuses(["a"])
        other.rename(key_file)
        assert channels.statuses(["a"]) == {}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", 404, "ERR_PIPE_DOES_NOT_EXIST_OR_NOT_AUTHORIZED"), "ERR_PIPE_DOES_NOT_EXIST"),
        (Fault("hostname", 401, "JWT_TOKEN_INVALID"), "does not know the key of LM_FIREHOSE_SVC"),
        (Fault("status", 410, "ERR_PIPE_FAILED_OVER"), None),
    ],
    ids=str,
)
def test_a_shared_run_tries_key_role_and_pipe_at_its_start(
    double: SnowpipeDouble, key_file: Path, fault: Fault, error: str | None
) -> None:
    """What no retry can help ends it before it joins the group, as it ends a run that opens its channels at once."""
    settings = read({"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": key_file})
    double.key, double.random_faults = None, RandomFaults((fault,), 1.0)
    stop = threading.Event()
    with contextlib.ExitStack() as opened:
        refused = contextlib.nullcontext() if error is None else pytest.raises(LmdpError, match=error)
        with refused:
            opened.enter_context(opening(settings, "rejects", shared=True)(Progress(), stop, print))
    assert [request.operation for request in double.requests if request.operation == "open"] == []


def test_a_store_reports_what_is_known_here(double: SnowpipeDouble, key_file: Path) -> None:
    """What only the table knows is null in status and report; refused rows are missing."""
    settings = read({"SNOWFLAKE_ACCOUNT_URL": double.url, "SNOWFLAKE_WRITER_KEY_FILE": key_file})
    progress = Progress(gaps=3, reasons=Counter({"Decode.Malformed": 2}))
    with opening(settings, "my rejects")(progress, threading.Event(), print) as store:
        with store.moment() as totals:
            status = store.status(totals, 1.0)
        figures = store.figures(store.count())
        assert store.warehouse is None
        assert (status["rows"], status["rejects"], status["gaps"]) == (0, 2, 3)
        assert status["freshnessSeconds"] is None
        assert status["snowflake"]["rejectsIn"] == "my rejects"
        assert store.rejects == "'my rejects' --to snowflake"
        assert figures["warehouse"] == status["warehouse"] == settings.name
        assert {name: (status[name], figures[name]) for name in ("missing", "duplicates", "holes", "clock")} == {
            "missing": (0, 0),
            "duplicates": (None, None),
            "holes": (None, None),
            "clock": ({"ahead": None, "expired": None},) * 2,
        }
        first = threading.Event()
        stop = threading.Event()
        stop.set()
        store.maintain(stop, print, first)
        assert first.is_set()
