"""Settings: typing errors are found, and the example has none."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values

from lmdp.doctor.machine import settings_file
from lmdp.doctor.result import Context, State
from lmdp.support.settings_reader import known

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("env", "file", "state", "told"),
    [
        ({}, "", "not tried", "nothing is set"),
        ({"LMDP_ORG_ID": "acme", "PATH": "/bin"}, "", "ok", "1 names are set"),
        ({"LMDP_ORGID": "acme"}, "", "wrong", "LMDP_ORGID (did you mean LMDP_ORG_ID?)"),
        ({}, "LMDP_TOPC=x\nLMDP_ORG_ID=acme\n", "wrong", "LMDP_TOPC (did you mean LMDP_TOPIC?)"),
        ({}, "LMDP_TOPIC=x\n", "ok", "1 names are set, 1 of them in"),
        ({"LMDP_NONSENSE_XYZ": "1"}, "", "wrong", "nothing reads LMDP_NONSENSE_XYZ"),
        ({"SNOWFLAKE_ACCOUNT_URI": "x"}, "", "wrong", "(did you mean SNOWFLAKE_ACCOUNT_URL?)"),
        ({"SNOWFLAKE_HOME": "/opt/snowsql"}, "", "ok", "1 names are set"),
        ({}, "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE=geheim\n", "wrong", "others can read it"),
    ],
)
def test_names_that_nothing_reads_are_reported(
    tmp_path: Path, env: dict[str, str], file: str, state: State, told: str
) -> None:
    """A typing error is named with the nearest right one; another program's setting is let alone; values never show."""
    (tmp_path / ".env").write_text(file)
    (tmp_path / ".env").chmod(0o644)
    found = settings_file(Context(tmp_path, tmp_path / "w", env, "t", env_file=tmp_path / ".env"))
    assert found.state == state
    assert told in found.text
    assert not {"acme", "geheim"} & set(re.findall(r"\w+", found.text + found.fix))


def test_every_name_of_the_example_is_known() -> None:
    """A setting of .env.example that nothing reads would be called a typing error."""
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert len(example) > 30
    assert {name for name in example if not name.startswith("AWS_")} - known() == set()


@pytest.mark.parametrize("name", [".env.example", "deploy/systemd/run.env", "deploy/systemd/receive.env"])
def test_a_shell_reads_the_example_as_the_program_does(name: str, tmp_path: Path) -> None:
    """Each line, uncommented, has the same value for `. ./.env`, which docs/deploy.md has people type."""
    text = re.sub(r"^#(?=[A-Z_]+=)", "", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)
    (tmp_path / ".env").write_text(text)
    words = [shutil.which("sh") or "sh", "-c", f"set -a; . ./.env; {shutil.which('env')} -0"]
    done = subprocess.run(words, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    shell = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    read = dotenv_values(tmp_path / ".env")
    assert done.stderr == ""
    assert {setting: shell.get(setting) for setting in read} == read
