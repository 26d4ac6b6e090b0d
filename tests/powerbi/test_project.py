"""Writing the project: the same each time, and never over what somebody else wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import lmdp.powerbi
from lmdp.cli.powerbi import powerbi
from lmdp.errors import LmdpError, SettingsError
from lmdp.powerbi.project import MANIFEST, Source, files, server, write
from powerbi.conftest import SOURCE


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, by its path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_same_settings_give_the_same_bytes(project: dict[str, str], imported: bool, tmp_path: Path) -> None:
    """Nothing in it is random or of the moment; lines end as on Unix."""
    assert files(SOURCE, imported=imported, lag_minutes=60) == project
    write(tmp_path / "a", project)
    write(tmp_path / "b", project)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert not any(b"\r" in content for content in contents(tmp_path / "a").values())


def test_settings_are_in_the_files_as_they_are(imported: bool) -> None:
    """A name with quotes stays one M text, a dollar stays one; the lag decides when a device is silent."""
    made = files(Source("h", "w", 'a"b', "s$1", "${role}"), imported=imported, lag_minutes=10)
    parameters = made["lmdp.SemanticModel/definition/expressions.tmdl"]
    assert re.findall(r'^expression Snowflake(\w+) = "(.*)" meta \[', parameters, re.MULTILINE) == [
        ("Server", "h"), ("Warehouse", "w"), ("Database", 'a""b'), ("Schema", "s$1"), ("Role", "${role}")
    ]  # fmt: skip
    assert "< asOf - 20 / 1440" in made["lmdp.SemanticModel/definition/tables/Device.tmdl"]
    assert not any("LM_METRICS" in text or "${" in text.replace("${role}", "", 1) for text in made.values())


def test_an_import_declares_only_what_the_template_has() -> None:
    """A file that is renamed in one place only would be lost without a word."""
    whole, partial = (
        {path.relative_to(folder) for path in folder.rglob("*.tmdl")}
        for folder in (Path(lmdp.powerbi.__file__).parent / name for name in ("template", "template_import"))
    )
    assert len(partial) > 3
    assert partial <= whole


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("xy12345.snowflakecomputing.com", "xy12345.snowflakecomputing.com"),
        ("https://XY12345.eu-west-1.snowflakecomputing.com/", "xy12345.eu-west-1.snowflakecomputing.com"),
        ("org-acct.privatelink.snowflakecomputing.com", "org-acct.privatelink.snowflakecomputing.com"),
        ("a_b.snowflakecomputing.cn", "a_b.snowflakecomputing.cn"),
    ],
)
def test_the_server_is_a_host_name(address: str, host: str) -> None:
    """Power BI wants the bare name."""
    assert server(address) == host


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "example.com",
        "snowflakecomputing.com",
        "x.snowflakecomputing.com/y",
        'x".snowflakecomputing.com',
    ],
)
def test_another_server_is_refused(address: str | None) -> None:
    """The error names the setting and shows what it looks like."""
    with pytest.raises(SettingsError, match=r"SNOWFLAKE_ACCOUNT_URL.*xy12345"):
        server(address)


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    """Not even --force writes where lmdp did not write before; an empty folder is free."""
    (tmp_path / "thesis.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(SettingsError, match="lmdp did not write it"):
            write(tmp_path, {"a": "1"}, force=force)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}
    (tmp_path / "empty").mkdir()
    assert write(tmp_path / "empty", {"a": "1"}).changed == 1


def test_a_second_run_changes_what_has_to_change(tmp_path: Path) -> None:
    """What is the same stays, what is no longer made goes, what others added stays."""
    write(tmp_path / "p", {"same": "1", "new/er": "1", "gone": "1"})
    before = (tmp_path / "p" / "same").stat().st_mtime_ns
    (tmp_path / "p" / ".pbi").mkdir()
    (tmp_path / "p" / ".pbi" / "localSettings.json").write_text("{}")
    written = write(tmp_path / "p", {"same": "1", "new/er": "2"})
    assert (written.files, written.changed) == (2, 1)
    assert (tmp_path / "p" / "same").stat().st_mtime_ns == before
    kept = contents(tmp_path / "p")
    assert json.loads(kept.pop(MANIFEST))["files"].keys() == {"same", "new/er"}
    assert kept == {"same": b"1", "new/er": b"2", ".pbi/localSettings.json": b"{}"}


@pytest.mark.parametrize("made", [{"a": "2", "b": "1"}, {"b": "1"}], ids=["made again", "no longer made"])
def test_what_somebody_changed_is_not_lost(tmp_path: Path, made: dict[str, str]) -> None:
    """A file that was edited stops the run, before anything is written, unless --force gives the edits up."""
    write(tmp_path / "p", {"a": "1", "b": "1"})
    (tmp_path / "p" / "a").write_text("edited")
    before = contents(tmp_path / "p")
    with pytest.raises(SettingsError, match=r"such as a\.\nNothing was written"):
        write(tmp_path / "p", made)
    assert contents(tmp_path / "p") == before
    write(tmp_path / "p", made, force=True)
    assert {path: text.decode() for path, text in contents(tmp_path / "p").items() if path != MANIFEST} == made


def test_an_edit_that_equals_the_new_file_is_none(tmp_path: Path) -> None:
    """Somebody made the same change: nothing would be lost."""
    write(tmp_path / "p", {"a": "1"})
    (tmp_path / "p" / "a").write_text("2")
    assert write(tmp_path / "p", {"a": "2"}).changed == 0


def test_a_list_that_points_outside_deletes_nothing(tmp_path: Path) -> None:
    """A manifest from elsewhere cannot name files beyond the folder."""
    (tmp_path / "p").mkdir()
    (tmp_path / "mine").write_text("1")
    (tmp_path / "p" / MANIFEST).write_text(json.dumps({"files": {"../mine": "0", str(tmp_path / "mine"): "0"}}))
    write(tmp_path / "p", {"a": "1"}, force=True)
    assert (tmp_path / "mine").read_text() == "1"


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """No traceback where the folder cannot be made."""
    (tmp_path / "p").write_text("a file")
    with pytest.raises(LmdpError, match="Nothing was written"):
        write(tmp_path / "p", {"a": "1"})


def test_the_command_writes_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options and settings reach the files; a second run says that nothing changed."""
    monkeypatch.setenv("SNOWFLAKE_ACCOUNT_URL", "xy12345.snowflakecomputing.com")
    monkeypatch.setenv("SNOWFLAKE_DATABASE", "other")
    app = typer.Typer()
    app.command()(powerbi)
    words = ["--output", str(tmp_path / "p"), "--import", "--role", "ANALYST"]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "lmdp.pbip in Power BI Desktop" in first.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert told == {"open": str(tmp_path / "p" / "lmdp.pbip"), "files": told["files"], "changed": 0}
    parameters = (tmp_path / "p/lmdp.SemanticModel/definition/expressions.tmdl").read_text()
    assert all(f'"{name}"' in parameters for name in ("OTHER", "ANALYST", "LM_FIREHOSE_WH", "PIPELINE"))
    assert "ImportDays" in parameters
