"""The command line as a whole: help, settings from the environment and `.env`, and how errors end it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from lmdp.cli.main import app
from lmdp.support.program import program
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


HEAVY = {
    *("confluent_kafka", "cryptography", "duckdb", "pyarrow", "sqlglot", "boto3", "botocore", "snowflake", "nicegui"),
}
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


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_as_a_command(names: tuple[str, ...], tmp_path: Path) -> None:
    """`lmdp help COMMAND` is `lmdp COMMAND --help`."""
    assert call("help", *names, folder=tmp_path) == call(*names, "--help", folder=tmp_path)


def test_the_list_of_commands_has_their_summaries() -> None:
    """The list loads no command; so it repeats the first sentence of each one's help, word for word."""
    group = typer.main.get_command(app)
    listed = group.get_help(typer.Context(group, info_name="lmdp", terminal_width=500, max_content_width=500))
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # it is a group
        assert re.search(rf"^  {name} +{re.escape(command.help.splitlines()[0])}$", listed, re.MULTILINE), name


@pytest.mark.parametrize(
    ("words", "headings"),
    [
        (["run"], ["Kafka:", "Simulation:", "Storage:", "Page:", "Receiver:", "Options:"]),
        (["publish"], ["Arguments:", "Kafka:", "Simulation:", "Options:"]),
        (["replay"], ["Arguments:", "Kafka:", "Firehose:", "Options:"]),
        (["topic", "check"], ["Kafka:", "Options:"]),
    ],
)
def test_options_are_in_groups(words: list[str], headings: list[str], tmp_path: Path) -> None:
    """Options that belong together have a heading, in this order."""
    out = call(*words, "--help", folder=tmp_path).out
    assert [line for line in out.splitlines() if re.fullmatch(r"[A-Z]\w+:", line)] == headings


@pytest.mark.parametrize(
    ("words", "env", "err"),
    [
        (["nonsense"], {}, ("lmdp: there is no command 'nonsense'; commands: run, publish, flatten, validate, query, "
         "status, receive, receive token, replay, powerbi, certs, cost, doctor, topic, snowflake\n")),
        (["topic", "chekc"], {}, ("lmdp: there is no command 'chekc' (did you mean check?); commands: check, create, "
         "acls\n")),
        (["--verison"], {}, "lmdp: there is no option --verison (did you mean --version?)\nHelp: lmdp --help\n"),
        (["flatten"], {}, "lmdp: FILE… is missing\nHelp: lmdp flatten --help\n"),
        (["query", "select 1", "select", "2"], {}, ("lmdp: 2 settings are wrong:\n"
         "  - 'select' is one argument too many\n"
         "  - '2' is one argument too many\nHelp: lmdp query --help\n")),
        (["query", "select 1", "--format", "xml", "--limit", "0"], {}, ("lmdp: 2 settings are wrong:\n"
         "  - --format is 'xml'; it is one of table, line, markdown, json, csv, parquet\n"
         "  - --limit is '0'; it is a whole number from 1 to 1,000,000\nHelp: lmdp query --help\n")),
        (["run", "--page-port", "a", "--json=1", "--keeep", "7d", "--interval", "x", "--topic"], {},
         ("lmdp: 5 settings are wrong:\n  - --json takes no value\n  - there is no option --keeep (did "
         "you mean --keep?)\n"
         "  - --topic needs a value: NAME\n  - --interval is 'x'; it is a number from 0.1 to 2,147,483,647\n"
         "  - --page-port is 'a'; it is a whole number from 1 to 65,535\nHelp: lmdp run --help\n")),
        (["run", "--simulate", "many", "--ca", "a"], {}, ("lmdp: 2 settings are wrong:\n"
         "  - --simulate is 'many'; it is a whole number from 0 to 1,000,000\n"
         "  - --ca needs --bootstrap-servers; the embedded Kafka has certificates of its own\n"
         "Help: lmdp run --help\n")),
        (["run", "--until-idle"], {"LMDP_PAGE": "perhaps", "LMDP_PAGE_PORT": "0"}, ("lmdp: 2 settings are wrong:\n"
         "  - LMDP_PAGE (--page) is 'perhaps'; it is true or false\n"
         "  - LMDP_PAGE_PORT (--page-port) is '0'; it is a whole number from 1 to 65,535\nHelp: lmdp run --help\n")),
    ],
)  # fmt: skip
def test_wrong_usage(words: list[str], env: dict[str, str], err: str, tmp_path: Path) -> None:
    """Exit code 2 and every fault at once: the option, what was given, and what is allowed, in our own words."""
    ended = call(*words, folder=tmp_path, given=b"", **env)
    named = ended.err.replace(f"Help: {program()} ", "Help: lmdp ")
    assert (ended.code, ended.out, named) == (2, "", err)


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["--version"], 0, "lmdp 0.", ""),
        (["--help"], 0, "Start with: lmdp run", ""),
        ([], 2, "", "Usage: lmdp"),
        (["topic"], 2, "", "Usage: lmdp topic"),
    ],
)
def test_usage(words: list[str], code: int, out: str, err: str, tmp_path: Path) -> None:
    """Help that was asked for is output; help instead of a command is an error."""
    ended = call(*words, folder=tmp_path)
    assert ended.code == code
    assert out in ended.out
    assert ended.err.startswith(err)
    assert bool(ended.out) != bool(ended.err)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("lmdp pub", ["publish"]),
        ("lmdp topic c", ["check", "create"]),
        ("lmdp query --format ", ["table", "line", "markdown", "json", "csv", "parquet"]),
        ("lmdp publish --topic l", ["lm.metrics.otlp"]),
        ("lmdp run --bro", ["--broker"]),
    ],
)
def test_completion(line: str, found: list[str], tmp_path: Path) -> None:
    """The shell completes commands, options, and values that are known without a broker; nothing else is printed."""
    asked = {"_LMDP_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    ended = call(folder=tmp_path, given=b"", LMDP_NONSENSE_XYZ="1", **asked)
    assert (ended.code, ended.out.split(), ended.err) == (0, found, "")


def test_the_completion_script_can_be_shown(tmp_path: Path) -> None:
    """It completes `lmdp`, however the program was started."""
    fixed = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = lmdp("--show-completion", "bash", folder=tmp_path, given=b"", seconds=60, **fixed)
    assert b"complete -o default -F _lmdp_completion lmdp" in done.stdout


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"LMDP_TOPICS": "x"}, "lmdp: nothing reads the setting LMDP_TOPICS (did you mean LMDP_TOPIC?)\n"),
        ({"LMDP_NONSENSE_XYZ": "x"}, "lmdp: nothing reads the setting LMDP_NONSENSE_XYZ\n"),
        (
            {"SNOWFLAKE_DATABSE": "x", "LMDP_ORGID": "x"},
            (
                "lmdp: nothing reads the setting LMDP_ORGID (did you mean LMDP_ORG_ID?)\n"
                "lmdp: nothing reads the setting SNOWFLAKE_DATABSE (did you mean SNOWFLAKE_DATABASE?)\n"
            ),
        ),
        ({"SNOWFLAKE_HOME": "/opt/snowsql", "LMDP_VPC_ID": "vpc-1", "LMDP_ORG_ID": "x"}, ""),
    ],
)
@pytest.mark.parametrize("words", [["validate", "--schema"], ["snowflake", "ddl"], ["cost", "--list-prices"]])
def test_a_misspelt_setting_is_reported_by_every_command(
    words: list[str], env: dict[str, str], said: str, tmp_path: Path
) -> None:
    """A warning on standard error with the nearest name; the command runs. Other programs' settings are left alone."""
    ended = call(*words, folder=tmp_path, given=b"", **env)
    assert (ended.code, ended.err) == (0, said)


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
def test_an_env_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Not UTF-8, or a folder of that name: exit code 2, in words."""
    if content is None:
        (tmp_path / ".env").mkdir()
    else:
        (tmp_path / ".env").write_bytes(content)
    ended = call("--version", folder=tmp_path)
    assert (ended.code, ended.err[:26]) == (2, "lmdp: .env in this folder ")
    assert ("is not a file" if content is None else "cannot be read") in ended.err


@pytest.mark.parametrize("words", [["flatten", "a.json"], ["validate", "a.json"], ["run"]])
def test_a_specification_that_is_missing_is_refused(words: list[str], tmp_path: Path) -> None:
    """LMDP_SPEC is checked before anything else is done."""
    (tmp_path / "a.json").write_bytes(bundle(1))
    ended = call(*words, folder=tmp_path, LMDP_SPEC="none.md")
    assert ended.code == 2
    assert "none.md" in ended.err
    assert not (tmp_path / ".lmdp" / "warehouse.duckdb").exists()


@pytest.mark.parametrize("words", [["flatten", "a.json"], ["run"], ["replay", "rejects"]])
def test_a_limit_of_a_message_is_read(words: list[str], tmp_path: Path) -> None:
    """Whoever transforms messages has the same limits, so that what one rejected another can take."""
    (tmp_path / "a.json").write_bytes(bundle(1))
    (tmp_path / "rejects").mkdir()
    ended = call(*words, folder=tmp_path, LMDP_MAX_MESSAGE_MEMORY="0")
    assert (ended.code, "LMDP_MAX_MESSAGE_MEMORY is '0'" in ended.err) == (2, True)


def test_the_reason_names_the_limit_that_lets_a_message_pass(tmp_path: Path) -> None:
    """A message that is too large passes once the variable of its reject is raised."""
    (tmp_path / "a.json").write_bytes(bundle(1, tenant="t"))
    small = call("flatten", "a.json", folder=tmp_path, LMDP_MAX_MESSAGE_MEMORY="1000")
    assert (small.code, "LMDP_MAX_MESSAGE_MEMORY" in small.err, small.out) == (1, True, "")
    assert call("flatten", "a.json", folder=tmp_path, LMDP_MAX_MESSAGE_MEMORY="100000").out.count("\n") == 1


@pytest.mark.parametrize(("lines", "ended"), [(1, 0), (20_000, 1)])
def test_a_pipe_that_closes_early_is_no_error_to_read(tmp_path: Path, lines: int, ended: int) -> None:
    """`lmdp flatten … | head -1` shows its row and nothing on standard error; the exit code is 1 if rows were lost."""
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
        assert program.wait(30) == ended


def test_nothing_heavy_is_loaded_for_help(tmp_path: Path) -> None:
    """The list of commands loads none of them, and no command's help loads a client, a database or cryptography."""
    program = (
        "import contextlib, io, json, sys\nfrom lmdp.cli.main import execute\n"
        "for words in json.loads(sys.argv.pop()):\n"
        "    sys.argv[1:] = [*words, '--help']\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n        code = execute()\n"
        "    print(json.dumps([words, code, [name for name in sys.modules]]))"
    )
    asked = json.dumps([[], *COMMANDS])
    words = [sys.executable, "-c", program, asked]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, check=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(COMMANDS) + 1
    assert [name for name in answers[0][2] if name.startswith(("lmdp.core", "lmdp.cli.run", "rich"))] == []
    for names, code, modules in answers:
        assert (code, names, HEAVY & {name.partition(".")[0] for name in modules}) == (0, names, set())


def test_the_help_is_the_same_in_every_process() -> None:
    """Nothing in it is in the order of a set, which Python's hash seed decides."""
    words = [sys.executable, "-c", "from lmdp.cli.main import main; main()", "--help"]
    shown = {
        subprocess.run(words, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout
        for seed in "123"
    }
    assert len(shown) == 1
