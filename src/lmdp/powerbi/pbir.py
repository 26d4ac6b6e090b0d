"""The report as PBIR: JSON files that name the published schema that each of them follows.

https://learn.microsoft.com/en-us/power-bi/developer/projects/projects-report
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from lmdp.powerbi.layout import Page, Shown, Visual

Json: TypeAlias = dict[str, Any]

SCHEMAS: Final = "https://developer.microsoft.com/json-schemas/fabric"
_REPORT: Final = f"{SCHEMAS}/item/report/definition"

# Versions that Power BI Desktop has read since 2025; newer ones add nothing that is used here.
_VERSIONS: Final = {"visual": "2.4.0", "page": "2.0.0", "report": "3.0.0"}
_DAY: Final = 0  # a time unit of semantic queries


def files(pages: tuple[Page, ...]) -> dict[str, Json]:
    """The files of the folder `definition`, by their path in it."""
    made: dict[str, Json] = {
        "version.json": {"$schema": f"{_REPORT}/versionMetadata/1.0.0/schema.json", "version": "2.0.0"},
        "report.json": _report(),
        "pages/pages.json": {
            "$schema": f"{_REPORT}/pagesMetadata/1.0.0/schema.json",
            "pageOrder": [page.name for page in pages],
            "activePageName": pages[0].name,
        },
    }
    for page in pages:
        folder = f"pages/{page.name}"
        made[f"{folder}/page.json"] = _page(page)
        for order, visual in enumerate(page.visuals):
            made[f"{folder}/visuals/{visual.name}/visual.json"] = _visual(visual, order)
    return made


def _report() -> Json:
    return {
        "$schema": f"{_REPORT}/report/{_VERSIONS['report']}/schema.json",
        "themeCollection": {
            "baseTheme": {"name": "CY24SU10", "reportVersionAtImport": _VERSIONS, "type": "SharedResources"}
        },
        "settings": {"useStylableVisualContainerHeader": True, "exportDataMode": "AllowSummarized"},
    }


def _page(page: Page) -> Json:
    field, days = page.recent
    return {
        "$schema": f"{_REPORT}/page/{_VERSIONS['page']}/schema.json",
        "name": page.name,
        "displayName": page.title,
        "displayOption": "FitToPage",
        "height": 720,
        "width": 1280,
        "filterConfig": {"filters": [_recent(page.name, field, days)]},
    }


def _recent(page: str, field: Shown, days: int) -> Json:
    """The last `days` days, today included: so that a page asks for little when it is opened."""
    tomorrow = _date_add({"Now": {}}, 1)
    between = {
        "Expression": _field(field, {"Source": "t"}),
        "LowerBound": _date_span(_date_add(tomorrow, -days)),
        "UpperBound": _date_span({"Now": {}}),
    }
    return _filter(f"recent-{page}", field, "RelativeDate", {"Between": between})


def _kept(name: str, field: Shown, value: str) -> Json:
    values = [[{"Literal": {"Value": f"'{value}'"}}]]
    condition = {"In": {"Expressions": [_field(field, {"Source": "t"})], "Values": values}}
    return _filter(f"kept-{name}", field, "Categorical", condition)


def _filter(name: str, field: Shown, kind: str, condition: Json) -> Json:
    """A filter; its condition knows the field's table as `t`."""
    return {
        "name": name,
        "field": _field(field),
        "type": kind,
        "filter": {
            "Version": 2,
            "From": [{"Name": "t", "Entity": field.table, "Type": 0}],
            "Where": [{"Condition": condition}],
        },
        "howCreated": "User",
    }


def _date_add(expression: Json, days: int) -> Json:
    return {"DateAdd": {"Expression": expression, "Amount": days, "TimeUnit": _DAY}}


def _date_span(expression: Json) -> Json:
    return {"DateSpan": {"Expression": expression, "TimeUnit": _DAY}}


def _visual(visual: Visual, order: int) -> Json:
    place = visual.place
    return {
        "$schema": f"{_REPORT}/visualContainer/{_VERSIONS['visual']}/schema.json",
        "name": visual.name,
        "position": {
            "x": place.x,
            "y": place.y,
            "z": order,
            "height": place.height,
            "width": place.width,
            "tabOrder": order,
        },
        "visual": {
            "visualType": visual.kind,
            "query": _query(visual),
            **({"objects": _dropdown()} if visual.kind == "slicer" else {}),
            "visualContainerObjects": _title(visual),
            "drillFilterOtherVisuals": True,
        },
        **({"filterConfig": {"filters": [_kept(visual.name, *visual.kept)]}} if visual.kept else {}),
    }


def _query(visual: Visual) -> Json:
    state = {role: {"projections": [_projection(field) for field in fields]} for role, fields in visual.roles}
    if visual.top is None:
        return {"queryState": state}
    sort = {"sort": [{"field": _field(visual.top), "direction": "Descending"}], "isDefaultSort": False}
    return {"queryState": state, "sortDefinition": sort}


def _projection(field: Shown) -> Json:
    return {"field": _field(field), "queryRef": f"{field.table}.{field.name}", "nativeQueryRef": field.name}


def _field(field: Shown, source: Json | None = None) -> Json:
    """A field as a query names it: by its table, or by the alias of one in a filter."""
    kind = "Measure" if field.is_measure else "Column"
    return {kind: {"Expression": {"SourceRef": source or {"Entity": field.table}}, "Property": field.name}}


def _title(visual: Visual) -> Json:
    """A card names its number itself, and a slicer its column; a second title would say it twice."""
    if visual.kind in ("card", "slicer"):
        return {"title": [{"properties": {"show": _literal("false")}}]}
    text = visual.title.replace("'", "''")
    return {"title": [{"properties": {"show": _literal("true"), "text": _literal(f"'{text}'")}}]}


def _dropdown() -> Json:
    return {"data": [{"properties": {"mode": _literal("'Dropdown'")}}]}


def _literal(value: str) -> Json:
    return {"expr": {"Literal": {"Value": value}}}
