"""The specification, parsed: the columns of a row, declared once for encoder, tables, validator and documents.

The page `kafka_ingest_spec.md` is prose with three fenced blocks in it (`fields`, `types`, `schema`). They are parsed
and checked here; a page that the program cannot follow is refused with every fault named.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from dataclasses import dataclass
from importlib import resources  # pure: the one loader, of a page that is part of the program
from typing import Any, Final, Literal, TypeAlias

from lmdp.errors import SettingsError

Level: TypeAlias = Literal["datapoint", "scope", "resource"]

TYPES = ("text", "kind", "timestamp", "milliseconds", "number", "map")
"""The types that rows can be written in."""

MAX_ROW_BYTES: Final = 1_000 * 2**10
"""The bytes that a row may have as JSON: the page's section on rejects."""

COMPUTED = (
    "metric name",
    "metric unit",
    "metric type",
    "time text",
    "time ms",
    "point value",
    "datapoint attributes",
    "resource attributes",
    "scope attributes",
)
"""The values that only code can fill in, in the order of their columns, which follow the promoted ones."""

_SOURCE = re.compile(r"(?P<how>move|copy) (?P<level>datapoint|scope|resource) (?P<key>\S.*)")
_BLOCK = re.compile(r"^```(?P<language>toml|json) (?P<name>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    """Source of a promoted field: an attribute of a level, the scope's name, or the tenant's setting."""

    level: Level | Literal["scope name", "setting"]
    key: str
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its name in a row event, its types in a row and in a table, and the sources of its value."""

    name: str
    type: str
    required: bool
    about: str
    sql_type: str
    sources: tuple[Source, ...] = ()
    computed: str = ""

    @property
    def per_datapoint(self) -> bool:
        """Return whether the value can differ between the datapoints of one scope."""
        return any(source.level == "datapoint" for source in self.sources)


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """The parsed specification; `fields` has the columns in their order. Two are the same only if they are one."""

    fields: tuple[Field, ...]
    schema: dict[str, Any]

    @property
    def promoted(self) -> tuple[Field, ...]:
        """Return the fields that are looked up by rule."""
        return tuple(field for field in self.fields if field.sources)

    def column(self, computed: str) -> Field:
        """Return the field of a computed value, one of COMPUTED."""
        return next(field for field in self.fields if field.computed == computed)


@functools.cache
def load_spec() -> Spec:
    """Return the specification in the package, parsed once."""
    page = resources.files("lmdp").joinpath("kafka_ingest_spec.md")
    return parse_spec(page.read_text("utf-8"))  # pure: as above


def parse_spec(text: str) -> Spec:
    """Parse a page. Raises SettingsError, which names every fault."""
    blocks = _blocks(text)
    types = blocks["types"]
    faults: list[str] = []
    fields = tuple(_field(entry, types, faults) for entry in blocks["fields"].get("field", []))
    faults += _faults(fields)
    if faults:
        raise SettingsError.of(faults)
    return Spec(fields, _schema(blocks["schema"], fields, types))


def _blocks(text: str) -> dict[str, dict[str, Any]]:
    blocks: dict[str, dict[str, Any]] = {}
    for match in _BLOCK.finditer(text):
        parse = tomllib.loads if match["language"] == "toml" else json.loads
        try:
            blocks[match["name"]] = parse(match["body"])
        except ValueError as error:
            raise SettingsError(f"the block `{match['name']}` is not {match['language']}: {error}") from error
    missing = [name for name in ("fields", "types", "schema") if not isinstance(blocks.get(name), dict)]
    if missing:
        raise SettingsError(f"the specification has no block {', '.join(f'`{name}`' for name in missing)}")
    return blocks


def _field(entry: dict[str, Any], types: dict[str, Any], faults: list[str]) -> Field:
    name, kind, origin = str(entry.get("name", "")), entry.get("type"), entry.get("from", [])
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        faults.append(f"a field's name is letters, digits and _; this is not: {name!r}")
    if kind not in TYPES or not isinstance(types.get(kind), dict) or not {"json", "snowflake"} <= types[kind].keys():
        faults.append(f"{name}: type {kind!r} is none of {', '.join(TYPES)} with `json` and `snowflake` in `types`")
        kind = ""
    if not isinstance(entry.get("required"), bool):
        faults.append(f"{name}: `required` is true or false")
    unknown = entry.keys() - {"name", "type", "required", "about", "from"}
    if unknown:
        faults.append(f"{name}: unknown {', '.join(sorted(unknown))}")
    return Field(
        name=name,
        type=str(kind),
        required=entry.get("required") is True,
        about=str(entry.get("about", "")),
        sql_type=str(types[kind]["snowflake"]) if kind else "",
        sources=tuple(_source(name, text, faults) for text in origin) if isinstance(origin, list) else (),
        computed=origin if isinstance(origin, str) else "",
    )


def _source(field: str, text: object, faults: list[str]) -> Source:
    if text == "scope name":
        return Source("scope name", "")
    if text == "setting LMDP_ORG_ID":
        return Source("setting", "LMDP_ORG_ID")
    match = _SOURCE.fullmatch(str(text))
    if match is None:
        faults.append(
            f"{field}: {text!r} is not a source; write `move resource KEY`, `copy datapoint KEY` and the like"
        )
        return Source("setting", "")
    level: Any = match["level"]
    return Source(level, match["key"], moved=match["how"] == "move")


def _faults(fields: tuple[Field, ...]) -> list[str]:
    """Return the faults that the code could not follow."""
    faults = []
    names = [field.name.upper() for field in fields]
    faults += [f"{name}: given twice" for name in sorted({name for name in names if names.count(name) > 1})]
    faults += [f"{field.name}: `from` is empty" for field in fields if not field.sources and not field.computed]
    order = [field.computed for field in fields if field.computed]
    if tuple(order) != COMPUTED:
        faults.append("the computed fields are, each once and in this order: " + ", ".join(COMPUTED))
    shape = [2 if field.computed else int(field.per_datapoint) for field in fields]
    if shape != sorted(shape):
        faults.append("fields are in this order: promoted, promoted with a datapoint source, computed")
    for field in fields:
        levels = [source.level == "datapoint" for source in field.sources]
        if levels != sorted(levels, reverse=True):
            faults.append(f"{field.name}: datapoint sources come before the others")
        wider = [source.key for source in field.sources if source.level != "datapoint" and source.moved]
        if field.per_datapoint and wider:
            faults.append(f"{field.name}: has datapoint sources, so it copies {', '.join(wider)}, and does not move it")
        if field.sources and field.type != "text":
            faults.append(f"{field.name}: a promoted field has type text")
        if field.computed == "metric unit" and field.required:
            faults.append(f"{field.name}: a unit is often not given, so it cannot be required")
    return faults


def _schema(frame: dict[str, Any], fields: tuple[Field, ...], types: dict[str, Any]) -> dict[str, Any]:
    return {
        **frame,
        "properties": {field.name: {"description": field.about, **types[field.type]["json"]} for field in fields},
        "required": [field.name for field in fields if field.required],
    }
