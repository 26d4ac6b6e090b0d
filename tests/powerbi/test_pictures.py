"""The documentation's pictures: one for each page, small, and of every number that the page shows."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from lmdp.powerbi.layout import Page
from lmdp.powerbi.pages import pages
from lmdp.powerbi.semantic_model import semantic_model

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


def test_each_measure_on_a_page_has_its_sql(tool: ModuleType) -> None:
    """A measure that is new in the report must be drawn, too."""
    shown = {
        field.name.removesuffix(" week over week")
        for page in pages()
        for visual in page.visuals
        for _, fields in visual.roles
        for field in fields
        if field.is_measure
    }
    assert shown == tool.MEASURES.keys()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_each_page_has_a_picture(page: Page) -> None:
    """Well-formed, below 300 KB, with every title of the page in it, and shown in the documentation."""
    file = DOCS / "images" / f"power-bi-{page.name}.svg"
    assert file.stat().st_size < 300_000
    texts = {element.text for element in ET.parse(file).iter()}
    assert {visual.title for visual in page.visuals} <= texts
    assert f"images/{file.name}" in (DOCS / "power-bi.md").read_text("utf-8")


def test_the_documentation_names_every_measure() -> None:
    """Each stands in its table; those of week over week are said in one line."""
    text = (DOCS / "power-bi.md").read_text("utf-8")
    for _, measure in semantic_model(imported=False, lag_minutes=60).measures():
        if measure.folder != "Week over week":
            assert re.search(rf"\b{re.escape(measure.name)}", text), measure.name
