"""The SQL files, filled in from the specification."""

from __future__ import annotations

import dataclasses

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from lmdp.errors import SettingsError
from lmdp.snowflake.render import IdentifierStyle, clean_name, column, statements
from lmdp.spec_loader import Spec, load_spec

SPEC = load_spec()


def _created(style: IdentifierStyle = "quoted", spec: Spec = SPEC) -> dict[str, str]:
    """The statements by the name of what they create."""
    found = {}
    for statement in statements(spec, style):
        tree = sqlglot.parse_one(statement.sql, read="snowflake")
        table = tree.find(exp.Table)
        assert table is not None
        found[table.name] = statement.sql
    return found


@pytest.mark.parametrize(
    ("name", "style", "expected"),
    [
        ("orgId", "quoted", '"orgId"'),
        ("orgId", "wrapped", '"orgId"'),
        ("orgId", "upper", "ORGID"),
        ("tsUnixMs", "upper", "TSUNIXMS"),
    ],
)
def test_a_column_is_named_in_the_style_at_hand(name: str, style: IdentifierStyle, expected: str) -> None:
    """Quoted and wrapped are the same table; upper has no quotes, so that Snowflake finds it under either spelling."""
    assert column(name, style) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("orgId", "ORG_ID"), ("tsUnixMs", "TS_UNIX_MS"), ("ts", "TS"), ("attributes", "ATTRIBUTES")]
)
def test_views_have_clean_names(name: str, expected: str) -> None:
    """A mixed-case field is UPPER_SNAKE in the views, so that nobody has to quote it."""
    assert clean_name(name) == expected


def test_the_landing_table_is_the_specification() -> None:
    """ROW_EVENTS has the specification's columns in order, and nothing that streaming ingest refuses."""
    tree = sqlglot.parse_one(_created()["ROW_EVENTS"], read="snowflake")
    columns = [
        (
            part.name,
            part.args["kind"].sql("snowflake"),
            any(isinstance(limit.kind, exp.NotNullColumnConstraint) for limit in part.constraints),
        )
        for part in tree.find_all(exp.ColumnDef)
    ]
    assert columns == [
        ("orgId", "VARCHAR", True),
        ("deviceId", "VARCHAR", True),
        ("deviceName", "VARCHAR", False),
        ("datasource", "VARCHAR", True),
        ("instance", "VARCHAR", False),
        ("metric", "VARCHAR", True),
        ("unit", "VARCHAR", False),
        ("type", "VARCHAR", True),
        ("ts", "TIMESTAMPNTZ", True),
        ("tsUnixMs", "DECIMAL(38, 0)", True),
        ("value", "DOUBLE", True),
        ("attributes", "VARIANT", False),
        ("resource", "VARIANT", False),
        ("scope", "VARIANT", False),
    ]
    refused = (exp.DefaultColumnConstraint, exp.CollateColumnConstraint, exp.GeneratedAsIdentityColumnConstraint)
    assert not list(tree.find_all(*refused))


def test_statements_come_in_the_order_to_run_them() -> None:
    """What a statement reads is created before it."""
    assert [statement.file for statement in statements(SPEC)] == [
        "010_database.sql",
        "010_database.sql",
        "020_row_events.sql",
        "110_metrics.sql",
        "120_metric_rates.sql",
    ]


@pytest.mark.parametrize("style", ["quoted", "wrapped", "upper"])
def test_every_column_of_every_view_is_resolved(style: IdentifierStyle) -> None:
    """No view reads a column that its source does not have under that very spelling."""
    created = _created(style)
    table = sqlglot.parse_one(created["ROW_EVENTS"], read="snowflake")
    rows = {part.this.sql("snowflake"): part.args["kind"].sql("snowflake") for part in table.find_all(exp.ColumnDef)}
    known: dict[str, dict[str, str]] = {"ROW_EVENTS": rows}
    for view in ("METRICS", "METRIC_RATES"):
        tree = sqlglot.parse_one(created[view], read="snowflake")
        assert isinstance(tree, exp.Create)
        resolved = qualify(
            tree.expression,
            dialect="snowflake",
            catalog="LM_METRICS",
            db="PIPELINE",
            schema={"LM_METRICS": {"PIPELINE": known}},
            validate_qualify_columns=True,
        )
        known[view] = {f'"{name}"': "VARCHAR" for name in resolved.named_selects}


def test_a_new_field_of_the_specification_reaches_table_and_view() -> None:
    """An operator adds a field and nothing else: the table has the column, METRICS shows it and tells repeats by it."""
    site = dataclasses.replace(SPEC.fields[0], name="siteCode", required=False)
    created = _created(spec=dataclasses.replace(SPEC, fields=(site, *SPEC.fields)))
    assert '"siteCode" VARCHAR' in created["ROW_EVENTS"]
    assert '"siteCode" AS SITE_CODE' in created["METRICS"]
    assert 'PARTITION BY "siteCode", "orgId"' in created["METRICS"]
    assert "SITE_CODE, ORG_ID" in created["METRIC_RATES"]


def test_a_field_that_a_file_reads_cannot_be_renamed_silently() -> None:
    """A specification without a field that a view reads by name is refused, with the file and the field."""
    fields = tuple(
        dataclasses.replace(field, name="origin") if field.name == "datasource" else field for field in SPEC.fields
    )
    with pytest.raises(SettingsError, match=r"no field 'datasource', which the SQL file 110_metrics\.sql reads"):
        statements(dataclasses.replace(SPEC, fields=fields))
