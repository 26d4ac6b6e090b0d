"""The documentation's pictures: one for each page, small, and of every number that the page shows."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from powerbi.conftest import PAGES, Json, fields
from powerbi.tmdl_reader import Node

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The program that draws them."""
    spec = importlib.util.spec_from_file_location("draw_powerbi_pictures", ROOT / "tools" / "draw_powerbi_pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_each_measure_on_a_page_has_its_sql(tool: ModuleType, visuals: dict[str, list[Json]]) -> None:
    """A measure that is new in the report must be drawn, too."""
    shown = {
        name.removesuffix(" week over week")
        for page in visuals.values()
        for kind, _, name in fields(page)
        if kind == "Measure"
    }
    assert shown == tool.MEASURES.keys()


@pytest.mark.parametrize("page", PAGES)
def test_each_page_has_a_picture(page: str, visuals: dict[str, list[Json]]) -> None:
    """Well-formed, below 300 KB, with every title and card of the page in it, and shown in the documentation."""
    file = DOCS / "images" / f"power-bi-{page}.svg"
    assert file.stat().st_size < 300_000
    texts = {element.text for element in ET.parse(file).iter()}
    titles = {title for visual in visuals[page] for title in _titles(visual)}
    assert len(titles) >= 6
    assert titles <= texts
    assert f"images/{file.name}" in (DOCS / "power-bi.md").read_text("utf-8")


def _titles(visual: Json) -> list[str]:
    """Return a visual's title, or the name of the one field that a card or slicer shows."""
    (title,) = visual["visual"]["visualContainerObjects"]["title"]
    if "text" not in title["properties"]:
        return [name for _, _, name in fields(visual)]
    return [title["properties"]["text"]["expr"]["Literal"]["Value"][1:-1].replace("''", "'")]


def test_the_documentation_names_every_measure(tables: dict[str, Node]) -> None:
    """Each is in its table; those of week over week are in one line."""
    text = (DOCS / "power-bi.md").read_text("utf-8")
    measures = [measure for table in tables.values() for measure in table.all("measure")]
    assert len(measures) > 30
    for measure in measures:
        if measure.properties["displayFolder"] != "Week over week":
            assert re.search(rf"\b{re.escape(measure.name)}", text), measure.name
