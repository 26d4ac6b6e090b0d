"""Settings: typing errors are found, and every name that something reads is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmdp.doctor.context import Place
from lmdp.doctor.result import State
from lmdp.doctor.settings_file import KNOWN, settings_file

ROOT = Path(__file__).resolve().parents[2]
READ = re.compile(r"""["'](LMDP_[A-Z_]+[A-Z])["']""")
NO_SETTINGS = {"LMDP_PENDING"}  # a staging label of a secret


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
def test_names_that_nothing_reads_are_told(
    tmp_path: Path, env: dict[str, str], file: str, state: State, told: str
) -> None:
    """A typing error is named with the nearest right one; another program's setting is let alone; values never show."""
    (tmp_path / ".env").write_text(file)
    (tmp_path / ".env").chmod(0o644)
    found = settings_file(Place(tmp_path, tmp_path / "w", env, "t", env_file=tmp_path / ".env"))
    assert found.state == state
    assert told in found.text
    assert not {"acme", "geheim"} & set(re.findall(r"\w+", found.text + found.mend))


def test_every_name_that_is_read_is_known() -> None:
    """A new setting that is not listed would be called a typing error."""
    files = [path for folder in ("src", "infra", "tools") for path in (ROOT / folder).rglob("*.py")]
    read = {
        name for path in files if "node_modules" not in path.parts for name in READ.findall(path.read_text("utf-8"))
    }
    assert len(read) > 60
    assert read - NO_SETTINGS - KNOWN == set()
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    assert {name for name in example if not name.startswith("AWS_")} - KNOWN == set()
