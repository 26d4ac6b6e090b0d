"""The report: it follows the published schemas, and shows fields that the semantic model has."""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, validators
from referencing import Registry, Resource

from powerbi.conftest import PAGES, Json, fields
from powerbi.shapes import BASE, SHAPES
from powerbi.tmdl_reader import Node


def test_every_json_part_has_the_published_shape(parts: dict[str, Json]) -> None:
    """Each names its schema, has what that demands, and nothing that it does not know."""
    assert len(parts) > 50
    for path, part in parts.items():
        checker = Draft202012Validator(SHAPES[part["$schema"]], format_checker=Draft202012Validator.FORMAT_CHECKER)
        faults = [f"{path}: {error.json_path} {error.message}" for error in checker.iter_errors(part)]
        assert faults == []
    assert {part["$schema"] for part in parts.values()} == SHAPES.keys()


@pytest.mark.skipif(
    "POWERBI_SCHEMAS" not in os.environ, reason="POWERBI_SCHEMAS names no copy of the schemas' `fabric`"
)
def test_every_json_part_validates_against_the_published_schema(parts: dict[str, Json]) -> None:
    """The same with Microsoft's own files, where somebody has them: a checkout of github.com/microsoft/json-schemas."""
    folder = Path(os.environ["POWERBI_SCHEMAS"])

    def fetch(address: str) -> Resource[Any]:
        contents = json.loads((folder / address.removeprefix(f"{BASE}/")).read_text("utf-8"))
        return Resource.from_contents({"$schema": "http://json-schema.org/draft-07/schema#", **contents})

    registry: Registry[Any] = Registry(retrieve=fetch)  # type: ignore[call-arg]  # attrs' alias
    for path, part in parts.items():
        schema = fetch(part["$schema"]).contents
        checker = validators.validator_for(schema)(schema, registry=registry)
        assert [f"{path}: {error.json_path} {error.message}" for error in checker.iter_errors(part)] == []


def test_the_parts_refer_to_each_other(parts: dict[str, Json], project: dict[str, str]) -> None:
    """The project opens the report, the report its model, and every page is in the order of the tabs."""
    assert parts["lmdp.pbip"]["artifacts"] == [{"report": {"path": "lmdp.Report"}}]
    assert parts["lmdp.Report/definition.pbir"]["datasetReference"] == {"byPath": {"path": "../lmdp.SemanticModel"}}
    assert "lmdp.SemanticModel/definition/model.tmdl" in project
    order = parts["lmdp.Report/definition/pages/pages.json"]["pageOrder"]
    there = [path.split("/")[3] for path in parts if path.endswith("/page.json")]
    assert sorted(order) == sorted(there)
    assert order == list(PAGES)


def test_every_field_is_in_the_model(parts: dict[str, Json], tables: dict[str, Node]) -> None:
    """What a visual or filter shows is a visible column or a measure of the model, in either variant."""
    visible = {
        (node.kind.title(), table.name, node.name)
        for table in tables.values()
        for node in table.children
        if node.kind == "measure" or not {"isHidden"} & (table.properties | node.properties).keys()
    }
    for path, part in parts.items():
        assert set(fields(part)) <= visible, path


def test_a_field_is_once_in_a_role_and_known_by_its_name(parts: dict[str, Json]) -> None:
    """QueryRef is unique in a visual, and names table and field."""
    for path, part in parts.items():
        if path.endswith("/visual.json"):
            state = part["visual"]["query"]["queryState"]
            shown = [projection for role in state.values() for projection in role["projections"]]
            assert len({one["queryRef"] for one in shown}) == len(shown) > 0
            ((_, table, field),) = fields(shown[0])
            assert shown[0]["queryRef"] == f"{table}.{field}"
            assert path.split("/")[-2] == part["name"]


def test_the_name_of_a_filter_is_unique(parts: dict[str, Json]) -> None:
    """Among all filters of all pages and visuals, as the published schema says."""
    names = [one["name"] for part in parts.values() for one in part.get("filterConfig", {}).get("filters", ())]
    assert len(names) == 15
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_laid_out(page: str, visuals: dict[str, list[Json]]) -> None:
    """Each has slicers, numbers or charts, and a table; all within the page, none over another, with its own name."""
    assert {"slicer", "lineChart", "tableEx"} <= {visual["visual"]["visualType"] for visual in visuals[page]}
    assert len({visual["name"] for visual in visuals[page]}) == len(visuals[page])
    places = [visual["position"] for visual in visuals[page]]
    assert sorted(place["tabOrder"] for place in places) == list(range(len(places)))
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["width"] <= 1280
        assert 0 <= place["y"] < place["y"] + place["height"] <= 720
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["width"] <= other["x"]
            or other["x"] + other["width"] <= one["x"]
            or one["y"] + one["height"] <= other["y"]
            or other["y"] + other["height"] <= one["y"]
        )


def test_each_page_asks_for_recent_days(parts: dict[str, Json]) -> None:
    """A report that is opened does not read years: each page filters a time to the last days."""
    days = {}
    for path, part in parts.items():
        if path.endswith("/page.json"):
            (only,) = part["filterConfig"]["filters"]
            between = only["filter"]["Where"][0]["Condition"]["Between"]
            days[part["name"]] = -between["LowerBound"]["DateSpan"]["Expression"]["DateAdd"]["Amount"]
    assert days == {
        "fleet-overview": 7, "device": 7, "datasource-explorer": 7, "capacity-trend": 90, "pipeline-health": 7
    }  # fmt: skip


def test_pages_about_one_metric_open_with_one(visuals: dict[str, list[Json]]) -> None:
    """The slicer takes one value and is never without: an average over different metrics means nothing."""
    strict = {
        (page, *fields(visual["visual"]["query"])[0][1:])
        for page, shown in visuals.items()
        for visual in shown
        for selection in visual["visual"].get("objects", {}).get("selection", ())
        if selection["properties"]["strictSingleSelect"]["expr"]["Literal"]["Value"] == "true"
    }
    assert strict == {
        ("datasource-explorer", "Metric", "Metric of DataSource"),
        ("capacity-trend", "Metric", "Metric of DataSource"),
        ("device", "Device", "Device"),
        ("device", "DataSource", "DataSource"),
    }


def test_a_slicer_offers_what_the_others_leave(visuals: dict[str, list[Json]], model: dict[str, list[Node]]) -> None:
    """Slicers of several dimensions filter each other through Latest, which is related to each: no page opens blank."""
    related = {
        one.properties["toColumn"] for one in model["relationships.tmdl"] if "Latest." in one.properties["fromColumn"]
    }
    offered = {}
    for page, shown in visuals.items():
        for visual in shown:
            ((_, table, _),) = fields(visual["visual"]["query"])[:1]
            if visual["visual"]["visualType"] == "slicer" and table in {"DataSource", "Instance", "Metric"}:
                (only,) = visual["filterConfig"]["filters"]
                assert fields(only["filter"]) == [("Measure", "Latest", "Series count")]
                assert f"{table}.'{table} key'" in related
                offered[f"{page} {table}"] = only["filter"]["Where"][0]["Condition"]["Not"]["Expression"]["Comparison"]
    assert len(offered) == 8
    assert {one["Right"]["Literal"]["Value"] for one in offered.values()} == {"null"}


def test_the_first_page_answers_an_administrator(visuals: dict[str, list[Json]]) -> None:
    """Who went silent and since when, what is full or hot and when it will be, and is the pipeline itself behind."""
    shown = {visual["name"]: [name for _, _, name in fields(visual["visual"]["query"]["queryState"])]
             for visual in visuals["fleet-overview"]}  # fmt: skip
    assert shown["card-pipeline-state"] == ["Pipeline state"]
    assert {"Device", "Silent since", "Silent for (h)"} <= set(shown["table-silent"])
    assert {"Device", "Instance", "Metric", "Used", "Full at"} <= set(shown["table-full"])
    (full,) = (visual for visual in visuals["fleet-overview"] if visual["name"] == "table-full")
    assert fields(full["filterConfig"]["filters"][0]["filter"]) == [("Column", "Trend", "State")]


def test_freshness_is_of_the_dimension(tables: dict[str, Node]) -> None:
    """A device without raw rows is still silent: its last point is in a dimension that is kept."""
    device = tables["Device"]
    freshness = {measure.name: str(measure.value) for measure in device.all("measure")}
    for name in ("Freshness (min)", "Stalest device (min)", "Silent devices", "Silent since"):
        assert "'Device'[Last seen]" in freshness[name]
        assert "Health" not in freshness[name]
    assert device.all("partition")[0].properties["mode"] in ("directQuery", "import")  # a copy of it would be old
