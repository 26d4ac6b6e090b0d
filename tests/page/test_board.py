"""The board's file: what ships is valid, what is written can be read, and what is wrong in it is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmdp import Message, TransformSettings, encode, transform
from lmdp.errors import ApiError
from lmdp.machine.simulation.collectors import Simulation
from lmdp.page.address import parse
from lmdp.page.board import SHIPPED, Board, BoardFile, Panel
from lmdp.page.selection import Picture

CHART = '/explore?range=6h&s=[["acme","7","Cpu",null,"CpuUsage"]]'


def test_without_a_file_the_board_that_ships_is_shown(tmp_path: Path) -> None:
    """It has what its users look for first, and comments of its own."""
    titles = [panel.title for panel in BoardFile(tmp_path / "board.toml").read().panel]
    assert titles == ["Fleet", "Silent devices", "Top counters", "Pipeline"]
    assert SHIPPED.read_text().startswith("# The board that ships.")


@pytest.mark.parametrize(
    "panel",
    [
        Panel("A chart", chart=CHART, note="of \u00b5s"),
        Panel('Quotes "\\', sql="SELECT 1\nFROM x", show="chart"),
        Panel("Astral \U0001f600 \x7f", sql="SELECT '\U0001f600'\nAS \"\\x\"\n-- 'y'"),
        Panel("Ends a text early", sql="SELECT '''\n''' AS x"),
        Panel("Controls \x1b\x00", sql="SELECT 'a\tb\x7f'\nFROM x"),
    ],
)
def test_what_is_added_is_read_again(tmp_path: Path, panel: Panel) -> None:
    """After those that ship, whatever its texts hold; the file stays in order when it is written twice."""
    file = BoardFile(tmp_path / "board.toml")
    file.add(panel)
    file.add(Panel("Last", sql="SELECT 2"))
    found = file.read().panel
    assert found[-2:] == [panel, Panel("Last", sql="SELECT 2")]
    assert len(found) == 6


def test_sql_keeps_its_lines(tmp_path: Path) -> None:
    """So that a change to a query is a change of its lines, for whoever reviews the file."""
    file = BoardFile(tmp_path / "board.toml")
    file.add(Panel("x", sql="SELECT 1\nFROM t"))
    assert "\nsql = '''\nSELECT 1\nFROM t'''\n" in file.path.read_text()


ONE, TWO = '[[panel]]\ntitle = "1"\nsql = "SELECT 1"\n', '[[panel]]\ntitle = "2"\nsql = "SELECT 2"\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"# ours\n{ONE}# the end", f"# ours\n{ONE}# the end\n\n{TWO}"),
        (f"# \u00b5s\r\n{ONE}\n\n", f"# \u00b5s\r\n{ONE}\n{TWO}"),
        ("# none yet\npanel = []\n", TWO),
        ("panel = [{title = '1', sql = 'SELECT 1'}]  # in a line\n", f"{ONE}\n{TWO}"),
    ],
)
def test_a_panel_is_appended_to_the_text(tmp_path: Path, before: str, after: str) -> None:
    """Comments stay; the file is rewritten only where nothing can be appended."""
    file = BoardFile(tmp_path / "board.toml")
    file.path.write_bytes(before.encode())
    file.add(Panel("2", sql="SELECT 2"))
    assert file.path.read_bytes().decode() == after


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("panel = " + "[" * 5_000, "is not a board: ", id="nested"),
        ("[[panel]]\nsql = 'SELECT 1'", "missing required field `title`"),
        ("[[panel]]\ntitle = 'x'", "the panel 'x' needs either sql or chart"),
        ("[[panel]]\ntitle = 'x'\nsql = 'SELECT 1'\nchart = '/explore'", "the panel 'x' needs either sql or chart"),
        ("[[panel]]\ntitle = 'x'\nchart = '/sql?sql=1'", "not an address of Explore with a selection"),
        ("[[panel]]\ntitle = 'x'\nsql = 'SELECT 1'\nshow = 'pie'", "Invalid enum value 'pie' - at `$.panel[0].show`"),
        ("[[panel]]\ntitle = 'x'\nquery = 'SELECT 1'", "unknown field `query` - at `$.panel[0]`"),
        ("title = \n", "line 1, column 9"),
        ("panel = []\n" + "#" * 1_000_000, "more than 1,000,000 bytes"),
        ("[[panel]]\ntitle = 'x'\nsql = 'SELECT 1'\n" * 41, "it has 41 panels; 40 are the most"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, error: str) -> None:
    """With the file and the place; nothing is added to a file that cannot be read."""
    file = BoardFile(tmp_path / "board.toml")
    file.path.write_text(text)
    with pytest.raises(ApiError) as caught:
        file.read()
    assert error in str(caught.value)
    assert str(file.path) in str(caught.value)
    with pytest.raises(ApiError):
        file.add(Panel("y", sql="SELECT 1"))
    assert file.path.read_text() == text


def test_a_panel_is_removed_and_put_back(tmp_path: Path) -> None:
    """It returns to its place; the last one leaves an empty board, and one that is gone cannot be removed again."""
    file = BoardFile(tmp_path / "board.toml")
    one, other = Panel("one", sql="SELECT 1"), Panel("other", sql="SELECT 2")
    file.path.write_text(Board([one, other]).text())
    at = file.remove(one)
    assert file.read() == Board([other])
    file.add(one, at)
    assert file.read() == Board([one, other])
    file.remove(one)
    file.remove(other)
    assert file.read() == Board([])
    with pytest.raises(ApiError, match="one is no longer on the board"):
        file.remove(one)


def test_an_empty_board_is_one(tmp_path: Path) -> None:
    """No panel is no fault."""
    file = BoardFile(tmp_path / "board.toml")
    file.path.write_text("panel = []")
    assert file.read() == Board([])


def test_the_board_of_the_tutorial_shows_the_story(tmp_path: Path) -> None:
    """Its charts are of series that the simulated devices send."""
    text = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
    (tmp_path / "board.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    panels = BoardFile(tmp_path / "board.toml").read().panel
    polls = Simulation(15, 20, story=True).polls(1_760_000_000_000)
    rows = encode(transform([Message(poll.value) for poll in polls], TransformSettings(org_id="demo")).rows)
    names = ("orgId", "deviceId", "datasource", "instance", "metric")
    sent = {tuple(json.loads(row).get(name) for name in names) for row in rows}
    shown = [Picture.of(parse(panel.chart)[1]).selections[0] for panel in panels if panel.chart]
    assert {(one.org, one.device, one.datasource, one.instance, one.metric) for one in shown} <= sent
    assert (len(panels), len(shown)) == (4, 2)
