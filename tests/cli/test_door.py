"""What comes in from a command line, the environment and `.env`: refused in words, within a moment, or taken."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmdp.cli.main import app
from lmdp.support.settings_reader import known
from running import PROGRAM, bundle, call, environment

HOSTILE = [
    *("", " ", "-", "--", "-1", "0", "1", "nan", "-inf", "inf", "1e400", "1e308", "9" * 30, "0x10", "1_000", "٣"),
    *("\udcff", "a\udc80b", "\u2028", "\x1b[2J", "a\nb", "'", '"', "${HOME}", "%s", "{}", "\U0001f600" * 300),
    *("x" * 5000, "..", "/", ".", "fifo", "socket", "/dev/null", "folder", "broken.json", "a/../../b", "C:\\x"),
    *("0-999999", "1-0", "1,,2", "99999d", "0d", "forever", "NaN:1", ":", "[::1]:0", "host:99999", "s3://", "s3:///"),
    *("arn:aws:acm-pca:::", "name=", "=1", "brokers=nan", "2026-13-01", "select", ":memory:", "duckdb:x", "md:x"),
]
# What each command needs beside the value under test, so that it ends soon and reaches nobody.
NO_KAFKA = ["--bootstrap-servers", "127.0.0.1:1", "--ca", "missing.pem"]
BASE: dict[tuple[str, ...], list[str]] = {
    ("run",): NO_KAFKA,
    ("receive",): NO_KAFKA,
    ("publish",): [*NO_KAFKA, "bundle.json"],
    ("topic", "check"): NO_KAFKA,
    ("topic", "create"): NO_KAFKA,
    ("topic", "acls"): NO_KAFKA,
    ("flatten",): ["bundle.json"],
    ("validate",): ["bundle.json"],
    ("query",): ["select 1"],
    ("replay",): ["rejects", "--dry-run"],
    ("doctor",): ["--only", "local"],
    ("powerbi",): ["--server", "x.snowflakecomputing.com"],
    ("snowflake", "keypair"): ["--show", "--file", "setup.p8"],
}
SKIPPED = {"--watch", "--help", "-h"}  # goes on until Ctrl-C; prints and ends


def _leaves(command: Any, names: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(names, command)]
    return [leaf for name, child in inner.items() for leaf in _leaves(child, (*names, name))]


COMMANDS = _leaves(typer.main.get_command(app))
# A word list for each option, with its place for the value, and one for each argument.
OPTIONS = [
    (names, option.opts[-1] if option.param_type_name == "option" else "")
    for names, command in COMMANDS
    for option in command.params
    if not set(option.opts) & SKIPPED and not getattr(option, "is_flag", False)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what paths may meet: files, folders, a pipe, a socket."""
    made = tmp_path_factory.mktemp("door")
    (made / "bundle.json").write_bytes(bundle(1))
    (made / "broken.json").write_bytes(b'{"resourceMetrics": [')
    for name in ("rejects", "folder"):
        (made / name).mkdir()
    os.mkfifo(made / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        before = Path.cwd()
        os.chdir(made)  # a socket's path is short
        listening.bind("socket")
        os.chdir(before)
    return made


def _is_an_answer(code: int, err: str, seconds: float) -> None:
    assert code in {0, 1, 2, 3}
    assert "Traceback" not in err
    assert seconds < 30, "a minute's patience at the door is none"


AWAY: dict[str, Any] = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    where=st.sampled_from(OPTIONS), value=st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8"), max_size=20)
)
def test_no_option_ends_in_a_traceback(folder: Path, where: tuple[tuple[str, ...], str], value: str) -> None:
    """Each option of each command with a hostile value: an exit code that is documented, and no traceback."""
    names, option = where
    if "\0" in value or (not option and value in ("fifo", "-")):
        return  # no argument holds a NUL; a pipe as input is waited for, as `cat` does
    words = [*names, *BASE.get(names, []), *([f"{option}={value}"] if option.startswith("--") else [option, value])]
    begun = time.monotonic()
    ended = call(*[word for word in words if word or option], folder=folder, **AWAY)
    _is_an_answer(ended.code, ended.err, time.monotonic() - begun)


ASKED = [
    ("run", *NO_KAFKA),
    ("flatten", "bundle.json"),
    ("snowflake", "ddl"),
    ("snowflake", "setup"),
    ("query", "select 1"),
]


@settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(known())),
    words=st.sampled_from(ASKED),
    value=st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
)
def test_no_setting_ends_in_a_traceback(folder: Path, name: str, words: tuple[str, ...], value: str) -> None:
    """Each setting that something reads, with a hostile value."""
    begun = time.monotonic()
    env = AWAY | {name: value}
    ended = call(*words, folder=folder, **env)
    _is_an_answer(ended.code, ended.err, time.monotonic() - begun)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flatten", "bundle.json", "--org-id", "\udcff"], "argument '\\udcff' is not valid UTF-8"),
        (["query", "select '\udcff'"], "is not valid UTF-8"),
        (["run", "--interval", "nan"], "--interval is 'nan'; it is a number from 0.1 to 2,147,483,647"),
        (["run", "--interval", "inf"], "--interval is inf; it is a number"),
        (["run", "--duration", "1e300"], "--duration is 1e+300; it is a number from 0.1 to 2,147,483,647"),
        (["run", "--simulate", "99999999999999999999"], "it is a whole number from 0 to 1,000,000"),
        (["run", "--simulate", "1000000", "--instances", "1000"], "at most 2,000,000 instances are simulated"),
        (["publish", "--simulate", "1000000", "--instances", "1000"], "at most 2,000,000 instances are simulated"),
        (["run", "--keep", "99999d"], "--keep (LMDP_KEEP) is '99999d'; it is 1d to 36500d"),
        (["run", "--warehouse", "fifo"], "fifo is not a file"),
        (["run", "--warehouse", "folder"], "folder is not a file"),
        (["run", "--bootstrap-servers", "b:1", "--ca", "fifo"], "--ca fifo is not a PEM certificate"),
        (
            ["run", "--bootstrap-servers", "b:1", "--cert", "folder", "--key", "fifo"],
            "--key fifo is not a PEM private key",
        ),
        (["snowflake", "verify", "--fresh", "nan"], "--fresh is 'nan'; it is a number from 1 to"),
        (["snowflake", "keypair", "--file", "k", "--bits", "99999"], "it is a whole number from 2,048 to 8,192"),
    ],
)
def test_what_is_refused_is_named(words: list[str], said: str, folder: Path) -> None:
    """Exit code 2, and a message with the value."""
    ended = call(*words, folder=folder)
    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'LMDP_ORG_ID=a\nLMDP_TOPIC="x\nLMDP_HOME=h\n', "line 2 cannot be read: a quote is open"),
        (b"LMDP_ORG_ID=a\0b\n", "line 1 cannot be read"),
        (b"\n\n=x\n", "line 1 cannot be read"),
        (b"LMDP_ORG_ID=\xff\n", "cannot be read: 'utf-8' codec"),
    ],
)
def test_an_env_file_that_cannot_be_read_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    """With its line: settings that are silently lost are the wrong ones."""
    (tmp_path / ".env").write_bytes(content)
    ended = call("snowflake", "ddl", folder=tmp_path)
    assert (ended.code, said in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_an_env_file_that_is_no_file_is_refused(make: Any, tmp_path: Path) -> None:
    """Reading a pipe would wait for ever."""
    make(tmp_path / ".env")
    ended = call("snowflake", "ddl", folder=tmp_path)
    assert (ended.code, "is not a file" in ended.err) == (2, True), ended.err


def test_a_specification_that_is_no_file_is_refused(folder: Path) -> None:
    """As above."""
    ended = call("flatten", "bundle.json", folder=folder, LMDP_SPEC=str(folder / "fifo"))
    assert (ended.code, "is not a file" in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("words", [["run", "--help"], ["--help"], ["snowflake", "ddl"]])
def test_a_posix_locale_without_utf8_is_enough(words: list[str], tmp_path: Path) -> None:
    """What ASCII lacks is shown by its number."""
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [*PROGRAM, *words], cwd=tmp_path, env=environment(**plain), capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_setting_that_nothing_reads_is_named_at_the_start(folder: Path) -> None:
    """With the nearest name; the misspelt tenant was taken for none."""
    ended = call(
        "run", "--warehouse", "new.duckdb", *NO_KAFKA[:2], "--ca", "missing.pem", folder=folder, LMDP_ORGID="a"
    )
    assert ended.code == 2
    assert "nothing reads the setting LMDP_ORGID (did you mean LMDP_ORG_ID?)" in ended.err


def test_nothing_is_left_open_to_others(folder: Path) -> None:
    """What the cases above made as a home is private."""
    homes = [path.parent for path in folder.rglob("certs") if path.is_dir()]
    assert {stat.S_IMODE(home.stat().st_mode) for home in homes} <= {0o700}
