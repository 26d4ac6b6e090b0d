"""What `make run` installs is enough for every command but those that reach AWS or Snowflake, and these say so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from lmdp.cli.main import app

ROOT = Path(__file__).parents[2]
EXTRAS = ("boto3", "botocore", "aws_lambda_powertools", "pybase64", "snowflake", "jmespath", "s3transfer")

# Runs each line of its input as a command in an interpreter that has none of the extras, and prints what came of it.
BARE = f"""
import contextlib, importlib.machinery, io, json, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {EXTRAS!r} else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if one is importlib.machinery.PathFinder else one for one in sys.meta_path]
from lmdp.cli.main import execute

for line in sys.stdin:
    sys.argv = ["lmdp", *json.loads(line)]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = execute()
    print(json.dumps([code, *(one.buffer.getvalue().decode() for one in (out, err))]), flush=True)
"""

OFFLINE = [
    (["snowflake", "ddl"], 0),
    (["snowflake", "ddl", "--bootstrap"], 0),
    (["snowflake", "keypair", "--file", "setup.p8", "--bits", "2048"], 0),
    (["powerbi", "--server", "xy12345.snowflakecomputing.com", "--output", "report"], 0),
    (["cost", "--devices", "10"], 0),
    (["certs", "--home", "made"], 0),
    (["flatten", "--org-id", "acme", "bundle.json", "--rejects", "rejects.jsonl"], 0),
    (["doctor", "--only", "aws"], 0),
    (["doctor", "--only", "snowflake"], 1),
    (["replay", "rejects", "--dry-run"], 0),
    (["replay", "rejects", "--to", "kafka", "--dry-run"], 0),
]
ONLINE = [
    ["snowflake", "setup"],
    ["snowflake", "verify"],
    ["snowflake", "keypair", "--secret", "lmdp/snowflake"],
    ["replay", "s3://errors/snowflake-failed/", "--dry-run"],
    ["replay", "rejects", "--to", "firehose", "--stream", "metrics", "--region", "eu-west-1"],
    ["certs", "--private-ca", "arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/a", "--client", "pipe"],
]


def _leaves(command: object, names: tuple[str, ...] = ()) -> list[list[str]]:
    inner = getattr(command, "commands", {})
    return [leaf for name, child in inner.items() for leaf in _leaves(child, (*names, name))] or [[*names]]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """What every command answers without the extras: exit code, output, errors."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "bundle.json").write_bytes((ROOT / "tests/fixtures/otlp/otlp_bundle_ok.json").read_bytes())
    (folder / "rejects").mkdir()
    (folder / "setup.pem").write_text("not read")
    helps = [[*leaf, "--help"] for leaf in _leaves(typer.main.get_command(app))]
    asked = [*helps, *(words for words, _ in OFFLINE), *ONLINE]
    key = {"SNOWFLAKE_ACCOUNT_URL": "xy12345.snowflakecomputing.com", "SNOWFLAKE_PRIVATE_KEY_FILE": "setup.p8"}
    done = subprocess.run(
        [sys.executable, "-c", BARE],
        input="".join(f"{json.dumps(words)}\n" for words in asked),
        capture_output=True,
        check=False,
        text=True,
        cwd=folder,
        timeout=240,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **key},
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked), done.stderr
    return {" ".join(words): tuple(answer) for words, answer in zip(asked, answers, strict=True)}


def test_every_command_has_its_help_without_the_extras(bare: dict[str, tuple[int, str, str]]) -> None:
    """Help is no reason to install anything."""
    assert {code for words, (code, _, _) in bare.items() if words.endswith("--help")} == {0}


@pytest.mark.parametrize(("words", "code"), OFFLINE, ids=[" ".join(words) for words, _ in OFFLINE])
def test_what_needs_no_network_needs_no_extra(
    words: list[str], code: int, bare: dict[str, tuple[int, str, str]]
) -> None:
    """SQL is printed, keys are made, files are read with what `make run` installed."""
    ended, _, err = bare[" ".join(words)]
    assert (ended, "Traceback" in err) == (code, False), err


@pytest.mark.parametrize("words", ONLINE, ids=" ".join)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    words: list[str], bare: dict[str, tuple[int, str, str]]
) -> None:
    """One line, exit code 3, and a command of this checkout's own Makefile."""
    code, out, err = bare[" ".join(words)]
    assert (code, out, err.count("\n")) == (3, "", 1), err
    assert "which is not installed. Nothing was done. Next: make -C" in err
    assert " extras" in err
    assert "\nextras: " in (ROOT / "Makefile").read_text("utf-8")
