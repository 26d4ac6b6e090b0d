"""The semantic model: it reads as TMDL, and everything that it names is in the warehouse."""

from __future__ import annotations

import re
from collections import Counter
from textwrap import dedent

import duckdb
import pytest

from lmdp.core.specification import load_spec
from lmdp.powerbi.project import files
from lmdp.snowflake.verify import VIEWS
from lmdp.sql.render import FROZEN_DAYS, statements
from lmdp.sql.settings import SnowflakeSettings
from powerbi.conftest import SOURCE
from powerbi.tmdl_reader import REFERENCE, Node, read, unquoted

TYPES = {
    "int64": {"BIGINT", "INTEGER", "HUGEINT"},
    "double": {"DOUBLE"},
    "string": {"VARCHAR"},
    "dateTime": {"TIMESTAMP", "DATE"},
    "boolean": {"BOOLEAN"},
}
COLUMN = re.compile(r"(?:'([^']+)'|\b([A-Za-z_]\w*))\[([^\]]+)\]")
BARE_MEASURE = re.compile(r"(?<![\w'])\[([^\]]+)\]")


def view_of(table: Node) -> tuple[str, str]:
    """The view that a table reads, and whether it is looked up as a table or as a view."""
    (partition,) = table.all("partition")
    found = re.search(r'\{\[Name = "(\w+)", Kind = "(Table|View)"\]\}', partition.properties["source"])
    assert found
    return found[1], found[2]


def columns_of(table: Node) -> dict[str, Node]:
    """The columns of a table, by name."""
    return {column.name: column for column in table.all("column")}


def test_each_file_has_its_objects(model: dict[str, list[Node]], tables: dict[str, Node], imported: bool) -> None:
    """The folder is laid out as TMDL wants it, and the model names its tables."""
    (database,), (root, *rest) = model["database.tmdl"], model["model.tmdl"]
    assert int(database.properties["compatibilityLevel"]) >= 1600
    assert root.properties["discourageImplicitMeasures"] == "true"
    assert sorted(node.name for node in rest if node.kind == "ref table") == sorted(tables)
    assert all(path == f"tables/{nodes[0].name}.tmdl" for path, nodes in model.items() if path.startswith("tables/"))
    parameters = ["SnowflakeServer", "SnowflakeWarehouse", "SnowflakeDatabase", "SnowflakeSchema", "SnowflakeRole"]
    assert [node.name for node in model["expressions.tmdl"]] == parameters + [
        "ImportDays",
        "RangeStart",
        "RangeEnd",
    ] * imported
    assert "xy12345.snowflakecomputing.com" in str(model["expressions.tmdl"][0].value)


def test_every_column_is_in_the_view_with_its_type(
    tables: dict[str, Node], warehouse: duckdb.DuckDBPyConnection
) -> None:
    """What the model reads, the SQL has, under that name and as that type."""
    for table in tables.values():
        view, _ = view_of(table)
        there = {column: kind for column, kind, *_ in warehouse.execute(f"DESCRIBE {view}").fetchall()}
        assert table.all("column")
        for column in table.all("column"):
            source = column.properties["sourceColumn"]
            assert there.get(source) in TYPES[column.properties["dataType"]], f"{table.name}[{column.name}]"


def test_verify_looks_at_every_view_of_the_report(tables: dict[str, Node]) -> None:
    """And so a report that cannot be read is found before its readers find it."""
    assert {view_of(table)[0] for table in tables.values()} <= set(VIEWS)


@pytest.mark.parametrize("style", ["quoted", "wrapped", "upper"])
def test_every_view_is_looked_up_as_what_it_is(tables: dict[str, Node], style: str) -> None:
    """A dynamic table is listed as a table; the names are the same in each identifier style."""
    settings = SnowflakeSettings(identifiers=style)  # type: ignore[arg-type]
    made = [re.match(r"CREATE OR ALTER (?:TRANSIENT )?(DYNAMIC TABLE|VIEW) (\S+)", statement.sql)
            for statement in statements(load_spec(), settings)]  # fmt: skip
    kinds = {one[2].split(".")[-1]: one[1].split()[-1].title() for one in made if one}
    for table in tables.values():
        view, kind = view_of(table)
        assert kinds[view] == kind


def test_every_measure_names_what_is_there(tables: dict[str, Node], imported: bool) -> None:
    """Each 'Table'[Column] is a column, each [Measure] a measure; the aggregation is never read by name."""
    measures = {measure.name for table in tables.values() for measure in table.all("measure")}
    used = set()
    for table in tables.values():
        for measure in table.all("measure"):
            code = str(measure.value)
            for quoted, plain, column in COLUMN.findall(code):
                assert column in columns_of(tables[quoted or plain]), f"{measure.name}: {quoted or plain}[{column}]"
                used.add(quoted or plain)
            named = {name for name in BARE_MEASURE.findall(COLUMN.sub("", code)) if not name.startswith("@")}
            assert named <= measures, measure.name
            assert code.count("(") == code.count(")")
            assert "DISTINCTCOUNT" not in code
    assert "Points" in used
    assert "Points by hour" not in used
    assert ("Points by hour" in tables) is not imported


def test_there_is_a_measure_for_each_question(tables: dict[str, Node]) -> None:
    """Last, average, maximum, rate, percentile, availability, freshness, week over week."""
    measures = {measure.name for table in tables.values() for measure in table.all("measure")}
    assert {
        "Last value", "Average value", "Maximum value", "Rate", "95th percentile", "Availability", "Freshness (min)",
        "Average value week over week", "Rate week over week", "Value in 30 days", "Silent devices",
    } <= measures  # fmt: skip


def test_names_are_unique_and_everything_is_described(tables: dict[str, Node]) -> None:
    """Names differ without regard to case, as Power BI compares them; each object says what it is."""
    everywhere = Counter(measure.name.lower() for table in tables.values() for measure in table.all("measure"))
    tags = Counter(
        node.properties["lineageTag"]
        for table in tables.values()
        for node in (table, *table.all("measure"), *table.all("column"))
    )
    assert max(everywhere.values()) == max(tags.values()) == 1
    assert len({table.lower() for table in tables}) == len(tables)
    for table in tables.values():
        inside = Counter(node.name.lower() for node in table.children if node.kind in ("measure", "column"))
        assert max(inside.values()) == 1, table.name
        assert all(node.about for node in (table, *table.all("measure"), *table.all("column")))
        assert all("displayFolder" in measure.properties for measure in table.all("measure"))
        unformatted = [measure.name for measure in table.all("measure") if "formatString" not in measure.properties]
        assert unformatted == ["Pipeline state"] * (table.name == "Pipeline")  # a text


def test_keys_are_hidden_and_dates_are_marked(tables: dict[str, Node]) -> None:
    """Nobody sees a key; the date table has one date a row and says that it is one."""
    for table in tables.values():
        hidden = {column.name for column in table.all("column") if "isHidden" in column.properties}
        assert {column for column in columns_of(table) if column.endswith("key")} <= hidden
        assert sum("isKey" in column.properties for column in table.all("column")) <= 1
        for column in table.all("column"):
            assert column.properties.get("sortByColumn", "'Month number'").strip("'") in {
                "Month number", *columns_of(table)
            }  # fmt: skip
    date = tables["Date"]
    assert date.properties["dataCategory"] == "Time"
    assert columns_of(date)["Date"].properties["isKey"] == "true"
    assert columns_of(date)["Date"].properties["dataType"] == "dateTime"


def test_relationships_join_keys_that_exist(
    model: dict[str, list[Node]],
    tables: dict[str, Node],
    warehouse: duckdb.DuckDBPyConnection,
    imported: bool,
) -> None:
    """Both ends are columns of one type; the one side is unique; where integrity is assumed no key is missing."""
    assumed = 0
    for relationship in model["relationships.tmdl"]:
        ends = [REFERENCE.fullmatch(relationship.properties[end]) for end in ("fromColumn", "toColumn")]
        (many, many_key), (one, one_key) = [
            (tables[unquoted(end["table"])], columns_of(tables[unquoted(end["table"])])[unquoted(end["column"])])
            for end in ends
            if end
        ]
        assert many_key.properties["dataType"] == one_key.properties["dataType"] == "int64"
        key, view = one_key.properties["sourceColumn"], view_of(one)[0]
        ((rows, keys),) = warehouse.execute(f"SELECT count(*), count(DISTINCT {key}) FROM {view}").fetchall()
        assert rows == keys > 0
        if "relyOnReferentialIntegrity" in relationship.properties:
            assumed += 1
            foreign, facts = many_key.properties["sourceColumn"], view_of(many)[0]
            ((missing,),) = warehouse.execute(
                f"SELECT count(*) FROM {facts} WHERE {foreign} IS NULL OR {foreign} NOT IN (SELECT {key} FROM {view})"
            ).fetchall()
            assert missing == 0, f"{many.name} to {one.name}"
    assert (assumed > 15) is not imported


def test_health_has_keys_that_no_device_has(warehouse: duckdb.DuckDBPyConnection) -> None:
    """Canary rows: the reason why that one relationship assumes nothing."""
    ((strangers,),) = warehouse.execute(
        "SELECT count(*) FROM PIPELINE_HEALTH WHERE DEVICE_KEY NOT IN (SELECT DEVICE_KEY FROM DIM_DEVICE)"
    ).fetchall()
    assert strangers == 1


def test_the_aggregation_stands_for_the_points(
    tables: dict[str, Node], imported: bool, warehouse: duckdb.DuckDBPyConnection
) -> None:
    """What Power BI answers from the aggregation is what the points would have given, to the row.

    Its columns have the detail's types, but for the count.
    """
    if imported:
        assert not any(column.all("alternateOf") for table in tables.values() for column in table.all("column"))
        return
    points, hours = tables["Points"], tables["Points by hour"]
    assert hours.properties["isHidden"] == "true"
    assert (points.all("partition")[0].properties["mode"], points.all("partition")[0].value) == ("directQuery", "m")
    selected = []
    for column in hours.all("column"):
        for stands in column.all("alternateOf"):
            reference = REFERENCE.fullmatch(stands.properties["baseColumn"])
            assert reference
            assert unquoted(reference["table"]) == "Points"
            detail, how = columns_of(points)[unquoted(reference["column"])], stands.properties.get("summarization")
            assert how == "count" or detail.properties["dataType"] == column.properties["dataType"]
            term = detail.properties["sourceColumn"] if how is None else f"{how}({detail.properties['sourceColumn']})"
            selected.append((term, column.properties["sourceColumn"]))
    keys = [column.properties["sourceColumn"] for column in hours.all("column") if column.name.endswith("key")]
    detail_sql = f"SELECT {', '.join([*keys, *(term for term, _ in selected)])} FROM FACT_METRIC GROUP BY ALL"
    hours_sql = f"SELECT {', '.join([*keys, *(source for _, source in selected)])} FROM METRIC_HOURLY"
    detail_rows = warehouse.execute(f"SELECT * FROM ({detail_sql}) ORDER BY ALL").fetchall()
    hour_rows = warehouse.execute(f"SELECT * FROM ({hours_sql}) ORDER BY ALL").fetchall()
    assert len(detail_rows) == len(hour_rows) > 1000
    assert all(_near(one, other) for one, other in zip(detail_rows, hour_rows, strict=True))


def _near(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether two rows are the same; the last digits of a sum depend on the order of addition."""
    return all(
        a == b or (isinstance(a, float) and isinstance(b, float) and a == pytest.approx(b, rel=1e-12))
        for a, b in zip(one, other, strict=True)
    )


def test_names_are_quoted_where_they_must_be(project: dict[str, str]) -> None:
    """Quotes round each name that is no plain word, wherever TMDL has a name; the model has names of both kinds."""
    named = re.compile(
        r"^\t*(?:(?:ref )?(?:table|column|measure|partition|expression)|sortByColumn:) (.+?)(?: =.*)?$", re.MULTILINE
    )
    ends = re.compile(rf"^\t*(?:fromColumn|toColumn|baseColumn): {REFERENCE.pattern}$", re.MULTILINE)
    names = {name for path, text in project.items() if path.endswith(".tmdl") for name in named.findall(text)}
    names |= {
        name for path, text in project.items() if path.endswith(".tmdl") for end in ends.findall(text) for name in end
    }
    assert {"Device", "'Device key'", "'95th percentile'", "'Freshness (min)'"} <= names
    assert [name for name in names if not re.fullmatch(r"[A-Za-z_]\w*|'(?:[^']|'')+'", name)] == []
    assert [name for name in names if re.fullmatch(r"'[A-Za-z_]\w*'", name)] == []


def test_an_import_shows_what_directquery_shows() -> None:
    """The same measures and visible columns, described and formatted the same; only raw points' time is missing."""
    shown: list[set[tuple[str, ...]]] = []
    for imported in (False, True):
        made = files(SOURCE, imported=imported, lag_minutes=60)
        shown.append(
            {
                (
                    table.name,
                    node.kind,
                    node.name,
                    node.about,
                    node.properties["lineageTag"],
                    str(node.properties.get("formatString")),
                )
                for path, text in made.items()
                if "/tables/" in path and "Points by hour" not in path
                for table in read(text)
                for node in table.children
                if node.kind in ("measure", "column") and "isHidden" not in node.properties
            }
        )
    direct, imports = shown
    assert imports <= direct
    assert [one[:3] for one in direct - imports] == [("Points", "column", "Time")]


def test_an_import_reads_nothing_from_snowflake_later(project: dict[str, str], imported: bool) -> None:
    """Every table is in memory and the facts, but for the newest values, are limited to recent days; or none is."""
    modes = Counter(re.findall(r"^\t\tmode: (\w+)$", "\n".join(project.values()), re.MULTILINE))
    assert modes == ({"import": 13} if imported else {"dual": 4, "directQuery": 10})
    limited = {path.rpartition("/")[2] for path, text in project.items() if ", -ImportDays)" in text}
    facts = {"Points.tmdl", "Daily.tmdl", "Rates.tmdl", "Health.tmdl", "Spread.tmdl"}
    assert limited == (facts if imported else set())


def test_an_import_is_refreshed_by_the_day(tables: dict[str, Node], imported: bool) -> None:
    """Four days are read again, since a roll-up is frozen after three; a time is in one partition, and only in one."""
    policies = {table.name: policy for table in tables.values() for policy in table.all("refreshPolicy")}
    assert policies.keys() == ({"Points", "Daily", "Rates", "Health", "Spread"} if imported else set())
    assert FROZEN_DAYS == 3
    for name, policy in policies.items():
        assert policy.properties["incrementalPeriods"] == "4"
        assert policy.properties["rollingWindowPeriods"] == "30"
        query = policy.properties["sourceExpression"]
        assert dedent(query) == dedent(tables[name].all("partition")[0].properties["source"])
        bounds = re.search(r"\[(\w+_TS)\] >= RangeStart and \[(\w+_TS)\] < RangeEnd", query)
        assert bounds
        assert bounds[1] == bounds[2]


@pytest.mark.parametrize(
    "text",
    ["table A\n  column B\n", "table A\n\t\tcolumn B\n", "table A\n\tdataType int64\n", "table A \n", "table A"],
)
def test_the_reader_is_strict(text: str) -> None:
    """Spaces, wrong depth, half a property, trailing white space and a missing end are errors."""
    with pytest.raises(ValueError, match="line"):
        read(text)
