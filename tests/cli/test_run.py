"""`lmdp run` as a person types it: what it refuses, before anything is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lmdp.certificates import development_ca
from running import call

if TYPE_CHECKING:
    from pathlib import Path

HERE = ["--bootstrap-servers", "127.0.0.1:1"]


@pytest.mark.parametrize(
    ("words", "env", "faults"),
    [
        ([*HERE, "--simulate", "1"], {}, ["--topic NAME"]),
        ([*HERE, "--simulate", "1"], {"LMDP_TOPIC": "t"}, ["LMDP_TOPIC does not count"]),
        (["--simulate", "1", "--topic", "t", "--broker", "memory"], {"LMDP_BOOTSTRAP_SERVERS": "k:1"}, ["--broker is"]),
        (
            [*HERE, "--broker", "memory", "--kafka-home", "k"],
            {},
            ["--broker is", "--kafka-home is", "--kafka-home is not"],
        ),
        (["--ca", "a", "--cert", "b", "--key", "c"], {}, ["--ca needs", "--cert needs", "--key needs"]),
        (
            [*HERE, "--duration", "5", "--interval", "2", "--instances", "3"],
            {},
            ["--duration", "--interval", "--instances"],
        ),
        (["--simulate", "0", "--duration", "5"], {}, ["--duration is for simulated devices"]),
        (["--simulate", "2", "--until-idle"], {}, ["--until-idle is never reached"]),
        (
            ["--partitions", "1,x", "--keep", "0d"],
            {},
            ["'x' is neither a number", "--keep (LMDP_KEEP) is '0d'; it is 1d to 36500d"],
        ),
        (["--partitions", "7-3"], {}, ["'7-3'"]),
        (["--partitions", ""], {}, ["''"]),
        (["--keep", "1.5"], {}, ["'1.5'"]),
        (["--keep", "-1d"], {}, ["'-1d'"]),
        ([], {"LMDP_KEEP": "90h"}, ["--keep (LMDP_KEEP) is '90h'"]),
        (
            ["--to", "snowflake", "--keep", "9d", "--warehouse", "w"],
            {},
            ["--keep is for DuckDB", "--warehouse is for DuckDB"],
        ),
        (["--share"], {}, ["--share is for --to snowflake"]),
        ([*HERE, "--to", "snowflake", "--share", "--partitions", "1"], {}, ["--share and --partitions contradict"]),
        ([*HERE, "--to", "snowflake"], {}, ["SNOWFLAKE_ACCOUNT_URL is not set", "the writer's private key is not set"]),
        (
            [*HERE, "--simulate", "1", "--keep", "x", "--kafka-home", "k"],
            {},
            ["--topic NAME", "'x'", "--kafka-home is"],
        ),
    ],
)
def test_contradictions_are_named_all_at_once(
    tmp_path: Path, words: list[str], env: dict[str, str], faults: list[str]
) -> None:
    """Exit code 2, every fault in one message, and nothing was made."""
    ended = call("run", *words, folder=tmp_path, given=b"", **env)
    assert ended.code == 2
    assert ended.err.startswith("lmdp: ")
    assert [fault for fault in faults if fault not in ended.err] == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with certificates, and what may be wrong with such files."""
    made = development_ca.make(tmp_path)
    (tmp_path / "open.key").write_bytes(made.client.key.read_bytes())
    (tmp_path / "open.key").chmod(0o644)
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "text.key").write_text("hello")
    (tmp_path / "text.key").chmod(0o600)
    return tmp_path


@pytest.mark.parametrize(
    ("ca", "cert", "key", "faults"),
    [
        ("none.pem", "client.pem", "client.key", ["--ca none.pem cannot be read: No such file"]),
        ("ca.pem", "text.pem", "client.key", ["--cert text.pem is not a PEM certificate"]),
        ("ca.pem", "client.pem", "open.key", ["can be read by others (mode 0644). Run: chmod 600 open.key"]),
        ("ca.pem", "client.pem", "text.key", ["--key text.key is not a PEM private key"]),
        ("ca.pem", "server.pem", "client.key", ["--key client.key is not the key of --cert server.pem"]),
        ("ca.pem", "client.pem", "", ["--cert is given without --key"]),
        (".", "none.pem", "none.key", ["--ca . cannot be read", "--cert none.pem", "--key none.key"]),
    ],
)
def test_certificates_that_cannot_be_used_are_told(
    files: Path, ca: str, cert: str, key: str, faults: list[str]
) -> None:
    """Before the broker is asked, each file that is wrong is named, with what to do."""
    given = [
        word for option, name in (("--ca", ca), ("--cert", cert), ("--key", key)) if name for word in (option, name)
    ]
    ended = call("run", *HERE, *given, folder=files)
    assert ended.code == 2
    assert [fault for fault in faults if fault not in ended.err] == []
    assert not (files / ".lmdp").exists()


@pytest.mark.parametrize("servers", ["nonsense", "host:port", "a:1,,b:2", "http://a:1"])
def test_an_address_that_is_none_is_told(tmp_path: Path, servers: str) -> None:
    """A typing error costs no ten seconds of waiting."""
    ended = call("run", "--bootstrap-servers", servers, folder=tmp_path)
    assert ended.code == 2
    assert "is not host:port" in ended.err


def test_a_broker_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Exit code 3 within a bounded time, with the address; no socket stays behind."""
    ended = call("run", *HERE, folder=tmp_path)
    assert ended.code == 3
    assert "Kafka at 127.0.0.1:1 does not answer" in ended.err
    assert not (tmp_path / ".lmdp" / "run.sock").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A home that this user may not write in."""
    tmp_path.chmod(0o500)
    ended = call("run", "--broker", "memory", folder=tmp_path)
    tmp_path.chmod(0o700)
    assert ended.code == 2
    assert "cannot be made" in ended.err


def test_a_home_that_is_a_file_is_told(tmp_path: Path) -> None:
    """Root can write everywhere, but not into a file."""
    (tmp_path / "file").touch()
    ended = call("run", "--broker", "memory", "--home", "file/inner", folder=tmp_path)
    assert (ended.code, "cannot be made or read: Not a directory" in ended.err) == (2, True)
