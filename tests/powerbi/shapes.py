"""What Microsoft's published schemas demand of each kind of file, in our own words: what must and what may be there.

Read from https://github.com/microsoft/json-schemas (folder `fabric`) at the versions named; nothing of them is copied,
since no licence for copies was found. A kind of expression that the report does not use is left out, so these are
stricter than the originals.
"""

from __future__ import annotations

from typing import Any

BASE = "https://developer.microsoft.com/json-schemas/fabric"
TEXT = {"type": "string"}
NUMBER = {"type": "number"}
FLAG = {"type": "boolean"}
UNIT = {"enum": [0, 1, 2, 3, 4, 5, 6, 7]}


def only(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def listed(item: dict[str, Any]) -> dict[str, Any]:
    """An array of these."""
    return {"type": "array", "items": item}


def either(*kinds: dict[str, Any]) -> dict[str, Any]:
    """Exactly one of these."""
    return {"oneOf": list(kinds)}


EXPRESSION = {"$ref": "#/$defs/expression"}

# semanticQuery/1.3.0: one property, which tells the kind of expression.
_EXPRESSIONS = either(
    only({"SourceRef": either(only({"Entity": TEXT}, {"Schema": TEXT}), only({"Source": TEXT}))}),
    *(only({kind: only({"Expression": EXPRESSION, "Property": TEXT})}) for kind in ("Column", "Measure")),
    only({"Literal": only({"Value": TEXT})}),
    only({"Now": only({})}),
    only({"Not": only({"Expression": EXPRESSION})}),
    only({"Comparison": only({"ComparisonKind": {"enum": [0, 1, 2, 3, 4]}, "Left": EXPRESSION, "Right": EXPRESSION})}),
    only({"DateAdd": only({"Expression": EXPRESSION, "Amount": NUMBER, "TimeUnit": UNIT})}),
    only({"DateSpan": only({"Expression": EXPRESSION, "TimeUnit": UNIT})}),
    only({"In": only({"Expressions": listed(EXPRESSION), "Values": listed(listed(EXPRESSION))})}),
    only({"Between": only({"Expression": EXPRESSION, "LowerBound": EXPRESSION, "UpperBound": EXPRESSION})}),
)

# filterConfiguration/1.2.0
_FILTERS = only(
    {
        "filters": listed(
            only(
                {"name": TEXT},
                {
                    "field": EXPRESSION,
                    "type": {"enum": ["Categorical", "Range", "Advanced", "TopN", "RelativeDate", "RelativeTime"]},
                    "filter": only(
                        {
                            "From": listed(only({"Name": TEXT}, {"Entity": TEXT, "Type": {"enum": [0, 1, 2]}})),
                            "Where": listed(only({"Condition": EXPRESSION})),
                        },
                        {"Version": {"const": 2}},
                    ),
                    "howCreated": {"enum": ["Auto", "User", "Drill", "Include", "Exclude", "Drillthrough"]},
                },
            )
        )
    }
)

# visualConfiguration/2.2.0 and formattingObjectDefinitions/1.4.0
_PROJECTIONS = only(
    {
        "projections": listed(
            only({"field": EXPRESSION, "queryRef": TEXT}, {"nativeQueryRef": TEXT, "displayName": TEXT, "active": FLAG})
        )
    }
)
_FORMAT = {"type": "object", "additionalProperties": listed(only({"properties": {"type": "object"}}))}
_SORT = only(
    {},
    {
        "sort": listed(only({"field": EXPRESSION, "direction": {"enum": ["Ascending", "Descending"]}})),
        "isDefaultSort": FLAG,
    },
)
_VISUAL = only(
    {"visualType": TEXT},
    {
        "query": only(
            {"queryState": {"type": "object", "additionalProperties": _PROJECTIONS}}, {"sortDefinition": _SORT}
        ),
        "objects": _FORMAT,
        "visualContainerObjects": only(
            {}, {"title": listed(only({"properties": only({}, {"show": {}, "text": {}, "fontSize": {}})}))}
        ),
        "drillFilterOtherVisuals": FLAG,
    },
)
_VERSION = {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"}
_THEME = only(
    {
        "name": TEXT,
        "reportVersionAtImport": only({"visual": _VERSION, "report": _VERSION, "page": _VERSION}),
        "type": {"enum": ["RegisteredResources", "SharedResources"]},
    }
)
_NAME = {"type": "string", "maxLength": 50, "pattern": r"^[\w-]+$"}


def _file(path: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    address = f"{BASE}/{path}/schema.json"
    shape = only({"$schema": {"const": address}, **required}, optional)
    return address, {**shape, "$defs": {"expression": _EXPRESSIONS}}


SHAPES: dict[str, dict[str, Any]] = dict(
    [
        _file(
            "pbip/pbipProperties/1.0.0",
            {"version": TEXT, "artifacts": listed(only({"report": only({"path": TEXT})}))},
            {"settings": only({}, {"enableAutoRecovery": FLAG})},
        ),
        _file(
            "item/semanticModel/definitionProperties/1.0.0",
            {"version": TEXT},
            {"settings": only({}, {"qnaEnabled": FLAG, "qnaLsdlSharingPermissions": {"enum": [0, 1]}})},
        ),
        _file(
            "item/report/definitionProperties/2.0.0",
            {
                "version": TEXT,
                "datasetReference": either(
                    only({"byPath": only({"path": TEXT})}), only({"byConnection": only({"connectionString": TEXT})})
                ),
            },
        ),
        _file(
            "gitIntegration/platformProperties/2.0.0",
            {
                "metadata": only({"type": {"enum": ["Report", "SemanticModel"]}, "displayName": TEXT}),
                "config": only({"version": {"const": "2.0"}, "logicalId": {"type": "string", "format": "uuid"}}),
            },
        ),
        _file(
            "item/report/definition/versionMetadata/1.0.0",
            {"version": {"type": "string", "pattern": r"^[1-9][0-9]*\.(0|[1-9][0-9]*)\.0$"}},
        ),
        _file(
            "item/report/definition/report/3.0.0",
            {"themeCollection": only({}, {"baseTheme": _THEME, "customTheme": _THEME})},
            {
                "settings": only(
                    {},
                    {
                        "useStylableVisualContainerHeader": FLAG,
                        "exportDataMode": {"const": "AllowSummarized"},
                    },
                ),
                "filterConfig": _FILTERS,
            },
        ),
        _file("item/report/definition/pagesMetadata/1.0.0", {}, {"pageOrder": listed(TEXT), "activePageName": TEXT}),
        _file(
            "item/report/definition/page/2.0.0",
            {
                "name": _NAME,
                "displayName": TEXT,
                "displayOption": {"enum": ["FitToPage", "FitToWidth", "ActualSize"]},
                # optional in the schema, whose text says that every page but those of the old, dynamic kind needs them
                "height": NUMBER,
                "width": NUMBER,
            },
            {"filterConfig": _FILTERS},
        ),
        _file(
            "item/report/definition/visualContainer/2.4.0",
            {
                "name": _NAME,
                "position": only(
                    {"x": NUMBER, "y": NUMBER, "height": NUMBER, "width": NUMBER},
                    {"z": NUMBER, "tabOrder": NUMBER, "angle": NUMBER},
                ),
                "visual": _VISUAL,
            },
            {"filterConfig": _FILTERS},
        ),
    ]
)
"""By the address that a file gives as its `$schema`."""
