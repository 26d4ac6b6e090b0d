"""The specification: what is written there is what the program does, or it says what it cannot follow."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from bundles import POINT, bundle, gauge, text
from lmdp import Message, Transformed, TransformSettings, encode, transform
from lmdp.core.specification import COMPUTED, Spec, load_spec, parse_spec
from lmdp.errors import SettingsError

PAGE = resources.files("lmdp").joinpath("kafka_ingest_spec.md").read_text("utf-8")


def edited(*changes: tuple[str, str]) -> str:
    """The page with each of the changes, which must find their place exactly once."""
    page = PAGE
    for old, new in changes:
        assert page.count(old) == 1, old
        page = page.replace(old, new)
    return page


def run(spec: Spec, point: object = POINT, timestamp: int | None = None, **about: Any) -> Transformed:
    """Transform one gauge by `spec`."""
    message = Message(json.dumps(bundle(gauge(point), **about)).encode(), timestamp=timestamp)
    return transform([message], TransformSettings(org_id="acme", spec=spec))


def test_the_columns() -> None:
    """The page declares the contract's 14 columns, in order, with their Snowflake types."""
    assert [(field.name, field.required, field.sql_type) for field in load_spec().fields] == [
        ("orgId", True, "VARCHAR"),
        ("deviceId", True, "VARCHAR"),
        ("deviceName", False, "VARCHAR"),
        ("datasource", True, "VARCHAR"),
        ("instance", False, "VARCHAR"),
        ("metric", True, "VARCHAR"),
        ("unit", False, "VARCHAR"),
        ("type", True, "VARCHAR"),
        ("ts", True, "TIMESTAMP_NTZ"),
        ("tsUnixMs", True, "NUMBER(38,0)"),
        ("value", True, "FLOAT"),
        ("attributes", False, "VARIANT"),
        ("resource", False, "VARIANT"),
        ("scope", False, "VARIANT"),
    ]


def test_the_schema() -> None:
    """The schema is a valid one, is closed, and has the columns and what is required from the fields."""
    spec = load_spec()
    jsonschema.Draft202012Validator.check_schema(spec.schema)
    assert list(spec.schema["properties"]) == [field.name for field in spec.fields]
    assert spec.schema["required"] == [field.name for field in spec.fields if field.required]
    assert spec.schema["additionalProperties"] is False


def test_an_added_source_is_all_it_takes() -> None:
    """A source key added to a field is obeyed: taken in its turn, moved or copied, and named when nothing is found."""
    spec = parse_spec(edited(('"copy resource host.id",\n', '"move resource lm.id",\n  "copy resource host.id",\n')))
    attributes = [text("lm.id", "7"), text("host.id", "8")]
    (row,) = run(spec, attributes=attributes).rows
    assert (row[1], row[12]) == ("7", '{"host.id":"8"}')
    assert run(load_spec(), attributes=attributes).rows[0][1] == "8"
    (reject,) = run(spec, attributes=[]).rejects
    names = "hostId, lm.id, host.id, host.name, service.instance.id, service.name"
    assert reject.message.startswith(f"deviceId: none of {names} in resource attributes (")


@pytest.mark.parametrize(
    ("old", "new", "column", "expected", "maps"),
    [
        ('"copy resource service.name"]', '"move scope ds"]', 3, "D", ('{"b":"y"}', '{"r":"z"}', "{}")),
        ('"copy resource service.name"]', '"copy scope ds"]', 3, "D", ('{"b":"y"}', '{"r":"z"}', '{"ds":"D"}')),
        ('"move datapoint wildValue"', '"copy datapoint b"', 4, "y", ('{"b":"y"}', '{"r":"z"}', '{"ds":"D"}')),
        ('"move datapoint wildValue"', '"move datapoint b"', 4, "y", ("{}", '{"r":"z"}', '{"ds":"D"}')),
        ('"move datapoint wildValue"', '"copy scope ds"', 4, "D", ('{"b":"y"}', '{"r":"z"}', '{"ds":"D"}')),
        ('"move datapoint wildValue"', '"copy resource r"', 4, "z", ('{"b":"y"}', '{"r":"z"}', '{"ds":"D"}')),
        ('["move resource hostName"', '["move resource r"', 2, "z", ('{"b":"y"}', "{}", '{"ds":"D"}')),
    ],
)
def test_sources_of_each_level(old: str, new: str, column: int, expected: str, maps: tuple[str, str, str]) -> None:
    """A source may read the datapoint, the scope or the resource, and moves or copies what it uses."""
    changes = [(old, new)]
    if column != 3:
        changes.append(('"copy resource service.name"]', '"copy scope ds"]'))
    (row,) = run(
        parse_spec(edited(*changes)),
        {**POINT, "attributes": [text("b", "y")]},
        attributes=[text("hostId", "1"), text("r", "z")],
        scope={"attributes": [text("ds", "D")]},
    ).rows
    assert (row[column], row[11:]) == (expected, maps)


def test_a_required_datapoint_field_comes_before_the_time() -> None:
    """A field made required is missed in the order of the contract: before a bad time."""
    old = 'name = "instance"\ntype = "text"\nrequired = false'
    spec = parse_spec(edited((old, old.replace("false", "true"))))
    (reject,) = run(spec, {"asDouble": 1.5}).rejects
    assert reject.code == "Row.MissingField"
    assert reject.message == (
        "instance: none of dataSourceInstanceName, wildValue in datapoint attributes (add the key that has it to "
        "`from` of instance in the specification (LMDP_SPEC))"
    )
    assert len(run(spec, {**POINT, "attributes": [text("wildValue", "x")]}).rows) == 1


def test_a_renamed_field_is_renamed_everywhere() -> None:
    """Another name in the page is another name in the row, the schema and the columns."""
    spec = parse_spec(edited(('name = "deviceName"', 'name = "host"')))
    (line,) = encode(run(spec, attributes=[text("hostId", "1"), text("hostName", "n")]).rows, spec)
    event = json.loads(line)
    assert event["host"] == "n"
    assert "deviceName" not in event
    jsonschema.validate(event, spec.schema)
    with pytest.raises(jsonschema.ValidationError, match="host"):
        jsonschema.validate(event, load_spec().schema)
    assert spec.fields[2].name == "host"


def test_an_added_field_is_a_column() -> None:
    """A promoted field added to the page is a column of the row, in its place."""
    new = (
        '[[field]]\nname = "site"\ntype = "text"\nrequired = false\nabout = "Where."\nfrom = ["copy resource site"]\n\n'
    )
    old = '[[field]]\nname = "instance"'
    spec = parse_spec(edited((old, new + old)))
    (row,) = run(spec, attributes=[text("hostId", "1"), text("site", "Bern")]).rows
    assert (len(row), row[4], row[6]) == (15, "Bern", "M")
    assert "site" in spec.schema["properties"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('name = "orgId"', 'name = "org-id"', "a field's name is letters, digits and _; this is not: 'org-id'"),
        ('name = "deviceName"', 'name = "DEVICEID"', "DEVICEID: given twice"),
        ('name = "unit"\ntype = "text"', 'name = "unit"\ntype = "blob"', "unit: type 'blob' is none of text, kind,"),
        ('name = "unit"\ntype = "text"', 'name = "unit"\ncolour = "red"\ntype = "text"', "unit: unknown colour"),
        (
            'name = "unit"\ntype = "text"\nrequired = false',
            'name = "unit"\ntype = "text"',
            "unit: `required` is true or false",
        ),
        (
            'name = "unit"\ntype = "text"\nrequired = false',
            'name = "unit"\ntype = "text"\nrequired = true',
            "unit: a unit is often",
        ),
        ('"move resource orgId"', '"take resource orgId"', "orgId: 'take resource orgId' is not a source"),
        ('"move resource orgId"', '"move device orgId"', "orgId: 'move device orgId' is not a source"),
        ('"move resource orgId"', '"move resource"', "orgId: 'move resource' is not a source"),
        ('"setting LMDP_ORG_ID"]', '"setting LMDP_TENANT"]', "orgId: 'setting LMDP_TENANT' is not a source"),
        ('["move resource hostName", "copy resource host.name"]', "[]", "deviceName: `from` is empty"),
        ('from = "metric unit"', 'from = "metric colour"', "the computed fields are, each once and in this order:"),
        ('from = "time ms"', 'from = "time text"', "the computed fields are, each once and in this order:"),
        (
            '"move datapoint wildValue"',
            '"move resource wildValue"',
            "instance: has datapoint sources, so it copies wildValue",
        ),
        (
            '["move datapoint dataSourceInstanceName"',
            '["copy scope x", "move datapoint dataSourceInstanceName"',
            "instance: datapoint sources come before the others",
        ),
        (
            '"move resource orgId"',
            '"move datapoint orgId"',
            "fields are in this order: promoted, promoted with a datapoint",
        ),
    ],
)
def test_fault(old: str, new: str, fault: str) -> None:
    """Each thing that the program could not follow is named."""
    with pytest.raises(SettingsError) as caught:
        parse_spec(edited((old, new)))
    assert fault in str(caught.value)


def test_all_faults_at_once() -> None:
    """One message names every fault in the page."""
    page = edited(
        ('name = "orgId"', 'name = "org-id"'), ('"copy resource service.name"]', '"x"]'), ('"time ms"', '"x"')
    )
    with pytest.raises(SettingsError) as caught:
        parse_spec(page)
    assert str(caught.value).startswith("3 settings are wrong:\n")


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("", "the specification has no block `fields`, `types`, `schema`"),
        (PAGE.replace("```json schema", "```json"), "the specification has no block `schema`"),
        (PAGE.replace("```toml types", "```toml kinds"), "the specification has no block `types`"),
        (PAGE.replace("[[field]]", "[[field]", 1), "the block `fields` is not toml: "),
        (PAGE.replace('"title"', "title"), "the block `schema` is not json: "),
    ],
)
def test_blocks(page: str, fault: str) -> None:
    """A block that is missing, or cannot be parsed, is named."""
    with pytest.raises(SettingsError) as caught:
        parse_spec(page)
    assert str(caught.value).startswith(fault)


def test_fixtures_are_not_required() -> None:
    """A page without the fixtures that this project's tests run gives the same columns."""
    assert parse_spec(PAGE.partition("## 6. Fixtures")[0]).fields == load_spec().fields


def test_what_only_code_fills_in_is_described_in_full() -> None:
    """The page has each computed column of the program."""
    assert tuple(field.computed for field in load_spec().fields if field.computed) == COMPUTED
