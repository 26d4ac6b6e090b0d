"""`lmdp query` on a terminal: a table that fits, and a prompt when it is called without SQL."""

from __future__ import annotations

import contextlib
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from cli.test_live import Terminal
from lmdp.cli.prompt import Completion, names
from lmdp.cli.query import QueryOptions
from lmdp.core.pipeline import Message, TransformSettings
from lmdp.testing.pipeline import write
from new_warehouse import open_warehouse
from running import bundle, call, until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the default home and a warehouse of three rows."""
    made = tmp_path_factory.mktemp("work")
    (made / ".lmdp").mkdir(mode=0o700)
    with open_warehouse(made / ".lmdp" / "warehouse.duckdb") as warehouse:
        messages = [Message(bundle(number), "t", 0, number) for number in range(3)]
        write(warehouse, messages, TransformSettings(org_id="acme"))
    return made


def test_on_a_terminal_a_table_fits_it(folder: Path) -> None:
    """Boxed, with types, at most 100 columns wide."""
    terminal = Terminal("query", "select * from metrics", folder=folder)
    assert terminal.wait() == 0
    assert terminal.shows("3 rows \u00d7 23 columns .*shown")
    assert terminal.shows("varchar")
    assert b"\x1b[2m" in terminal.written


def _interrupted(terminal: Terminal) -> bool:
    """Press Ctrl-C; Python misses one that comes between its prompt and its wait for a key, until the next."""
    terminal.program.send_signal(signal.SIGINT)
    with contextlib.suppress(AssertionError):
        until(lambda: terminal.shows(r"\.\.\.> \s+lmdp> $"), 5)
        return True
    return False


def test_the_prompt_answers_until_its_end(folder: Path) -> None:
    """Queries over several lines, an error, another format, Ctrl-C, and Ctrl-D; the history is the owner's alone."""
    terminal = Terminal("query", folder=folder)
    try:
        until(lambda: terminal.shows("lmdp> "), 60)
        terminal.types("select 40 + 2 as sum\nfrom metrics limit 1;\n")
        until(lambda: terminal.shows("│ +42 │"))
        terminal.types("select nothing;\n")
        until(lambda: terminal.shows("nothing.* not found"))
        terminal.types(".format line\nselect 7 as seven;\n")
        until(lambda: terminal.shows("seven = 7"))
        terminal.types("select 1\n")
        until(lambda: terminal.shows(r"\.\.\.> $"))
        until(lambda: _interrupted(terminal))
        terminal.types(".tables\n")
        until(lambda: terminal.shows("table_name = METRICS"))
        terminal.types("\x04")
    finally:
        code = terminal.wait()
    assert code == 0
    history = folder / ".lmdp" / "query.history"
    assert "select 7 as seven;" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_a_prompt_needs_a_terminal(folder: Path) -> None:
    """In a pipe, SQL is missing."""
    ended = call("query", folder=folder)
    assert (ended.code, ended.out) == (2, "")
    assert "SQL is missing" in ended.err


def test_completion_knows_the_schema(folder: Path) -> None:
    """Tables, columns and keywords, in the case of what was typed."""
    asked = QueryOptions(folder / ".lmdp", None, "table")
    complete = Completion(lambda: names(asked))
    assert complete("metric_ra", 0) == "metric_rates"
    assert complete("INSTANCE_L", 0) == "INSTANCE_LABEL"
    assert complete("selec", 0) == "select"
    assert complete("", 0) is None
    assert names(QueryOptions(folder / "nowhere", None, "table")) == []


def test_the_environment_can_forbid_colours(folder: Path) -> None:
    """NO_COLOR leaves out every escape."""
    terminal = Terminal("query", "select null as n", folder=folder, NO_COLOR="1")
    assert terminal.wait() == 0
    assert terminal.shows("NULL")
    assert b"\x1b" not in terminal.written
