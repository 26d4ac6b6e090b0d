"""The documents are true: their commands run, their links lead somewhere, and what is generated is current."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from documents import PAGES, ROOT, Command, Line, anchors, fenced, lines, links, spans
from lmdp.cli.main import app
from lmdp.sql.settings import SnowflakeSettings, variable
from lmdp.support.settings_reader import known
from running import bundle, call, lmdp

pytestmark = pytest.mark.xdist_group("documents")  # one warehouse for all

LINES, SPANS = lines(), spans()
BUNDLE = "tests/fixtures/otlp/otlp_bundle_ok.json"

SNOWFLAKE = {variable(field.name) for field in fields(SnowflakeSettings)}

# What needs more than this machine: only its command and options are looked at.
ONLY_PARSED = {
    r"^lmdp run\b": "goes on for minutes, or until it is told to end; the warehouse here is made by a short one",
    r"^lmdp publish\b": "needs a Kafka",
    r"^lmdp topic\b": "needs a Kafka",
    r"^lmdp receive\b": "needs a Kafka, or a token that was made before",
    r"--to kafka\b": "needs a Kafka",
    r"s3://": "needs a bucket",
    r"--private-ca\b": "needs AWS Private CA",
    r"--secret\b": "needs Secrets Manager",
    r"^lmdp doctor .*--environment\b": "needs an AWS account",
    r"--home /var/lib/lmdp\b": "needs the service",
    r"^lmdp snowflake (setup|verify|errors|try)\b": "needs a Snowflake account",
    r"--to snowflake\b": "as above",
}
AWS_TEXTS = {
    "is not authorized to perform",
    "explicit deny in an identity-based policy",
    "no permissions boundary allows",
}
"""Messages that AWS writes."""

# All others run, and end with 0, but for these.
EXIT_CODES = {r"^lmdp doctor\b": {0, 1}}  # whatever this machine lacks


def _written(command: Command) -> str:
    return " ".join((command.program, *command.words[1:]))


def _reason(command: Command) -> str | None:
    return next((why for pattern, why in ONLY_PARSED.items() if re.search(pattern, _written(command))), None)


def _of(found: list[Line], program: str) -> list[Any]:
    """The commands of a program, each once, named by its page."""
    commands = {
        command.words[1:]: pytest.param(command, id=f"{line.page}: {_written(command)}")
        for line in found
        for pipeline in line.pipelines
        for command in pipeline
        if command.program == program
    }
    return list(commands.values())


def _runs(pipeline: tuple[Command, ...]) -> bool:
    return pipeline[0].program == "lmdp" and not any(_reason(command) for command in pipeline)


RUN = {
    pipeline: pytest.param(pipeline, id=f"{line.page}: {' | '.join(map(_written, pipeline))}")
    for line in LINES
    for pipeline in line.pipelines
    if _runs(pipeline)
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's environment has no settings yet, and no way to an account."""
    for name in [name for name in os.environ if name.startswith(("LMDP_", "SNOWFLAKE_", "RETENTION_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after a short run, with the files that the documents name."""
    made = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "tests" / "fixtures", made / "tests" / "fixtures")
    (made / "bundle.json").write_bytes(bundle(1))
    (made / "ours.toml").write_text("[credit]\nvalue = 2\n")
    (made / "rejects").mkdir()
    assert call("flatten", "bundle.json", "--rejects", "rejects/one.jsonl", folder=made).code == 1
    short = ("--simulate", "5", "--instances", "2", "--interval", "1", "--duration", "1")
    ran = lmdp("run", "--broker", "memory", *short, "--json", folder=made, seconds=180)
    assert ran.returncode == 0, ran.stderr
    (made / "run.json").write_bytes(ran.stdout)
    return made


def _command_of(words: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Return the command that the words name, and the words after its name."""
    command, rest = typer.main.get_command(app), list(words[words[:1] == ("help",) :])
    while (inner := getattr(command, "commands", None)) and rest and not rest[0].startswith("-"):
        if rest[0].isupper():  # COMMAND, in place of any
            break
        if " ".join(rest[:2]) in inner:
            rest[:2] = [" ".join(rest[:2])]
        assert rest[0] in inner, f"there is no command {rest[0]}"
        command = inner[rest.pop(0)]
    return command, rest


def _options(command: Any) -> set[str]:
    return {"--help", "-h"} | {option for one in command.params for option in (*one.opts, *one.secondary_opts)}


@pytest.mark.parametrize("command", _of(LINES, "lmdp"))
def test_a_command_on_a_line_of_its_own_is_complete(command: Command) -> None:
    """The command exists, takes these options, together, and has all that it needs; nothing is run."""
    found, rest = _command_of(command.words[1:])
    assert not hasattr(found, "commands")
    found.make_context(_written(command), rest)  # raises where options are wrong, or do not go together


@pytest.mark.parametrize("command", _of(SPANS, "lmdp"))
def test_a_command_in_a_sentence_exists(command: Command) -> None:
    """It is named with options that it has; their values may be left out."""
    found, rest = _command_of(command.words[1:])
    given = {word.partition("=")[0] for word in rest if re.match("--?[a-z]", word)}
    assert given <= _options(found)


@pytest.mark.parametrize("command", _of(LINES + SPANS, "make"))
def test_what_is_made_can_be_made(command: Command) -> None:
    """`make -n` knows each target."""
    words = [word for word in command.words[1:] if word != "…"]
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}  # not those of `make test`
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", _of(LINES + SPANS, "python"))
def test_a_program_of_this_repository_is_there(command: Command) -> None:
    """`python FILE` and `python -m MODULE` name what exists."""
    words = command.words[1:]
    if words[0] == "-m":
        place = ROOT / words[1].replace(".", "/")
        assert (
            place.with_suffix(".py").exists()
            or (place / "__main__.py").exists()
            or (ROOT / "tests" / words[1]).exists()
        )
    else:
        assert (ROOT / words[0]).exists()


@pytest.mark.parametrize("pipeline", RUN.values())
def test_what_can_run_here_runs(pipeline: tuple[Command, ...], folder: Path) -> None:
    """As it stands in the document, one into the other, in a folder with a warehouse."""
    given = b""
    for command in pipeline:
        if command.program != "lmdp":
            break  # head and the like
        ended = call(*command.words[1:], folder=folder, given=given)
        wanted = next((codes for pattern, codes in EXIT_CODES.items() if re.search(pattern, _written(command))), {0})
        assert ended.code in wanted, ended.err
        assert ended.out or "--output" in command.words
        given = ended.out.encode()
        if command.into:
            (folder / command.into).write_bytes(given)


def test_an_answer_is_not_redirected() -> None:
    """`lmdp query … > FILE` would truncate it to what a terminal shows: `--output FILE` has all rows or fails."""
    commands = [command for line in LINES for pipeline in line.pipelines for command in pipeline]
    assert [one for one in commands if one.words[1:2] == ("query",) and one.into] == []


def test_a_file_of_settings_is_not_overwritten() -> None:
    """A reader who repeats a step keeps the settings that he has; they are in no commit."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    made = re.findall(r"^.*\b(?:cp|install) .*\.env\b.*$", text, re.MULTILINE)
    assert len(made) > 2
    assert [line for line in made if "test -e " not in line] == []


def test_the_commands_are_found() -> None:
    """What the tests above walk over is really there, on every kind of page."""
    pages = {line.page for line in LINES}
    assert {"README.md", "docs/cli.md", "docs/cost.md", "docs/deploy.md", "docs/replay.md"} <= pages
    assert len(_of(LINES, "lmdp")) > 40
    assert len(RUN) > 20


@pytest.mark.parametrize("pattern", ONLY_PARSED)
def test_no_exception_is_for_nothing(pattern: str) -> None:
    """Each reason not to run a command is one that a command needs."""
    commands = [command for line in LINES for pipeline in line.pipelines for command in pipeline]
    assert any(re.search(pattern, _written(command)) for command in commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files are there, and so are the headings in them."""
    broken = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page if not name else page.parent / name
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def _naming() -> set[str]:
    """Every page that code, a message or a document names in words."""
    files = [path for folder in ("src", "infra", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in (*files, *PAGES, ROOT / "Makefile"))
    return set(re.findall(r"\bdocs/[\w/-]+\.md(?:#[\w-]+)?", text))


@pytest.mark.parametrize("name", sorted(_naming()))
def test_a_page_that_is_named_is_there(name: str) -> None:
    """Also where a message of the program sends a person."""
    page, _, anchor = name.partition("#")
    assert (ROOT / page).exists()
    assert not anchor or anchor in anchors(ROOT / page)


def test_the_runbook_refers_to_its_own_sections() -> None:
    """`go to *section*` in docs/operations.md is one of its headings."""
    page = ROOT / "docs" / "operations.md"
    named = re.findall(r"(?:go to|: ?) \*([a-z ]+)\*(?: or \*([a-z ]+)\*)?", page.read_text("utf-8"))
    sections = {section.replace(" ", "-") for pair in named for section in pair if section}
    assert len(sections) > 3
    assert sections <= anchors(page)


def _printed() -> str:
    """Every text in the programs, those that are put together from lines as one."""
    files = [path for folder in ("src", "infra", "tools") for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_a_message_that_troubleshooting_quotes_is_printed() -> None:
    """What stands between the gaps of a quoted message is in a text of the programs, or AWS's own."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    headings = " ".join(re.findall(r"^\*\*(.+?)\*\*", page, re.MULTILINE | re.DOTALL))
    quoted = [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", headings)]
    parts = {part.strip() for text in quoted for part in re.split("…|: |lmdp-", text)}
    printed = _printed()
    assert len(parts) > 30
    assert {part for part in parts if part not in printed} - AWS_TEXTS - {"make test"} == set()


def test_settings_that_are_named_are_read() -> None:
    """No document names a setting that the program does not know."""
    pattern = r"\b(?:LMDP|SNOWFLAKE)_[A-Z_]+[A-Z]\b"
    named = {name for page in (*PAGES, ROOT / ".env.example") for name in re.findall(pattern, page.read_text("utf-8"))}
    assert named - known() == set()


def test_settings_of_snowflake_are_named() -> None:
    """Each stands in docs/snowflake-marketplace-setup.md."""
    page = (ROOT / "docs" / "snowflake-marketplace-setup.md").read_text("utf-8")
    assert {name for name in SNOWFLAKE if f"`{name}`" not in page} == set()


def test_generated_pages_are_current() -> None:
    """A page, or the block in it, is what its tool makes of commands, settings, columns or modules."""
    words = [sys.executable, "tools/docs.py", "--check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_row_of_the_walk_is_the_one_that_comes() -> None:
    """The row in docs/architecture.md is the first that its bundle makes."""
    ended = call("flatten", "--org-id", "acme", BUNDLE, folder=ROOT)
    assert fenced(ROOT / "docs" / "architecture.md", "json row") == ended.out.splitlines(keepends=True)[0]
