"""The command line as a whole: help, settings from the environment and `.env`, and how errors end it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from lmdp.cli.main import app
from running import PROGRAM, bundle, call, environment, lmdp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _commands(command: object, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command, as it is typed."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield names
        return
    for name, child in inner.items():
        yield from _commands(child, (*names, name))


COMMANDS = sorted(_commands(typer.main.get_command(app)))


def test_the_commands_are_found() -> None:
    """What the next test walks over is really there."""
    assert {("run",), ("publish",), ("flatten",), ("validate",), ("query",), ("status",), ("certs",)} <= set(COMMANDS)
    assert ("topic", "check") in COMMANDS


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_teaches(names: tuple[str, ...], tmp_path: Path) -> None:
    """--help ends with 0, says what the command does, and has an example of just that command."""
    ended = call(*names, "--help", folder=tmp_path)
    assert ended.code == 0
    assert f"lmdp {' '.join(names)}" in ended.out.partition("Example:")[2]
    assert ended.err == ""


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--version"], 0, "lmdp 0."),
        (["--help"], 0, "Start with: lmdp run"),
        ([], 2, "Usage"),
        (["nonsense"], 2, "No such command"),
        (["flatten"], 2, "Missing argument"),
        (["run", "--simulate", "many"], 2, "--simulate"),
        (["query", "select 1", "--format", "xml"], 2, "--format"),
        (["query", "select 1", "--limit", "0"], 2, "--limit"),
    ],
)
def test_usage(words: list[str], code: int, told: str, tmp_path: Path) -> None:
    """Wrong usage ends with 2 and says what was expected."""
    ended = call(*words, folder=tmp_path)
    assert ended.code == code
    assert told in ended.out + ended.err


def test_the_env_file_of_the_working_folder_is_read(tmp_path: Path) -> None:
    """`.env` sets what neither the environment nor an option does; that of a folder above is another's."""
    (tmp_path / ".env").write_text("LMDP_ORG_ID=from-file\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.json").write_bytes(bundle(1))
    flatten = ("flatten", str(tmp_path / "a.json"))
    assert b'"orgId":"from-file"' in lmdp(*flatten, folder=tmp_path).stdout
    assert b'"orgId":"from-env"' in lmdp(*flatten, folder=tmp_path, LMDP_ORG_ID="from-env").stdout
    above = lmdp(*flatten, folder=tmp_path / "inner")
    assert above.stdout == b""
    assert b"LMDP_ORG_ID is not set" in above.stderr


@pytest.mark.parametrize("content", [b"LMDP_ORG_ID=\xff\xfe\n", None])
def test_an_env_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None) -> None:
    """No UTF-8, or a folder of that name: in words."""
    if content is None:
        (tmp_path / ".env").mkdir()
    else:
        (tmp_path / ".env").write_bytes(content)
    ended = call("--version", folder=tmp_path)
    assert (ended.code, ended.err[:26]) == (2, "lmdp: .env in this folder ")
    assert ("is no file" if content is None else "cannot be read") in ended.err


@pytest.mark.parametrize("words", [["flatten", "a.json"], ["validate", "a.json"], ["run"]])
def test_a_specification_that_is_not_there_is_told(words: list[str], tmp_path: Path) -> None:
    """LMDP_SPEC is checked before anything else is done."""
    (tmp_path / "a.json").write_bytes(bundle(1))
    ended = call(*words, folder=tmp_path, LMDP_SPEC="none.md")
    assert ended.code == 2
    assert "none.md" in ended.err
    assert not (tmp_path / ".lmdp" / "warehouse.duckdb").exists()


@pytest.mark.parametrize("lines", [2, 20_000])
def test_a_pipe_that_closes_early_is_no_error_to_read(tmp_path: Path, lines: int) -> None:
    """`lmdp flatten … | head -1` shows its row and nothing on standard error, however much was to come."""
    (tmp_path / "a.jsonl").write_bytes((bundle(1, tenant="t") + b"\n") * lines)
    words = [*PROGRAM, "flatten", "a.jsonl"]
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline(10).startswith(b'{"orgId"')
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(30) in (0, 1)


def test_nothing_heavy_is_loaded_for_help(tmp_path: Path) -> None:
    """Kafka's client, DuckDB, Arrow and cryptography are loaded by the commands that need them."""
    program = (
        "import sys\nfrom lmdp.cli.main import main\n"
        "sys.argv = ['lmdp', '--help']\ntry:\n    main()\nexcept SystemExit:\n"
        "    print([name for name in ('duckdb', 'pyarrow', 'sqlglot') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, check=True
    )
    assert done.stderr == b"[]\n"
