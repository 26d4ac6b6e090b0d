"""The SQL files, filled in from the specification."""

from __future__ import annotations

import dataclasses

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from lmdp.core.column_names import KeyStyle
from lmdp.core.specification import Spec, load_spec
from lmdp.errors import SettingsError
from lmdp.snowflake.verify import VIEWS
from lmdp.sql.render import Part, clean_name, column, statements
from lmdp.sql.settings import SnowflakeSettings
from snowflake_dynamic import parsed

SPEC = load_spec()


def _created(style: KeyStyle = "quoted", spec: Spec = SPEC) -> dict[str, str]:
    """The statements by the name of what they create."""
    found = {}
    for statement in statements(spec, SnowflakeSettings(identifiers=style, retention_days=None)):
        table = parsed(statement.sql).find(exp.Table)
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
def test_a_column_is_named_in_the_style_at_hand(name: str, style: KeyStyle, expected: str) -> None:
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


def test_what_a_statement_reads_is_created_before_it() -> None:
    """Files run in the order of their names, and that order works."""
    made: set[str] = set()
    for statement in statements(SPEC, SnowflakeSettings(retention_days=None)):
        tree = parsed(statement.sql)
        within = {cte.alias for cte in tree.find_all(exp.CTE)}
        reads = {table.name for table in tree.expression.find_all(exp.Table)} - within if tree.expression else set()
        assert reads <= made, statement.file
        made.add(tree.this.name if isinstance(tree.this, exp.Table) else tree.this.this.name)
    assert made >= set(VIEWS)


@pytest.mark.parametrize("style", ["quoted", "wrapped", "upper"])
def test_every_column_of_every_view_is_resolved(style: KeyStyle) -> None:
    """No table or view reads a column that its source does not have under that very spelling."""
    created = _created(style)
    table = sqlglot.parse_one(created.pop("ROW_EVENTS"), read="snowflake")
    rows = {part.this.sql("snowflake"): part.args["kind"].sql("snowflake") for part in table.find_all(exp.ColumnDef)}
    known: dict[str, dict[str, str]] = {"ROW_EVENTS": rows}
    for name, sql in created.items():
        tree = parsed(sql)
        if tree.expression is None:
            continue
        resolved = qualify(
            tree.expression,
            dialect="snowflake",
            catalog="LM_METRICS",
            db="PIPELINE",
            schema={"LM_METRICS": {"PIPELINE": known}},
            validate_qualify_columns=True,
        )
        assert isinstance(resolved, exp.Query)
        known[name] = {f'"{column}"': "VARCHAR" for column in resolved.named_selects}
    assert set(known) >= {"ROW_EVENTS", "POINTS", *VIEWS}


@pytest.mark.parametrize("name", [name for name in _created() if name not in {"ROW_EVENTS", "POINTS"}])
def test_only_points_reaches_into_the_maps(name: str) -> None:
    """Everything else reads plain columns; DEVICE_TIMES counts what arrived, repeats too, and PIPELINE_LAG its age."""
    tree = parsed(_created()[name])
    assert not list(tree.find_all(exp.JSONExtract))
    reads = {table.name for table in tree.find_all(exp.Table)}
    assert ("ROW_EVENTS" in reads) == (name in {"DEVICE_TIMES", "PIPELINE_LAG"})


@pytest.mark.parametrize(("days", "age"), [(3, 1), (4, 2), (5, 3), (30, 3), (None, 3)])
def test_kept_hours_are_frozen_before_their_rows_go(days: int | None, age: int) -> None:
    """Hours: after three days, and two days before their rows go. Days: after three; they are made of what stays."""
    files = {one.file: one.sql for one in statements(SPEC, SnowflakeSettings(retention_days=days))}
    for table, moment in (
        ("130_metric_hourly", f"HOUR_TS < DATEADD(day, -{age},"),
        ("140_metric_daily", "DAY_TS < DATEADD(day, -3,"),
        ("150_metric_rates_hourly", f"HOUR_TS < DATEADD(day, -{age},"),
    ):
        clause = f"FROZEN WHERE ({moment} CURRENT_TIMESTAMP()::TIMESTAMP_NTZ))"
        assert clause in files[f"{table}.sql"]
    assert sum("FROZEN" in sql for sql in files.values()) == 3


@pytest.mark.parametrize("part", ["tables", "account", "rights", "upgrades"])
def test_every_name_follows_the_settings(part: Part) -> None:
    """No file says a database, warehouse, role or user of its own."""
    names = ("D", "S", "W", "SETUP", "HOSE", "READ", "U1", "U2", "RW")
    settings = SnowflakeSettings(*names, allowed_ips=("192.0.2.0/24",))
    assert not [one.file for one in statements(SPEC, settings, part) if "LM_" in one.sql or "${" in one.sql]


def test_a_new_field_of_the_specification_reaches_table_and_view() -> None:
    """An operator adds a field and nothing else: the table has the column, METRICS shows it and tells repeats by it."""
    site = dataclasses.replace(SPEC.fields[0], name="siteCode", required=False)
    created = _created(spec=dataclasses.replace(SPEC, fields=(site, *SPEC.fields)))
    assert '"siteCode" VARCHAR' in created["ROW_EVENTS"]
    assert '"siteCode" AS SITE_CODE' in created["POINTS"]
    assert "PARTITION BY SITE_CODE, ORG_ID" in created["POINTS"]
    assert "SELECT\n  SITE_CODE,\n  ORG_ID" in created["METRICS"]
    assert "SITE_CODE, ORG_ID" in created["SUM_STEPS"]


def test_a_field_that_a_file_reads_cannot_be_renamed_silently() -> None:
    """A specification without a field that a view reads by name is refused, with the file and the field."""
    fields = tuple(
        dataclasses.replace(field, name="origin") if field.name == "datasource" else field for field in SPEC.fields
    )
    with pytest.raises(SettingsError, match=r"no field 'datasource', which the SQL file 030_points\.sql reads"):
        statements(dataclasses.replace(SPEC, fields=fields))
