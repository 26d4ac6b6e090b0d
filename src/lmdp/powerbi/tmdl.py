"""The semantic model as TMDL: one file for each table, tab-indented.

Written as Microsoft's own serializer writes it (order, an empty line at the end), so that a project that was saved in
Power BI Desktop differs only where something was changed.

https://learn.microsoft.com/en-us/analysis-services/tmdl/tmdl-overview
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lmdp.powerbi.ids import stable_id
from lmdp.powerbi.model import Column, Measure, Model, Relationship, Table

# What needs no quotes; TMDL wants them round names with white space and . = : '.
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# https://learn.microsoft.com/en-us/power-bi/developer/projects/projects-dataset: 1600 or more for what is used here.
_COMPATIBILITY_LEVEL: Final = 1600


@dataclass(frozen=True, slots=True)
class Source:
    """Where the model reads: the account's host, and the warehouse, database, schema and role to use there."""

    server: str
    warehouse: str
    database: str
    schema: str
    role: str


def files(model: Model, source: Source) -> dict[str, str]:
    """The files of the folder `definition`, by their path in it."""
    tables = {f"tables/{table.name}.tmdl": _table(table) for table in model.tables}
    made = {
        "database.tmdl": f"database\n\tcompatibilityLevel: {_COMPATIBILITY_LEVEL}\n",
        "model.tmdl": _model(model),
        "expressions.tmdl": _parameters(source, imported=model.imported),
        "relationships.tmdl": "\n".join(_relationship(one) for one in model.relationships),
        **tables,
    }
    return {path: text + "\n" for path, text in made.items()}


def name(text: str) -> str:
    """A name as TMDL has it, in quotes where it needs them."""
    return text if _PLAIN_NAME.fullmatch(text) else "'" + text.replace("'", "''") + "'"


def _model(model: Model) -> str:
    lines = [
        "model Model",
        "\tculture: en-US",
        "\tdefaultPowerBIDataSourceVersion: powerBI_V3",
        "\tdiscourageImplicitMeasures",
        "\tsourceQueryCulture: en-US",
        "",
        "annotation __PBI_TimeIntelligenceEnabled = 0",
        "",
        *(f"ref table {name(table.name)}" for table in model.tables),
    ]
    return "\n".join(lines) + "\n"


def _parameters(source: Source, *, imported: bool) -> str:
    text = [
        ("SnowflakeServer", source.server, "The Snowflake account's host name."),
        ("SnowflakeWarehouse", source.warehouse, "The warehouse that runs the report's queries."),
        ("SnowflakeDatabase", source.database, "The database of the pipeline."),
        ("SnowflakeSchema", source.schema, "The schema of the pipeline's views."),
        ("SnowflakeRole", source.role, "The role that reads the views."),
    ]
    made = [_parameter(title, _m_text(value), "Text", about) for title, value, about in text]
    if imported:
        made.append(_parameter("ImportDays", "30", "Number", "How many days of history are imported."))
    return "\n".join(made)


def _parameter(title: str, value: str, kind: str, about: str) -> str:
    return (
        f"/// {about}\n"
        f'expression {title} = {value} meta [IsParameterQuery=true, Type="{kind}", IsParameterQueryRequired=true]\n'
        f"\tlineageTag: {stable_id('expression', title)}\n"
    )


def _relationship(one: Relationship) -> str:
    column = name(one.column)
    lines = [
        f"relationship {stable_id('relationship', one.table, one.to_table)}",
        *(["\trelyOnReferentialIntegrity"] if one.assumed else []),
        f"\tfromColumn: {name(one.table)}.{column}",
        f"\ttoColumn: {name(one.to_table)}.{column}",
    ]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> str:
    lines = [
        f"/// {table.about}",
        f"table {name(table.name)}",
        *(["\tisHidden"] if table.hidden else []),
        f"\tlineageTag: {stable_id('table', table.name)}",
        *(["\tdataCategory: Time"] if table.dates else []),
    ]
    blocks = [
        *(_measure(table, measure) for measure in table.measures),
        *(_column(table, column) for column in table.columns),
        _partition(table),
    ]
    for block in blocks:
        lines += ["", *block]
    return "\n".join(lines) + "\n"


def _measure(table: Table, measure: Measure) -> list[str]:
    code = measure.dax.split("\n")
    head = f"\tmeasure {name(measure.name)} ="
    return [
        f"\t/// {measure.about}",
        *([f"{head} {code[0]}"] if len(code) == 1 else [head, *(f"\t\t\t{_tabbed(line)}" for line in code)]),
        f"\t\tformatString: {measure.format}",
        f"\t\tdisplayFolder: {measure.folder}",
        f"\t\tlineageTag: {stable_id('measure', table.name, measure.name)}",
    ]


def _column(table: Table, column: Column) -> list[str]:
    return [
        f"\t/// {column.about}",
        f"\tcolumn {name(column.name)}",
        f"\t\tdataType: {column.type}",
        *(["\t\tisHidden"] if column.hidden else []),
        *(["\t\tisKey"] if column.key else []),
        *([f"\t\tformatString: {column.format}"] if column.format else []),
        f"\t\tlineageTag: {stable_id('column', table.name, column.name)}",
        "\t\tsummarizeBy: none",
        f"\t\tsourceColumn: {column.source}",
        *([f"\t\tsortByColumn: {name(column.sort_by)}"] if column.sort_by else []),
        *_alternate(column),
    ]


def _alternate(column: Column) -> list[str]:
    stands_for = column.alternate
    if stands_for is None:
        return []
    return [
        "",
        "\t\talternateOf",
        *([f"\t\t\tsummarization: {how}"] if (how := stands_for.summarization) != "groupBy" else []),
        f"\t\t\tbaseColumn: {name(stands_for.table)}.{name(stands_for.column)}",
    ]


def _partition(table: Table) -> list[str]:
    return [
        f"\tpartition {name(table.name)} = m",
        f"\t\tmode: {table.mode}",
        "\t\tsource =",
        *(f"\t\t\t\t{_tabbed(line)}" for line in _query(table)),
    ]


def _query(table: Table) -> list[str]:
    """M that names the view and nothing else, so that every question about it folds.

    Whole numbers are wanted as such (UseHighPrecision would make them decimals): keys are 64-bit integers.
    https://learn.microsoft.com/en-us/power-query/connectors/snowflake
    """
    options = '[Role = SnowflakeRole, UseHighPrecision = false, Implementation = "2.0"]'
    steps = [
        f"Account = Snowflake.Databases(SnowflakeServer, SnowflakeWarehouse, {options})",
        'Database = Account{[Name = SnowflakeDatabase, Kind = "Database"]}[Data]',
        'Schema = Database{[Name = SnowflakeSchema, Kind = "Schema"]}[Data]',
        f'View = Schema{{[Name = {_m_text(table.view)}, Kind = "{table.kind}"]}}[Data]',
    ]
    last = "View"
    if table.mode == "import" and table.time:
        steps += [
            "FirstDay = DateTime.From(Date.AddDays(Date.From(DateTimeZone.UtcNow()), -ImportDays))",
            f"Recent = Table.SelectRows(View, each [{table.time}] >= FirstDay)",
        ]
        last = "Recent"
    ends = [","] * (len(steps) - 1) + [""]
    return ["let", *(f"    {step}{end}" for step, end in zip(steps, ends, strict=True)), "in", f"    {last}"]


def _tabbed(line: str) -> str:
    """Its indentation by tabs, as everything in TMDL."""
    inner = line.lstrip(" ")
    return "\t" * ((len(line) - len(inner)) // 4) + inner


def _m_text(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
