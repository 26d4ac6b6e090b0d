"""The machine: Python, disks, Java, jars."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lmdp.doctor import machine
from lmdp.doctor.result import Context
from lmdp.machine.embedded_kafka import jars

ONE = jars.Jar("g:a:1", 5, hashlib.sha256(b"right").hexdigest())


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A home that is not there yet."""
    home = tmp_path / "none" / "home"
    return Context(home, home / "w.duckdb", {}, "t")


def test_this_machine_is_fit(context: Context) -> None:
    """Tests run on no other: Python and the disks are told with their numbers, though no folder is there yet."""
    assert machine.python(context).state == "ok"
    found = machine.disk(context)
    assert found.text.startswith("free: home ")


def test_a_disk_without_space_is_wrong(context: Context) -> None:
    """Less free space than is needed is reported, with what to do."""
    found = machine.disk(context, least_gb=10.0**9)
    assert (found.state, "LMDP_KEEP=7d" in found.fix) == ("wrong", True)


@pytest.mark.parametrize(
    ("script", "state", "told"),
    [
        ("#!/bin/sh\necho 'openjdk version \"21.0.1\"' >&2\n", "ok", "Java 21, "),
        ("#!/bin/sh\nexit 1\n", "ok", "Java "),  # the next one is taken
    ],
)
def test_which_java_is_told(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: str, told: str
) -> None:
    """The one of JAVA_HOME where it runs."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(script)
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    found = machine.java(context)
    assert (found.state, found.text.startswith(told)) == (state, True)
    assert (str(java) in found.text) == ("21" in script)


@pytest.mark.parametrize("look", [machine.java, machine.jars])
def test_a_named_broker_needs_neither_java_nor_jars(look: object, context: Context) -> None:
    """What is not needed is never wrong."""
    named = Context(context.home, context.warehouse, {}, "t", servers="k:1")
    assert callable(look)
    assert look(named).state == "not tried"


@pytest.mark.parametrize(
    ("content", "state", "told", "fix"),
    [
        (None, "not tried", "1 of 1 are not here yet", ""),
        (b"right", "ok", "1 jars with the pinned SHA-256", ""),
        (b"wrong", "wrong", "a-1.jar", "rm "),
        (b"longer", "wrong", "a-1.jar", "rm "),
    ],
)
def test_jars_are_looked_at_and_never_downloaded(
    context: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    state: str,
    told: str,
    fix: str,
) -> None:
    """Missing ones come with the next run; another file under a jar's name is wrong."""
    monkeypatch.setenv("LMDP_CACHE", str(tmp_path))
    folder = jars.cache_folder()
    folder.mkdir(parents=True)
    if content is not None:
        (folder / ONE.filename).write_bytes(content)
    found = machine.jars(context, (ONE,))
    assert (found.state, found.fix[:3]) == (state, fix)
    assert told in found.text
    assert [path.name for path in folder.iterdir()] == ([ONE.filename] if content else [])
