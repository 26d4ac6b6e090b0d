"""`lmdp certs` as a person and a program use it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from lmdp.cli.certs import certs
from lmdp.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def _run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(certs)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_it_tells_what_it_made_and_what_it_kept(tmp_path: Path) -> None:
    """The first call makes three certificates; the next one issues the client asked for and keeps the rest."""
    first = _run("--home", str(tmp_path), "--json")
    second = _run("--home", str(tmp_path), "--client", "collector-1", "--json")
    assert {one["name"]: one["made"] for one in json.loads(first)} == {"ca": True, "server": True, "client": True}
    assert {one["name"]: one["made"] for one in json.loads(second)} == {
        "ca": False,
        "server": False,
        "client": False,
        "collector-1": True,
    }
    assert json.loads(second)[3]["principal"] == "User:CN=collector-1"


def test_a_private_ca_is_never_ignored(tmp_path: Path) -> None:
    """Without --client there is no certificate to issue, and no development CA is made in its place."""
    arn = "arn:aws:acm-pca:eu-west-1:123456789012:certificate-authority/a"
    with pytest.raises(SettingsError, match="--private-ca needs --client NAME"):
        certs(home=tmp_path / "home", private_ca=arn)
    assert not (tmp_path / "home").exists()


def test_the_table_names_files_and_expiry(tmp_path: Path) -> None:
    """Each line has the name, when it expires, its file and its Kafka principal, and no key is ever printed."""
    lines = _run("--home", str(tmp_path)).splitlines()
    assert [line.split()[:2] for line in lines] == [["ca", "made"], ["server", "made"], ["client", "made"]]
    assert re.search(r"  made  expires \d{4}-\d\d-\d\d  ", lines[2])
    assert lines[2].endswith(f"{tmp_path}/certs/client.pem  User:CN=lmdp-client")
    assert not any("PRIVATE" in line for line in lines)
